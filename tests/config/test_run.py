"""The config of `run`, which has no file."""

from pathlib import Path
from typing import Any

import pytest

from temporal_fleet.supervisor.config.reader import Config, ConfigError, for_run
from tests.config.files import ENVIRON


def run(**options: Any) -> Config:
    given = {"program": "shop.orders", "task_queue": "orders", "environ": ENVIRON, "cwd": Path("/usr")}
    return for_run(**{**given, **options})


def test_one_pool_named_after_the_program() -> None:
    config = run(entities=4)
    assert config.path is None
    assert config.fleet.name == "shop-orders"
    assert (config.cluster.address, config.cluster.namespace) == ("localhost:7233", "default")
    assert list(config.pools) == ["orders"]
    pool = config.pools["orders"]
    assert (pool.program, pool.task_queue, pool.entities, pool.path) == (
        "shop.orders",
        "orders",
        4,
        Path("/usr"),
    )


@pytest.mark.parametrize(
    ("program", "fleet", "pool"),
    [
        ("shop", "shop", "shop"),
        ("Shop.Orders:make", "Shop-Orders", "orders"),
        ("shop._private", "shop-_private", "private"),
        ("läden", "l-den", "l-den"),
        ("___", "fleet", "program"),
    ],
)
def test_names_come_from_the_programs_module(program: str, fleet: str, pool: str) -> None:
    config = run(program=program)
    assert (config.fleet.name, list(config.pools)) == (fleet, [pool])


def test_the_options_for_the_cluster() -> None:
    embedded = run(embedded=True).cluster.embedded
    assert embedded is not None
    assert (embedded.port, embedded.ui_port) == (0, 0)
    assert run(address="a:1", namespace="n").cluster.address == "a:1"
    assert run(profile="prod").cluster.profile == "prod"
    assert run(name="shop").fleet.name == "shop"


def test_every_wrong_option_is_told_by_its_name() -> None:
    with pytest.raises(ConfigError) as error:
        run(program="a b", task_queue="", entities=-1, address="x", namespace="", name="a b")
    assert {problem.key for problem in error.value.problems} == {
        "PROGRAM",
        "-q",
        "-n",
        "--address",
        "--namespace",
        "--name",
    }
    assert all(problem.file is None for problem in error.value.problems)


@pytest.mark.parametrize("other", [{"address": "a:1"}, {"profile": "p"}])
def test_the_embedded_cluster_excludes_another(other: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as error:
        run(embedded=True, **other)
    (option,) = (f"--{key}" for key in other)
    assert [problem.key for problem in error.value.problems] == [f"--embedded and {option}"]


@pytest.mark.parametrize("program", ["shop.agent", "agent:make"])
def test_a_module_that_is_called_like_a_process_of_the_fleet(program: str) -> None:
    assert list(run(program=program).pools) == ["agent-pool"]
