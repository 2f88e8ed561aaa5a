"""Every error at once, each with its place, its value and what would be right, in plain language."""

from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.reader import ConfigError, load, parse
from tests.config.files import ENVIRON, FOLDER, POOL, only_problem, problems, read

TEN_ERRORS = """\
[fleet]
name = "my shop"
orphan = 30
colour = "red"

[cluster]
address = "http://temporal:7233"

[pools.orders]
program = "shop/orders.py"
entities = "four"
workers = ["workflow", "activty"]
worker = { identity = "me", max_concurrent_activities = 0 }

[pools.Billing]
program = "shop.billing"
task_queue = "billing"
restart = { polcy = "never" }
"""


def test_ten_different_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse(TEN_ERRORS, Path("fleet.toml"), ENVIRON)
    assert str(error.value).splitlines() == [
        'fleet.toml:2: fleet.name = "my shop": must be 1 to 63 letters, digits, "_", "." or "-", '
        'a letter or digit first and last, such as "shop"',
        'fleet.toml:3: fleet.orphan = 30: must be a string with a unit, such as "30s"',
        "fleet.toml:4: fleet.colour: is no key of this table; there are name, run_dir, state_dir, "
        "log_format, log_level, log_dir, log_size, log_keep, orphan, memory_budget, gpus, http",
        'fleet.toml:7: cluster.address = "http://temporal:7233": must be host:port without a scheme, '
        'such as "temporal:7233"',
        'fleet.toml:9: pools.orders.task_queue: is missing: set it, such as "orders"',
        'fleet.toml:10: pools.orders.program = "shop/orders.py": must be a module, not a file, '
        'such as "shop.orders"; `path` names the folder to import it from',
        'fleet.toml:11: pools.orders.entities = "four": must be a whole number, such as 4',
        'fleet.toml:12: pools.orders.workers[1] = "activty": '
        'must be one of "workflow", "activity" or "nexus"',
        "fleet.toml:13: pools.orders.worker.max_concurrent_activities = 0: must be at least 1",
        "fleet.toml:13: pools.orders.worker.identity: not set here: an entity's identity is "
        "FLEET/ENTITY.INCARNATION@HOST:PID: set [fleet] name",
        "fleet.toml:15: pools.Billing: the name of a pool must be 1 to 48 of a-z, 0-9, _ and -, "
        "a letter or digit first, such as [pools.orders]",
        "fleet.toml:18: pools.Billing.restart.polcy: is no key of this table; did you mean policy?",
    ]


