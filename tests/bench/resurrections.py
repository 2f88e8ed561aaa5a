"""Many open executions in one entity with a small cache: what it costs one of them to come back."""

import asyncio
import random
import statistics
import time
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from tests.bench.processes import MIB, pss
from tests.bench.program import ledgers
from tests.bench.results import Result
from tests.bench.sides import environment, under_supervisor
from tests.ledgers import balance, enter_everywhere, open_ledgers

_CACHE = 100
_SAMPLES = 200

_progress = Console(stderr=True)


def measure_resurrections(address: str, folder: Path, executions: int) -> list[Result]:
    return asyncio.run(_measure(address, folder, executions))


async def _measure(address: str, folder: Path, executions: int) -> list[Result]:
    client = await Client.connect(address)
    chance = random.Random(executions)
    queue = "bench-ledgers"
    folder.mkdir()
    pool = f"worker = {{ max_cached_workflows = {_CACHE} }}\n"
    with under_supervisor(
        ledgers(queue), address, folder / "fleet", environment(folder / "notes"), pool=pool
    ) as side:
        (pid,) = side.fleet.entities().values()
        _progress.print(f"{executions} open executions, a cache of {_CACHE} …")
        opened = await open_ledgers(client, queue, executions)
        warm = pss(pid)
        await enter_everywhere(opened, chance)
        after = pss(pid)
        hits: list[float] = []
        misses: list[float] = []
        # Not the last that were active: the cache has those.
        for ledger in chance.sample(opened, k=min(_SAMPLES, executions)):
            for latencies in (misses, hits):
                began = time.monotonic()
                await balance(ledger)
                latencies.append(time.monotonic() - began)
    hit, miss = statistics.median(hits) * 1000, statistics.median(misses) * 1000
    return [
        Result(f"an update that resurrects 1 of {executions}; plain: a cached one", miss, hit, "ms", None),
        Result("PSS after all came back; plain: before", after / MIB, warm / MIB, "MiB", 1.15, relative=True),
    ]
