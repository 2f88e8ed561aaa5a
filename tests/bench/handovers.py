"""What a roll costs those who wait for an answer: updates of cached executions while every entity is
replaced, beside the same updates while none is. Of the fleet, and of plain workers that are replaced alike.

What the Cluster hands to a Worker in the milliseconds in which it stops to poll is dropped by the SDK's core
(1.35: its stream of Workflow Tasks ends at once when nothing is in hand, else with the first of its pollers),
and waits for its own time-out, 10 s. Most rolls have none of it, some have one: look at both numbers."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from tests.bench.fleets import BenchFleet
from tests.bench.program import ledgers
from tests.bench.results import Result
from tests.bench.sides import environment, sdk_alone, under_supervisor
from tests.ledgers import Ledger, balance, enter_everywhere, open_ledgers

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
    folder.mkdir()
    queue = "bench-handovers"
    with under_supervisor(ledgers(queue), address, folder / "fleet", environment(folder / "notes")) as side:
        side.fleet.scale(_ENTITIES)
        of_fleet = await _rolls(client, queue, partial(_roll, side.fleet))
    queue = "bench-handovers-plain"
    with sdk_alone(ledgers(queue), address, environment(folder / "notes")) as plain:
        for _ in range(_ENTITIES - 1):
            plain.add_second()
        of_plain = await _rolls(client, queue, plain.roll)
    return [
        Result(
            f"the slowest of {_PER_SECOND} updates a second in a roll of {_ENTITIES}, beyond that in none",
            statistics.median(of_fleet) * 1000,
            statistics.median(of_plain) * 1000,
            "ms",
            150,
        ),
        Result(
            f"the same, the slowest of {_ROUNDS} rolls",
            max(of_fleet) * 1000,
            max(of_plain) * 1000,
            "ms",
            None,
        ),
    ]


async def _rolls(client: Client, queue: str, roll: Callable[[], None]) -> list[float]:
    """Seconds, of each roll: its slowest update less the slowest without it."""
    chance = random.Random(queue)
    opened = await open_ledgers(client, queue, _CACHED)
    beyond = []
    for number in range(_ROUNDS):
        _progress.print(f"roll {number + 1} of {_ROUNDS}: {_CACHED} cached executions …")
        await _all_cached(opened, chance)
        still = await _slowest(opened, chance, lambda: None)
        await _all_cached(opened, chance)
        beyond.append(await _slowest(opened, chance, roll) - still)
    return beyond


async def _all_cached(opened: list[Ledger], chance: random.Random) -> None:
    """Those that the last roll left without a cache come back to one."""
    await enter_everywhere(opened, chance)


def _roll(fleet: BenchFleet) -> None:
    before = fleet.entities()
    fleet.restart()
    after = fleet.entities()
    if before.keys() != after.keys() or set(before.values()) & set(after.values()):
        raise AssertionError(f"no roll to measure: {before} became {after}")


async def _slowest(opened: list[Ledger], chance: random.Random, meanwhile: Callable[[], None]) -> float:
    """Seconds. Each update is sent at its own moment, whatever became of those before it."""
    waits: list[float] = []

    async def update(ledger: Ledger) -> None:
        sent = time.monotonic()
        await balance(ledger)
        waits.append(time.monotonic() - sent)

    began = time.monotonic()
    other = asyncio.create_task(asyncio.to_thread(meanwhile))
    async with asyncio.TaskGroup() as group:
        sent = 0
        while not other.done() or time.monotonic() - began < _AT_LEAST_S:
            group.create_task(update(chance.choice(opened)))
            sent += 1
            await asyncio.sleep(max(0.0, began + sent / _PER_SECOND - time.monotonic()))
    await other
    return max(waits)
