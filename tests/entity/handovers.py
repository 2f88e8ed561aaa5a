"""Handovers under load: entities that take each other's place while open executions are sent updates."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from temporalio.client import Client, WorkflowHandle

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.spec import ClusterSpec
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec
from tests.waiting import eventually

EXECUTIONS = 40
_PER_SECOND = 50


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

    def log(self) -> str:
        """What all of them wrote."""
        return self._nursery.log()


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
        for n in range(EXECUTIONS)
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


@contextmanager
def two_lives(bus: Bus, run_dir: Path, address: str, task_queue: str, log: Path) -> Iterator[Lives]:
    nursery = Nursery(program_spec(task_queue, program="handover_program"), log)
    try:
        yield Lives(nursery, bus, run_dir, ClusterSpec(address=address))
    finally:
        nursery.end()
