"""What the core is told of a pool, and which keys tell two versions of it apart."""

import pytest

from temporal_fleet.supervisor.config.pools import core_pools
from temporal_fleet.supervisor.core.fleet import MemoryLimits, Pool, RecyclePolicy
from temporal_fleet.supervisor.core.plan import reload_steps
from tests.config.files import POOL, read


def core_pool(keys: str) -> Pool:
    return core_pools(read(f"{POOL}{keys}\n"), None)["orders"]


def test_limits_are_bytes_and_seconds() -> None:
    pool = core_pool(
        'memory = { evict_above = "300MiB", kill_above = "1GiB" }\n'
        'recycle = { max_age = "24h", max_tasks = 1000 }\n'
        "poison_after = 0"
    )
    assert pool.memory == MemoryLimits(evict_above=300 << 20, recycle_above=None, kill_above=1 << 30)
    assert pool.recycle == RecyclePolicy(max_age=86400.0, max_tasks=1000)
    assert pool.poison_after == 0


def test_what_is_not_said_limits_nothing() -> None:
    pool = core_pool("")
    assert (pool.memory, pool.recycle, pool.poison_after) == (MemoryLimits(), RecyclePolicy(), 3)


@pytest.mark.parametrize(
    "keys",
    [
        'memory = { evict_above = "300MiB" }',
        'recycle = { max_age = "1h" }',
        "poison_after = 1",
        'hang = "20s"',
    ],
)
def test_a_policy_takes_no_restart_of_the_entities(keys: str) -> None:
    assert core_pool(keys).digest == core_pool("").digest
    steps = reload_steps({"orders": core_pool("")}, {}, {"orders": core_pool(keys)})
    assert ("change", "orders") in [(step.action, step.target) for step in steps]


@pytest.mark.parametrize(
    "keys", ['drain = "31s"', "worker = { max_cached_workflows = 5 }", 'env = { A = "1" }']
)
def test_what_an_entity_is_made_of_does(keys: str) -> None:
    assert core_pool(keys).digest != core_pool("").digest