MISTAKES: dict[str, tuple[tuple[str, ...], Any]] = {
    "fleet.name": (("fleet", "name"), "a b"),
    "fleet.orphan": (("fleet", "orphan"), 30),
    "fleet.log_format": (("fleet", "log_format"), "xml"),
    "fleet.log_level": (("fleet", "log_level"), "loud"),
    "fleet.log_dir": (("fleet", "log_dir"), "no-such-file.toml\0"),
    "fleet.log_size": (("fleet", "log_size"), "1KiB"),
    "fleet.log_keep": (("fleet", "log_keep"), 0),
    "fleet.memory_budget": (("fleet", "memory_budget"), 4),
    "fleet.http": (("fleet", "http"), "9464"),
    "cluster.address": (("cluster", "address"), "localhost"),
    "cluster.namespace": (("cluster", "namespace"), ""),
    "cluster.rebuild_task_tokens": (("cluster", "rebuild_task_tokens"), "no"),
    "cluster.api_key_file": (("cluster", "api_key_file"), "no-such-file"),
    "cluster.data_converter": (("cluster", "data_converter"), "converter"),
    "cluster.tls.server_ca": (("cluster", "tls", "server_ca"), "no-such-file"),
    "cluster.tls.client_key": (("cluster", "tls", "client_key"), "/etc/passwd"),
    "pool": (("pool",), {}),
    "pools.a.program": (("pools", "a", "program"), "1shop"),
    "pools.a.path": (("pools", "a", "path"), "no-such-folder"),
    "pools.a.task_queue": (("pools", "a", "task_queue"), " "),
    "pools.a.entities": (("pools", "a", "entities"), -1),
    "pools.a.workers[0]": (("pools", "a", "workers"), ["query"]),
    "pools.a.env.REGION": (("pools", "a", "env", "REGION"), 1),
    "pools.a.after_fork": (("pools", "a", "after_fork"), 1),
    "pools.a.worker.tuner": (("pools", "a", "worker", "tuner"), {}),
    "pools.a.worker.debug_mode": (("pools", "a", "worker", "debug_mode"), 1),
    "pools.a.worker.max_concurrent_workflow_tasks": (
        ("pools", "a", "worker", "max_concurrent_workflow_tasks"),
        1,
    ),
    "pools.a.restart.backoff": (("pools", "a", "restart", "backoff"), "1h"),
    "pools.a.restart.max_restarts": (("pools", "a", "restart", "max_restarts"), 1.5),
    "pools.a.drain": (("pools", "a", "drain"), "30 s"),
    "pools.a.hang": (("pools", "a", "hang"), "1s"),
    "pools.a.boot": (("pools", "a", "boot"), "0s"),
    "pools.a.rollout.max_surge": (("pools", "a", "rollout", "max_surge"), 0),
    "pools.a.memory.evict_above": (("pools", "a", "memory", "evict_above"), "300MB"),
    "pools.a.memory.kill_above": (("pools", "a", "memory", "kill_above"), "15MiB"),
    "pools.a.recycle.max_age": (("pools", "a", "recycle", "max_age"), "1 day"),
    "pools.a.recycle.max_tasks": (("pools", "a", "recycle", "max_tasks"), 0),
    "pools.a.liveness.polling": (("pools", "a", "liveness", "polling"), "4s"),
    "pools.a.liveness.activity": (("pools", "a", "liveness", "activity"), False),
    "pools.a.poison_after": (("pools", "a", "poison_after"), -1),
    "pools.a.resources.gpus": (("pools", "a", "resources", "gpus"), 1),
    "pools.a.resources.cpus": (("pools", "a", "resources", "cpus"), "all"),
    "pools.b-1": (("pools", "b-1"), {"program": "b", "task_queue": "b"}),
    'pools."B c"': (("pools", "B c"), {"program": "b", "task_queue": "b"}),
}
"""The key that is reported for each mistake: where to make it, and what to put there."""


@given(st.sets(st.sampled_from(sorted(MISTAKES))))
def test_any_mistakes_together_are_all_told_each_with_its_line(chosen: set[str]) -> None:
    tree: dict[str, Any] = {
        "pools": {
            "a": {"program": "a", "task_queue": "a"},
            "b": {"program": "b", "task_queue": "b"},
        }
    }
    for name in sorted(chosen):
        *tables, key = MISTAKES[name][0]
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = MISTAKES[name][1]
    text = tomlkit.dumps(tree)
    found = problems(text)
    assert {problem.key for problem in found} == chosen
    lines = text.splitlines()
    for problem in found:
        assert problem.line is not None
        name = MISTAKES[problem.key][0][-1]
        assert name in lines[problem.line - 1]
        assert "Input should" not in problem.remedy
        assert "cannot be read" not in problem.remedy


