"""What a roll costs those who wait for an answer: updates of cached executions while every entity is
replaced, beside the same updates while none is."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from tests.bench.fleets import BenchFleet
from tests.bench.program import ledgers
from tests.bench.results import Result
from tests.bench.sides import environment, under_supervisor
from tests.ledgers import Ledger, balance, enter_everywhere, open_ledgers
from tests.waiting import eventually

_ENTITIES = 4
_CACHED = 200
_PER_SECOND = 20
_ROUNDS = 5
_AT_LEAST_S = 6.0
"""With a roll and without alike, so that both have as many updates of which one is the slowest."""

_progress = Console(stderr=True)


def measure_handovers(address: str, folder: Path) -> list[Result]:
    return asyncio.run(_measure(address, folder))


async def _measure(address: str, folder: Path) -> list[Result]:
    client = await Client.connect(address)
    queue = "bench-handovers"
    folder.mkdir()
    chance = random.Random(queue)
    still: list[float] = []
    rolled: list[float] = []
    with under_supervisor(ledgers(queue), address, folder / "fleet", environment(folder / "notes")) as side:
        side.fleet.scale(_ENTITIES)
        opened = await open_ledgers(client, queue, _CACHED)
        for number in range(_ROUNDS):
            _progress.print(f"roll {number + 1} of {_ROUNDS}: {_CACHED} cached executions …")
            await _all_cached(side.fleet, opened, chance)
            still.append(await _slowest(opened, chance, asyncio.sleep(0)))
            await _all_cached(side.fleet, opened, chance)
            rolled.append(await _slowest(opened, chance, _roll(side.fleet)))
    return [
        Result(
            f"the slowest of {_PER_SECOND} updates a second in a roll of {_ENTITIES}, beyond that in none",
            statistics.median(roll - none for roll, none in zip(rolled, still, strict=True)) * 1000,
            None,
            "ms",
            150,
        ),
        Result(
            f"the slowest update in {_ROUNDS} rolls; plain: in none",
            max(rolled) * 1000,
            max(still) * 1000,
            "ms",
            None,
        ),
    ]


async def _all_cached(fleet: BenchFleet, opened: list[Ledger], chance: random.Random) -> None:
    """Those that the last roll left without a cache come back; and no two of them at the same instant as an
    update that is measured."""
    await enter_everywhere(opened, chance)
    await eventually(
        lambda: asyncio.to_thread(lambda: fleet.cached() >= len(opened)), what=f"{len(opened)} are cached"
    )


async def _roll(fleet: BenchFleet) -> None:
    before = fleet.entities()
    await asyncio.to_thread(fleet.restart)
    after = fleet.entities()
    if before.keys() != after.keys() or set(before.values()) & set(after.values()):
        raise AssertionError(f"no roll to measure: {before} became {after}")


async def _slowest(opened: list[Ledger], chance: random.Random, meanwhile: Awaitable[None]) -> float:
    """Seconds. Each update is sent at its own moment, whatever became of those before it."""
    waits: list[float] = []

    async def update(ledger: Ledger) -> None:
        sent = time.monotonic()
        await balance(ledger)
        waits.append(time.monotonic() - sent)

    began = time.monotonic()
    other = asyncio.ensure_future(meanwhile)
    async with asyncio.TaskGroup() as group:
        sent = 0
        while not other.done() or time.monotonic() - began < _AT_LEAST_S:
            group.create_task(update(chance.choice(opened)))
            sent += 1
            await asyncio.sleep(max(0.0, began + sent / _PER_SECOND - time.monotonic()))
    await other
    return max(waits)
