"""What the death of a worker costs its work: executions in its cache, queries, a Workflow Task and an
activity in its hands. With nobody killed, with the SDK alone, and under the supervisor, in one run."""

import asyncio
import itertools
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from temporalio.client import Client, WorkflowHandle

from tests.bench.program import losses
from tests.bench.results import Result
from tests.bench.sides import Side, UnderSupervisor, environment, sdk_alone, under_supervisor
from tests.waiting import eventually

_CACHED = 200
_QUERIES = 20
_RUNS = 5
_AT_ONCE = 50
_KILL_AFTER = 0.3
"""Of the signals: this part is sent before the kill, the rest with it and after it."""

_COLD = "nobody killed, all evicted before"

_progress = Console(stderr=True)
_numbers = itertools.count(1)

MakeSide = Callable[[], AbstractContextManager[tuple[Side, str, Path]]]
"""A side, its task queue, and the file in which its program notes what happens."""


@dataclass(frozen=True)
class Crowd:
    """Seconds from the first signal until all have progressed, and until each query was answered."""

    all: float
    queries: list[float]


def measure_losses(address: str, folder: Path) -> list[Result]:
    return asyncio.run(_measure(address, folder))


async def _measure(address: str, folder: Path) -> list[Result]:
    client = await Client.connect(address)
    plain, fleet = _sides(address, folder)
    crowds: dict[str, list[Crowd]] = {"floor": [], "cold": [], "plain": [], "fleet": []}
    singles: dict[str, list[float]] = {"plain": [], "fleet": []}
    for number in range(_RUNS):
        _progress.print(f"run {number + 1} of {_RUNS}: {_CACHED} cached executions …")
        crowds["floor"].append(await _crowd(client, fleet, kill=False))
        crowds["cold"].append(await _crowd(client, fleet, kill=False, cold=True))
        crowds["fleet"].append(await _crowd(client, fleet, kill=True))
        # It takes as long as the sticky time-out each time, whatever the rest does.
        if number == 0:
            crowds["plain"].append(await _crowd(client, plain, kill=True))
            singles["plain"].append(await _single(client, plain))
        singles["fleet"].append(await _single(client, fleet))
    floor, cold, killed, alone = (
        statistics.median(crowd.all for crowd in crowds[side]) for side in ("floor", "cold", "fleet", "plain")
    )
    single, single_alone = (statistics.median(singles[side]) for side in ("fleet", "plain"))
    slowest, slowest_floor, slowest_cold, slowest_alone = (
        max(seconds for crowd in crowds[side] for seconds in crowd.queries)
        for side in ("fleet", "floor", "cold", "plain")
    )
    _progress.print("a Workflow Task in hand, an activity in hand …")
    task = [await _in_hand(client, fleet, "SlowTask", "task") for _ in range(_RUNS)]
    activity = [await _in_hand(client, fleet, "Errand", "activity") for _ in range(_RUNS)]
    task_alone = await _in_hand(client, plain, "SlowTask", "task")
    activity_alone = await _in_hand(client, plain, "Errand", "activity")
    return [
        Result(
            f"{_CACHED} cached, one killed; plain: nobody killed",
            killed,
            floor,
            "s",
            1.5,
            relative=True,
        ),
        Result(f"{_CACHED} cached, one killed; plain: {_COLD}", killed, cold, "s", None),
        Result(f"{_CACHED} cached, one killed", killed, alone, "s", 0.5, relative=True),
        Result("one cached execution", single, single_alone, "s", 0.25),
        Result("the slowest query; plain: nobody killed", slowest, slowest_floor, "s", 1.0),
        Result(f"the slowest query; plain: {_COLD}", slowest, slowest_cold, "s", None),
        Result("the slowest query", slowest, slowest_alone, "s", 1.0),
        Result("a Workflow Task in hand, again", statistics.median(task), task_alone, "s", 0.3),
        Result("an activity in hand, again", statistics.median(activity), activity_alone, "s", 0.3),
    ]