@pytest.mark.parametrize(
    ("table", "unknown", "meant"),
    [
        ("fleet", "nam", "name"),
        ("cluster", "adress", "address"),
        ("cluster.tls", "ca", "server_ca"),
        ("cluster.embedded", "uiport", "ui_port"),
        ("pools.orders", "entites", "entities"),
        ("pools.orders", "task-queue", "task_queue"),
        ("pools.orders.restart", "max_restart", "max_restarts"),
        ("pools.orders.rollout", "surge", "max_surge"),
        ("pools.orders.memory", "evict_over", "evict_above"),
        ("pools.orders.recycle", "max_agee", "max_age"),
        ("pools.orders.liveness", "polls", "polling"),
        ("pools.orders.worker", "max_cached_workflow", "max_cached_workflows"),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_was_meant(table: str, unknown: str, meant: str) -> None:
    head = POOL if table == "pools.orders" else f"{POOL}\n[{table}]\n"
    problem = only_problem(f"{head}{unknown} = 1\n")
    assert problem.key == f"{table}.{unknown}"
    assert meant in problem.remedy
    assert problem.value is None, "what stands under an unknown key may be a secret in the wrong place"


def test_the_configs_own_attribute_is_no_key_of_the_file() -> None:
    assert "is no table of this file" in only_problem(f'path = "x"\n{POOL}').remedy


@pytest.mark.parametrize(
    "text",
    [
        "fleet = 1\n" + POOL,
        "cluster = []\n" + POOL,
        "pools = 'orders'\n",
        "[pools]\norders = 4\n",
        POOL + "worker = 1\n",
        POOL + "restart = 'always'\n",
        POOL + "env = []\n",
        POOL + "\n[[cluster.tls]]\n",
        POOL + "\n[cluster]\nembedded = true\n",
    ],
)
def test_what_should_be_a_table_is_told_so_and_nothing_else(text: str) -> None:
    assert only_problem(text).remedy == "must be a table"


def test_no_pools_is_an_error_with_its_remedy() -> None:
    assert "[pools.NAME]" in only_problem("").remedy
    assert "[pools.NAME]" in only_problem("[pools]\n").remedy


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("[fleet]\nname = shop\n", 2, 8),
        ('[fleet]\nname = "a"\nname = "b"\n', 3, 11),
        ('[fleet]\nname = "a', 2, 10),
        ("[fleet\n", 1, 7),
    ],
)
def test_a_text_that_is_no_toml_is_told_with_line_and_column(text: str, line: int, column: int) -> None:
    problem = only_problem(text)
    assert (problem.line, problem.column) == (line, column)
    assert problem.remedy.startswith("not valid TOML: ")
    assert "(at line" not in problem.remedy
    assert str(problem).startswith(f"{FOLDER}/fleet.toml:{line}:{column}: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000 + "\n", "\0", "a=1\r"])
def test_a_hostile_text_is_an_error_like_any_other(text: str) -> None:
    assert problems(text)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="temporal-fleet init"):
        load(tmp_path / "fleet.toml", ENVIRON)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").mkdir()
    with pytest.raises(ConfigError, match=r"fleet\.toml: cannot be read"):
        load(tmp_path / "fleet.toml", ENVIRON)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml: must be UTF-8 text; byte 8 is not"):
        load(tmp_path / "latin.toml", ENVIRON)


def test_the_values_of_env_appear_in_no_error_and_no_repr() -> None:
    config = read(POOL + 'env = { TOKEN = "s3cret" }\n')
    assert config.pools["orders"].env == {"TOKEN": "s3cret"}
    assert "s3cret" not in f"{config!r}{config}"
    for env in (
        '{ TOKEN = ["s3cret"] }',
        '{ TOKEN = "s3cret\\u0000" }',
        '{ "A=B" = "s3cret" }',
        '["s3cret"]',
        '"s3cret"',
    ):
        assert "s3cret" not in str(only_problem(POOL + f"env = {env}\n"))


KEYS = ["fleet", "cluster", "pools", "tls", "embedded", "restart", "rollout", "worker", "env", "workers"]
KEYS += [
    "memory",
    "recycle",
    "liveness",
    "polling",
    "evict_above",
    "recycle_above",
    "memory_budget",
    "poison_after",
]
KEYS += ["name", "program", "task_queue", "entities", "drain", "run_dir", "port", "path", "[key]", "", "a-1"]
trees = st.recursive(
    st.integers() | st.booleans() | st.floats() | st.text() | st.dates() | st.sampled_from(["30s", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), trees, max_size=5))
def test_no_tree_whatsoever_is_anything_but_a_config_or_an_error(tree: dict[str, Any]) -> None:
    try:
        text = tomlkit.dumps(tree)
    except ValueError:
        return
    for problem in problems(text):
        assert str(problem)
        assert "\n" not in str(problem)
        assert "cannot be read" not in problem.remedy


@pytest.mark.parametrize(
    "address", ["9464", "localhost", "http://localhost:9464", ":9464", "a b:1", "a:70000", ""]
)
def test_http_is_host_and_port(address: str) -> None:
    problem = only_problem(f'[fleet]\nhttp = "{address}"\n{POOL}')
    assert (problem.key, problem.line) == ("fleet.http", 2)
    assert problem.remedy.startswith("must be host:port")


def test_http_may_leave_the_port_to_the_system() -> None:
    for address in ("127.0.0.1:0", "[::1]:9464", "localhost:9464"):
        assert read(f'[fleet]\nhttp = "{address}"\n{POOL}').fleet.http == address
