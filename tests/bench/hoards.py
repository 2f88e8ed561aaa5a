"""Executions that hoard memory in one entity's cache, and what `evict` gives back of it: with Python's own
allocator, which keeps a mebibyte for each small object that stays in it, and with the C library's, told to
keep nothing back."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from tests.bench.fleets import BenchFleet
from tests.bench.processes import MIB, pss
from tests.bench.program import losses
from tests.bench.results import Result
from tests.bench.sides import environment, under_supervisor
from tests.waiting import eventually

_EXECUTIONS = 2000
_SIZE = 256 * 1024
_AT_ONCE = 50
_WARM_UP = 50
_WORKER = f"worker = {{ max_cached_workflows = {_EXECUTIONS + 1000} }}\n"

_COMPACT = """env = { PYTHONMALLOC = "malloc", \
GLIBC_TUNABLES = "glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=131072" }
"""

_progress = Console(stderr=True)


def measure_hoards(address: str, folder: Path) -> list[Result]:
    folder.mkdir()
    return [
        *asyncio.run(_measure(address, folder, "pymalloc", "")),
        *asyncio.run(_measure(address, folder, "malloc", _COMPACT)),
    ]


async def _measure(address: str, folder: Path, allocator: str, pool: str) -> list[Result]:
    client = await Client.connect(address)
    queue = f"bench-hoards-{allocator}"
    with under_supervisor(
        losses(queue), address, folder / allocator, environment(folder / "notes"), pool=_WORKER + pool
    ) as side:
        # What the first executions ever leave behind in a process is not theirs.
        await _hoard(client, queue, "warm-up", _WARM_UP)
        side.fleet.evict_all()
        (pid,) = side.fleet.entities().values()
        rounds = [await _round(client, queue, side.fleet, pid, name) for name in ("first", "second")]
    return [
        Result(
            f"evict {_EXECUTIONS} executions of {_SIZE // 1024} KiB ({allocator})",
            max(hoarded.seconds for hoarded in rounds),
            None,
            "s",
            2.5,
        ),
        *(
            Result(
                f"PSS after the {name} eviction ({allocator}); plain: before, "
                f"with {hoarded.full / MIB:.0f} MiB between",
                hoarded.after / MIB,
                hoarded.before / MIB,
                "MiB",
                1.15,
                relative=True,
            )
            for name, hoarded in zip(("first", "second"), rounds, strict=True)
        ),
    ]


@dataclass(frozen=True)
class _Round:
    """PSS of the entity, in bytes: without the hoards, with them, and after their eviction."""

    before: int
    full: int
    after: int
    seconds: float


async def _round(client: Client, queue: str, fleet: BenchFleet, pid: int, name: str) -> _Round:
    before = pss(pid)
    _progress.print(f"{_EXECUTIONS} cached executions with {_SIZE // 1024} KiB each, the {name} time …")
    await _hoard(client, queue, name, _EXECUTIONS)
    full = pss(pid)
    began = time.monotonic()
    evicted = fleet.evict_all()
    seconds = time.monotonic() - began
    if evicted < _EXECUTIONS or full - before < _EXECUTIONS * _SIZE:
        raise AssertionError(f"{evicted} evicted, {full - before} bytes were cached: nothing to measure")
    return _Round(before, full, pss(pid), seconds)


async def _hoard(client: Client, queue: str, name: str, number: int) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def start(index: int) -> None:
        async with gate:
            handle = await client.start_workflow(
                "Hoard", _SIZE, id=f"{queue}-{name}-{index}", task_queue=queue
            )

            async def has_run() -> bool:
                return len([event async for event in handle.fetch_history_events()]) >= 4

            await eventually(has_run, within=120, what=f"{handle.id} waits")

    await asyncio.gather(*(start(index) for index in range(number)))
