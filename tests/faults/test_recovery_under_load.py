"""Entities are killed at random instants, again and again, while they do all kinds of work: every execution
completes with the right result, and what was acknowledged is in it."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.conftest import DevServer
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.voyages import sail_on

KILLS = 100
ENTITIES = 3
UNDER_WAY = 8
"""Voyages at a time."""

# The kills come from outside: whoever was in hand at three of them is no poison.
POOL = 'poison_after = 0\nrestart = { max_restarts = 10000, backoff = "10ms", backoff_max = "50ms" }'


async def kill_at_random(fleet: FleetUnderTest, chance: random.Random, over: asyncio.Event) -> None:
    kills = 0
    while kills < KILLS:
        await asyncio.sleep(chance.uniform(0.0, 0.4))
        report = fleet.wait(lambda s: s.entities, what="the supervisor says who lives")
        living = [entity.pid for entity in report.entities if entity.pid is not None]
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
