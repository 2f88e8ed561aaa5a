"""The file that `init` writes: it holds, and so does each key in it that is commented out."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from temporal_fleet.supervisor.config.schema import schema
from temporal_fleet.supervisor.config.template import template
from tests.config.files import problems, read

KEY = re.compile(r"^#(?=[a-z_\"\[])", re.MULTILINE)

VARIANTS: list[dict[str, Any]] = [
    {},
    {"embedded": True},
    {"address": "temporal:7233", "name": "shop", "namespace": "post"},
    {"program": "a:b", "task_queue": 'a "b" \\ ü', "entities": 9, "name": "a.b", "pool": "b-1"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tls").mkdir()
    for name in ("api-key", "tls/ca.pem", "tls/client.pem", "tls/client.key"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize("given", VARIANTS)
def test_it_holds_and_says_what_was_asked(folder: Path, given: dict[str, Any]) -> None:
    config = read(template(**given), folder)
    pool = config.pools[given.get("pool", "orders")]
    assert pool.program == given.get("program", "shop.orders")
    assert pool.task_queue == given.get("task_queue", "orders")
    assert pool.entities == given.get("entities", 2)
    assert (config.cluster.embedded is not None) == given.get("embedded", False)
    if "address" in given:
        assert config.cluster.address == given["address"]
    assert config.cluster.namespace == given.get("namespace", "default")
    if "name" in given:
        assert config.fleet.name == given["name"]


@pytest.mark.parametrize("given", VARIANTS)
def test_every_key_that_is_commented_out_is_right(folder: Path, given: dict[str, Any]) -> None:
    text = KEY.sub("", template(**given))
    tree = tomllib.loads(text)
    cluster = tree["cluster"]
    # Three ways to name a Cluster exclude each other: each has its turn.
    embedded = cluster.pop("embedded")
    profile = cluster.pop("profile", None)
    assert problems(tomlkit.dumps(tree), folder) == ()
    tree["cluster"] = {"profile": profile} if profile else {}
    assert problems(tomlkit.dumps(tree), folder) == ()
    tree["cluster"] = {"embedded": embedded}
    assert problems(tomlkit.dumps(tree), folder) == ()


def test_it_names_every_key_there_is() -> None:
    tree = tomllib.loads(KEY.sub("", template()))
    definitions = schema()["$defs"]
    for table, name in (
        (tree["fleet"], "Fleet"),
        (tree["cluster"], "Cluster"),
        (tree["cluster"]["tls"], "Tls"),
        (tree["cluster"]["embedded"], "Embedded"),
        (tree["pools"]["orders"], "Pool"),
        (tree["pools"]["orders"]["restart"], "Restart"),
        (tree["pools"]["orders"]["rollout"], "Rollout"),
        (tree["pools"]["orders"]["memory"], "Memory"),
        (tree["pools"]["orders"]["recycle"], "Recycle"),
        (tree["pools"]["orders"]["liveness"], "Liveness"),
    ):
        assert set(table) == set(definitions[name]["properties"])


def test_each_value_that_is_commented_out_as_a_default_is_the_default(folder: Path) -> None:
    tree = tomllib.loads(KEY.sub("", template()))["pools"]["orders"]
    text = tomlkit.dumps(
        {
            "pools": {
                "orders": {
                    key: tree[key]
                    for key in (
                        "program",
                        "task_queue",
                        "entities",
                        "drain",
                        "hang",
                        "boot",
                        "liveness",
                        "poison_after",
                        "restart",
                        "rollout",
                    )
                }
            }
        }
    )
    assert read(text, folder).pools == read(template(), folder).pools
