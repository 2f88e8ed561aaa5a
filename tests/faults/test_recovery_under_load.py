"""Entities are killed at random instants, again and again, while they do all kinds of work: every execution
completes with the right result, and what was acknowledged is in it."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tests.conftest import DevServer
from tests.fleet import FleetUnderTest
from tests.programs.voyage import LEGS
from tests.system.conftest import MakeFleet

KILLS = 100
ENTITIES = 3
UNDER_WAY = 8
"""Voyages at a time."""

# The kills come from outside: whoever was in hand at three of them is no poison.
POOL = 'poison_after = 0\nrestart = { max_restarts = 10000, backoff = "10ms", backoff_max = "50ms" }'


@dataclass
class Crossing:
    """One voyage, and what its updates were told."""

    handle: WorkflowHandle[object, list[str]]
    acknowledged: list[str] = field(default_factory=list)


async def navigate(crossing: Crossing, seed: int) -> list[str]:
    """Blow and give orders, in random order, until the voyage is over; its result."""
    chance = random.Random(seed)
    result = asyncio.create_task(crossing.handle.result())
    number = 0
    while not result.done():
        number += 1
        try:
            if chance.random() < 0.5:
                await crossing.handle.signal("wind")
            else:
                text = f"{seed}.{number}"
                answer: str = await crossing.handle.execute_update("order", text, result_type=str)
                assert answer == f"aye {text}"
                crossing.acknowledged.append(f"order {text}")
        except (RPCError, WorkflowUpdateFailedError) as error:
            if not _means_it_is_over(error):
                raise
        await asyncio.wait([result], timeout=chance.uniform(0.0, 0.3))
    return result.result()


def _means_it_is_over(error: RPCError | WorkflowUpdateFailedError) -> bool:
    if isinstance(error, RPCError):
        return error.status is RPCStatusCode.NOT_FOUND
    # The run ended, or continued as new, before the update was answered.
    return isinstance(error.cause, ApplicationError) and error.cause.type == "AcceptedUpdateCompletedWorkflow"


async def sail_on(client: Client, queue: str, seeds: Iterator[int], over: asyncio.Event) -> list[int]:
    """One voyage after the other; how many."""
    sailed = []
    while not over.is_set():
        seed = next(seeds)
        name = f"{queue}-{seed}"
        handle: WorkflowHandle[object, list[str]] = await client.start_workflow(
            "Voyage", args=[name, 0, []], id=name, task_queue=queue, result_type=list[str]
        )
        crossing = Crossing(handle)
        _assert_whole(name, await navigate(crossing, seed), crossing.acknowledged)
        sailed.append(seed)
    return sailed


def _assert_whole(name: str, log: list[str], acknowledged: list[str]) -> None:
    per_leg = Counter(tuple(line.split()[:3]) for line in log if not line.startswith(("order", "reckon")))
    assert per_leg == Counter((kind, name, str(leg)) for kind in ("sail", "trade") for leg in range(LEGS)), (
        log
    )
    assert [line for line in log if line.startswith("reckon")] == [
        f"reckon {leg * leg}" for leg in range(LEGS)
    ]
    orders = Counter(line for line in log if line.startswith("order"))
    assert max(orders.values(), default=1) == 1, log
    assert set(acknowledged) <= set(orders), (acknowledged, log)


async def kill_at_random(fleet: FleetUnderTest, chance: random.Random, over: asyncio.Event) -> None:
    kills = 0
    while kills < KILLS:
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        living = [entity.pid for entity in fleet.status().entities if entity.pid is not None]
        # At times several at once, all of them included.
        for pid in chance.sample(living, k=min(len(living), chance.choice([1, 1, 1, 2, ENTITIES]))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
    over.set()


@pytest.mark.timeout(400)
async def test_a_hundred_kills_under_load_cost_no_execution_and_no_result(
    make: MakeFleet, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    log = tmp_path / "voyages"
    fleet = make(entities=ENTITIES, program="voyage", pool=POOL, environment={"VOYAGE_LOG": str(log)}).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    over = asyncio.Event()
    seeds = iter(range(1_000_000))
    async with asyncio.TaskGroup() as group:
        crews = [group.create_task(sail_on(client, task_queue, seeds, over)) for _ in range(UNDER_WAY)]
        group.create_task(kill_at_random(fleet, random.Random(task_queue), over))
    assert sum(len(crew.result()) for crew in crews) >= UNDER_WAY
    fleet.wait_running()
    fleet.wait(lambda s: not s.recoveries, what="everything is recovered")
