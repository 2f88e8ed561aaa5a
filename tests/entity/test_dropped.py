"""What the SDK drops as its Worker stops to poll is looked for by the entity, and set free."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import DevServer
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec
from tests.waiting import eventually

_EXECUTIONS = 40
_PER_SECOND = 50
_DRAINS = 30
_AT_LEAST = 2
"""Not all are found: so how many were not is no matter of a test."""
_FREED = re.compile(r"set free: (\d+) Workflow Tasks, (\d+) activities")


class Lives:
    """Two at a time, of one program."""

    def __init__(self, nursery: Nursery, bus: Bus, run_dir: Path, cluster: ClusterSpec) -> None:
        self._nursery = nursery
        self._bus = bus
        self._run_dir = run_dir
        self._cluster = cluster
        self._lives = [self._begin(), self._begin()]

    def _begin(self) -> Life:
        life = self._nursery.fork(entity_spec(self._run_dir, self._nursery.program, self._cluster))
        self._bus.ready(life)
        return life

    def replace_oldest(self, *, quiet: bool) -> None:
        """A new one first, as in a roll."""
        self._lives.append(self._begin())
        leaves = self._lives.pop(0)
        if quiet:
            self._bus.quiet(leaves)
            self._bus.wait_for_heartbeat(leaves, pollers=0, cached_executions=0)
        self._bus.drain(leaves)
        leaves.expect(ExitCode.STOPPED)

    def freed(self) -> tuple[int, int]:
        """Workflow Tasks and activities, as the entities tell."""
        told = _FREED.findall(self._nursery.log())
        return sum(int(tasks) for tasks, _ in told), sum(int(activities) for _, activities in told)


@pytest.fixture
def lives(
    subreaper: None, dev_server: DevServer, run_dir: Path, bus: Bus, task_queue: str, tmp_path: Path
) -> Iterator[Lives]:
    nursery = Nursery(program_spec(task_queue, program="dropped_program"), tmp_path / "log")
    try:
        yield Lives(nursery, bus, run_dir, ClusterSpec(address=dev_server.address))
    finally:
        nursery.end()


Answered = dict[WorkflowHandle[object, int], int]
"""How many updates each execution has answered."""


async def all_cached(answered: Answered) -> None:
    """Each has answered an update that was sent from now on: none is without an entity that has it."""
    before = dict(answered)
    await eventually(
        lambda: all(answered[handle] >= before[handle] + 2 for handle in answered),
        within=30,
        what="two more answers of each execution",
    )


@asynccontextmanager
async def updates(client: Client, task_queue: str) -> AsyncIterator[Answered]:
    """Of open executions, each at its own moment, as long as the block runs; all are answered at its end."""
    handles = [
        await client.start_workflow("Counter", id=f"{task_queue}-{n}", task_queue=task_queue, result_type=int)
        for n in range(_EXECUTIONS)
    ]
    await asyncio.gather(*(handle.execute_update("count") for handle in handles))

    idle = deque(handles)
    answered: Answered = dict.fromkeys(handles, 0)

    async def update(number: int) -> None:
        handle = idle.popleft()
        await handle.execute_update("count_elsewhere" if number % 2 else "count")
        answered[handle] += 1
        idle.append(handle)

    async def send() -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            number = 0
            while not over.is_set():
                if idle:
                    group.create_task(update(number))
                number += 1
                await asyncio.sleep(max(0.0, began + number / _PER_SECOND - time.monotonic()))

    over = asyncio.Event()
    sending = asyncio.create_task(send())
    try:
        yield answered
    finally:
        over.set()
        await sending


@pytest.mark.parametrize("quiet", [False, True], ids=["drain", "quiet"])
async def test_what_the_sdk_drops_as_it_stops_to_poll_is_found_and_set_free(
    lives: Lives, dev_server: DevServer, task_queue: str, quiet: bool
) -> None:
    client = await Client.connect(dev_server.address)
    async with updates(client, task_queue) as answered:
        for _ in range(_DRAINS):
            await all_cached(answered)
            await asyncio.to_thread(lives.replace_oldest, quiet=quiet)
            if lives.freed()[0] >= _AT_LEAST:
                break
        else:
            raise AssertionError(f"nothing was dropped, or found, in {_DRAINS} drains")
