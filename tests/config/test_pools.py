"""What the core is told of a pool, and which keys tell two versions of it apart."""

from math import inf

import msgspec
import pytest

from temporal_fleet.supervisor.config.pools import core_pools
from temporal_fleet.supervisor.config.specs import program_spec
from temporal_fleet.supervisor.core.differences import made_of_differences
from temporal_fleet.supervisor.core.fleet import Fleet, LivenessLimits, MemoryLimits, Pool, RecyclePolicy
from temporal_fleet.supervisor.core.plan import plan
from temporal_fleet.supervisor.shell.configuration import fixed_settings
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


def test_an_entity_that_does_no_work_has_limits_and_never_is_none() -> None:
    assert core_pool("").liveness == LivenessLimits(30.0, 30.0, 60.0)
    pool = core_pool('liveness = { polling = "never", activity = "1m30s" }')
    assert pool.liveness == LivenessLimits(polling=inf, activation=30.0, activity=90.0)


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
        'liveness = { activity = "never" }',
    ],
)
def test_a_policy_takes_no_restart_of_the_entities(keys: str) -> None:
    assert core_pool(keys).digest == core_pool("").digest
    assert core_pool(keys).traits == core_pool("").traits
    fleet = Fleet(embedded=False, pools={"orders": core_pool("")})
    steps = plan(fleet, {"orders": core_pool(keys)}, None).steps
    assert ("change", "orders") in [(step.action, step.target) for step in steps]


def test_a_key_that_a_later_version_knows_makes_nobody_outdated() -> None:
    """As long as it is at its default: what is not given is in no digest."""
    spec = program_spec(read(POOL), "orders")
    written = msgspec.to_builtins(spec)
    assert (set(written), written["limits"]) == ({"program", "path", "task_queue", "limits"}, {})


def test_the_embedded_database_moves_with_its_folder() -> None:
    before, after = (
        read(f'[fleet]\nstate_dir = "{folder}"\n[cluster.embedded]\ndatabase = "dev.db"\n{POOL}')
        for folder in ("a", "b")
    )
    told = [key for key, one, other in fixed_settings(before, after) if one != other]
    assert told == ["fleet.state_dir"], "what nobody touched needs no word"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('drain = "31s"', "drain 30s -> 31s"),
        ("worker = { max_cached_workflows = 5 }", "worker.max_cached_workflows unset -> 5"),
        ('worker = { max_heartbeat_throttle_interval = "90s" }', "throttle_interval unset -> 1m30s"),
        ("worker = { no_remote_activities = true }", "worker.no_remote_activities unset -> true"),
        ('workers = ["workflow", "activity"]', "workers unset -> workflow activity"),
        ('after_fork = "shop.db:reconnect"', "after_fork unset -> shop.db:reconnect"),
        ('path = "/tmp"', "path /usr -> /tmp"),
        ('env = { A = "1" }', "env.A changed"),
        ('[cluster]\naddress = "shop:7233"', "[cluster] address localhost:7233 -> shop:7233"),
        ('[cluster]\napi_key_file = "/etc/passwd"', "[cluster] api_key_file unset -> /etc/passwd"),
        ("[cluster.tls]", "[cluster] tls unset -> yes"),
        ('[cluster.tls]\nserver_name = "shop"', "[cluster.tls] server_name unset -> shop"),
        ('[fleet]\norphan = "1m"', "[fleet] orphan 30s -> 1m"),
    ],
)
def test_what_an_entity_is_made_of_does_and_the_operator_reads_what(keys: str, told: str) -> None:
    before, after = core_pool(""), core_pool(keys)
    assert before.digest != after.digest
    assert told in made_of_differences(before, after)


def test_a_changed_value_of_env_is_told_and_neither_value_shown() -> None:
    before, after = core_pool('env = { KEY = "hunter2" }'), core_pool('env = { KEY = "hunter3" }')
    assert made_of_differences(before, after) == "env.KEY changed"
    assert "hunter" not in repr(before)
    assert "hunter" not in "".join(before.traits.values())
