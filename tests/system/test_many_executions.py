"""One entity serves many more open executions than its cache holds. `--executions N` sets how many."""

import random

import pytest
from temporalio.client import Client

from tests.bench.processes import pss
from tests.conftest import DevServer
from tests.faults.observing import pid
from tests.fleet import FleetUnderTest
from tests.ledgers import close_all, enter_everywhere, open_ledgers
from tests.system.conftest import MakeFleet

CACHE = 100


@pytest.mark.timeout(3600)
async def test_they_all_resurrect_with_what_they_were_told_and_memory_stays_flat(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str, executions: int
) -> None:
    fleet = make_fleet(program="ledger", pool=f"worker = {{ max_cached_workflows = {CACHE} }}").start()
    fleet.wait_running()
    number = pid(fleet, "orders-1")
    client = await Client.connect(dev_server.address)
    chance = random.Random(task_queue)
    ledgers = await open_ledgers(client, task_queue, executions)
    await enter_everywhere(ledgers, chance)
    warm = _settled_pss(fleet)
    await enter_everywhere(ledgers, chance)
    assert 0.85 * warm <= _settled_pss(fleet) <= 1.15 * warm
    entity = fleet.entity("orders-1")
    assert entity.pid == number
    assert entity.cached_executions <= CACHE
    # Opened, told twice: each but the last that the cache holds was dropped and came back, twice.
    assert entity.resurrections >= 2 * (executions - CACHE) * 0.5
    assert entity.evictions >= entity.resurrections
    await close_all(ledgers)
    # Of the SDK's core, when the buffer of its metrics was full once.
    assert "panicked" not in fleet.log_text()


def _settled_pss(fleet: FleetUnderTest) -> int:
    """Bytes. The last replays left rubbish behind, and the eviction of a few brings the collector."""
    evicted = fleet.command("evict", "orders-1", "--keep", str(CACHE - 10))
    assert evicted.returncode == 0, evicted.stderr
    return pss(pid(fleet, "orders-1"))