async def _crowd(client: Client, make: MakeSide, *, kill: bool, cold: bool = False) -> Crowd:
    """`cold`: each is replayed when it is signalled, as after a death."""
    with make() as (side, queue, _):
        handles = await _cached(client, queue, _CACHED)
        await asyncio.to_thread(side.add_second)
        if cold:
            assert isinstance(side, UnderSupervisor)
            await asyncio.to_thread(side.fleet.evict_all)
        queries: list[float] = []
        # Each once: of an execution whose task is pending the Cluster keeps one query. It refuses the next,
        # and the client waits a second before it asks again.
        to_ask = random.Random(queue).sample(handles, _QUERIES)

        async def query(handle: WorkflowHandle[object, object]) -> None:
            began = time.monotonic()
            await handle.query("told")
            queries.append(time.monotonic() - began)

        gate = asyncio.Semaphore(_AT_ONCE)
        signals = 0
        progressed = 0.0

        async def go_on(handle: WorkflowHandle[object, object]) -> None:
            nonlocal signals, progressed
            async with gate:
                await handle.signal("go_on")
            signals += 1
            if signals % (_CACHED // _QUERIES) == 0:
                # Of any: signalled already, about to be, done.
                group.create_task(query(to_ask.pop()))
            if kill and signals == int(_KILL_AFTER * _CACHED):
                side.kill_first()
            await handle.result()
            progressed = time.monotonic() - began

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for handle in handles:
                group.create_task(go_on(handle))
        return Crowd(progressed, queries)


async def _single(client: Client, make: MakeSide) -> float:
    with make() as (side, queue, _):
        (handle,) = await _cached(client, queue, 1)
        await asyncio.to_thread(side.add_second)
        side.kill_first()
        began = time.monotonic()
        await handle.signal("go_on")
        await handle.result()
        return time.monotonic() - began


async def _in_hand(client: Client, make: MakeSide, workflow: str, noted: str) -> float:
    """From the kill until what was in hand begins again elsewhere."""
    with make() as (side, queue, log):
        await asyncio.to_thread(side.add_second)
        await client.start_workflow(workflow, id=f"{queue}-in-hand", task_queue=queue)
        first = (await eventually(lambda: _notes(log, noted), within=60, what=f"the {noted} is in hand"))[0]
        killed = time.time()
        os.kill(first.pid, signal.SIGKILL)
        again = await eventually(lambda: _notes(log, noted)[1:], within=120, what=f"the {noted} begins again")
        return again[0].time - killed


@dataclass(frozen=True)
class Note:
    pid: int
    time: float
    """Seconds since the epoch."""


def _notes(log: Path, noted: str) -> list[Note]:
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [Note(int(pid), float(moment)) for what, pid, moment in lines if what == noted]


async def _cached(client: Client, queue: str, number: int) -> list[WorkflowHandle[object, object]]:
    """Executions that have run as far as they can, and wait, in the one worker that there is."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def start(index: int) -> WorkflowHandle[object, object]:
        async with gate:
            handle = await client.start_workflow("Waiting", id=f"{queue}-{index}", task_queue=queue)
            await eventually(lambda: _has_run(handle), within=120, what=f"{handle.id} waits")
            return handle

    return list(await asyncio.gather(*(start(index) for index in range(number))))


async def _has_run(handle: WorkflowHandle[object, object]) -> bool:
    """By its history: no query, which would make its sticky queue known."""
    events = [event async for event in handle.fetch_history_events()]
    return len(events) >= 4


def _sides(address: str, folder: Path) -> tuple[MakeSide, MakeSide]:
    def prepared() -> tuple[str, Path, Path]:
        queue = f"bench-loss-{next(_numbers)}"
        mine = Path(tempfile.mkdtemp(prefix=queue, dir=folder))
        return queue, mine, mine / "notes"

    @contextmanager
    def plain() -> Iterator[tuple[Side, str, Path]]:
        queue, _, log = prepared()
        with sdk_alone(losses(queue), address, environment(log)) as side:
            yield side, queue, log

    @contextmanager
    def fleet() -> Iterator[tuple[Side, str, Path]]:
        queue, mine, log = prepared()
        with under_supervisor(losses(queue), address, mine / "fleet", environment(log)) as side:
            yield side, queue, log

    return plain, fleet
