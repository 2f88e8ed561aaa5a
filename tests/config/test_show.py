"""`check --show`: the effective config, which reads back as the same one."""

import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.reader import Config, for_run
from temporal_fleet.supervisor.config.show import show
from temporal_fleet.supervisor.config.units import format_duration, format_size
from tests.config.files import ENVIRON, FOLDER, POOL, read
from tests.config.test_schema import EVERYTHING


def same(one: Config, other: Config) -> bool:
    return one.model_copy(update={"path": None}) == other.model_copy(update={"path": None})


def test_it_shows_every_default() -> None:
    text = show(read(POOL))
    shown = tomllib.loads(text)
    pool = shown["pools"]["orders"]
    assert shown["fleet"]["orphan"] == "30s"
    assert shown["cluster"]["address"] == "localhost:7233"
    assert (pool["drain"], pool["restart"]["backoff"], pool["rollout"]["max_surge"]) == ("30s", "100ms", 1)
    assert (pool["memory"], pool["recycle"], pool["poison_after"]) == ({}, {}, 3)
    assert shown["cluster"]["rebuild_task_tokens"] is True
    assert "# workers is not set" in text
    assert "# kill_above is not set" in text


def test_it_reads_back_as_the_same_config() -> None:
    for config in (
        read(EVERYTHING),
        read(f'{POOL}[cluster]\nprofile = "prod"\n'),
        for_run(program="shop.orders", task_queue="q", embedded=True, environ=ENVIRON, cwd=FOLDER),
    ):
        assert same(read(show(config), folder=Path("/tmp")), config)


sizes = st.integers(16 << 20, 10**12).map(format_size)
durations = st.integers(2000, 10**9).map(lambda milliseconds: format_duration(milliseconds / 1000))
pools = st.fixed_dictionaries(
    {
        "program": st.just("a"),
        "task_queue": st.text("aä\"\\'# ", min_size=1).filter(lambda t: t == t.strip()),
    },
    optional={
        "entities": st.integers(0, 1000),
        "env": st.dictionaries(st.text("A\"'. #", min_size=1), st.text("a\"\\\n\t'ü#")),
        "workers": st.lists(st.sampled_from(["workflow", "activity", "nexus"]), min_size=1, unique=True),
        "worker": st.fixed_dictionaries(
            {},
            optional={
                "max_activities_per_second": st.floats(0.001, 1e9),
                "sticky_queue_schedule_to_start_timeout": durations,
                "disable_eager_activity_execution": st.booleans(),
            },
        ),
        "memory": st.sampled_from(["evict_above", "recycle_above", "kill_above"]).flatmap(
            lambda key: st.fixed_dictionaries({key: sizes})
        ),
        "recycle": st.fixed_dictionaries(
            {}, optional={"max_age": durations, "max_tasks": st.integers(1, 10**9)}
        ),
        "liveness": st.fixed_dictionaries(
            {},
            optional=dict.fromkeys(
                ("polling", "activation", "activity"),
                st.just("never") | st.integers(5000, 10**9).map(lambda ms: format_duration(ms / 1000)),
            ),
        ),
        "poison_after": st.integers(0, 1000),
        "drain": durations,
        "hang": durations,
        "restart": st.fixed_dictionaries(
            {}, optional={"max_restarts": st.integers(0, 9), "within": durations}
        ),
    },
)


@given(st.dictionaries(st.text("ab_-", min_size=1).map(lambda name: f"x{name}"[:48]), pools, min_size=1))
def test_any_config_reads_back_as_the_same(tree: dict[str, Any]) -> None:
    config = read(tomlkit.dumps({"pools": tree}))
    assert same(read(show(config)), config)
