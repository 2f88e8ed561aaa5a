"""What the SDK drops as its Worker stops to poll is looked for by the entity, and set free: where the Cluster
does not end the polls of who shuts down."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import end_process, free_port, start_dev_server
from tests.entity.handovers import all_cached, two_lives, updates
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec
from tests.waiting import eventually

_DRAINS = 60
_AT_LEAST = 2
"""Not all are found: so how many were not is no matter of a test."""
_FREED = re.compile(r"set free: (\d+) Workflow Tasks, (\d+) activities")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a Cluster that is as the Temporal CLI starts it."""
    port = free_port()
    server = start_dev_server(port, tmp_path / "server", settings=())
    yield f"127.0.0.1:{port}"
    end_process(server)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("quiet", [False, True], ids=["drain", "quiet"])
async def test_what_the_sdk_drops_as_it_stops_to_poll_is_found_and_set_free(
    subreaper: None, bus: Bus, run_dir: Path, address: str, task_queue: str, tmp_path: Path, quiet: bool
) -> None:
    client = await Client.connect(address)
    with two_lives(bus, run_dir, address, task_queue, tmp_path / "log") as lives:
        async with updates(client, task_queue) as answered:
            for _ in range(_DRAINS):
                await all_cached(answered)
                await asyncio.to_thread(lives.replace_oldest, quiet=quiet)
                if sum(int(tasks) for tasks, _ in _FREED.findall(lives.log())) >= _AT_LEAST:
                    break
            else:
                raise AssertionError(f"nothing was dropped, or found, in {_DRAINS} drains")


async def test_what_another_worker_of_the_program_has_is_not_dropped(
    subreaper: None, bus: Bus, run_dir: Path, address: str, task_queue: str, tmp_path: Path
) -> None:
    """It has the identity of the entity's, over the same connection."""
    client = await Client.connect(address)
    program = program_spec(task_queue, program="life_plugins:second")
    nursery = await asyncio.to_thread(Nursery, program, tmp_path / "log")
    try:
        life = await asyncio.to_thread(
            nursery.fork, entity_spec(run_dir, program, ClusterSpec(address=address), drain=60.0)
        )
        await asyncio.to_thread(bus.ready, life)
        go = tmp_path / "go"
        handle = await client.start_workflow(
            "RunAside", args=["wait_for_file", str(go)], id=task_queue, task_queue=task_queue
        )
        await eventually(Path(f"{go}.running").exists, what="it runs")
        bus.drain(life)
        # Longer than it is looked for what was dropped.
        await asyncio.to_thread(_beats, bus, life, 5)
        go.touch()
        await asyncio.to_thread(life.expect, ExitCode.STOPPED)
        history = [event async for event in handle.fetch_history_events()]
        assert [
            event.activity_task_started_event_attributes.attempt
            for event in history
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
        ] == [1]
    finally:
        await asyncio.to_thread(nursery.end)


def _beats(bus: Bus, life: Life, number: int) -> None:
    for _ in range(number):
        bus.wait_for_heartbeat(life)
