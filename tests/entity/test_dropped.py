"""What the SDK drops as its Worker stops to poll is looked for by the entity, and set free: where the Cluster
does not end the polls of who shuts down."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.conftest import end_process, free_port, start_dev_server
from tests.entity.handovers import all_cached, two_lives, updates
from tests.entity.lives import Bus

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
