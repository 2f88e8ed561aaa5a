"""The JSON Schema of fleet.toml, as editors use it."""

import tomllib
from typing import Any

import jsonschema
import pytest

from temporal_fleet.supervisor.config.schema import schema
from temporal_fleet.supervisor.config.template import template
from tests.config.files import POOL, read

validator = jsonschema.Draft202012Validator(schema())


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "text", [template(), template(embedded=True), template(address="a:1", name="shop"), POOL]
)
def test_it_takes_what_the_parser_takes(text: str) -> None:
    read(text)
    validator.validate(tomllib.loads(text))


EVERYTHING = f"""\
[fleet]
name = "shop"
run_dir = "run"
state_dir = "state"
log_format = "json"
log_level = "debug"
log_dir = "logs"
log_size = "1MiB"
log_keep = 3
orphan = "1m30s"
memory_budget = "4GiB"
[cluster]
namespace = "default"
data_converter = "shop.crypto:converter"
rebuild_task_tokens = false
[cluster.embedded]
port = 0
ui_port = 0
{POOL}
path = "."
entities = 4
workers = ["workflow", "activity", "nexus"]
env = {{ REGION = "eu" }}
after_fork = "shop.db:reconnect"
worker = {{ max_cached_workflows = 0, max_activities_per_second = 1.5, debug_mode = true }}
restart = {{ policy = "never", backoff = "1s", backoff_max = "1m", max_restarts = 3, within = "1h" }}
drain = "0s"
hang = "20s"
boot = "2m"
rollout = {{ max_surge = 0, max_unavailable = 1 }}
memory = {{ evict_above = "300MiB", recycle_above = "500MiB", kill_above = "700MiB" }}
recycle = {{ max_age = "24h", max_tasks = 100000 }}
liveness = {{ polling = "1m", activation = "never", activity = "5s" }}
poison_after = 0
"""


def test_it_takes_every_key() -> None:
    read(EVERYTHING)
    validator.validate(tomllib.loads(EVERYTHING))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[pools]\n",
        '[pools.orders]\nprogram = "a"\n',
        f"{POOL}entities = -1\n",
        f'{POOL}entities = "4"\n',
        f"{POOL}entitis = 4\n",
        f"{POOL}drain = 30\n",
        f'{POOL}drain = "30"\n',
        f'{POOL}drain = ""\n',
        f'{POOL}drain = "30s1m"\n',
        f'{POOL}workers = ["query"]\n',
        f"{POOL}workers = []\n",
        f'{POOL}worker = {{ identity = "a" }}\n',
        f"{POOL}worker = {{ max_concurrent_activities = 0 }}\n",
        f"{POOL}env = {{ A = 1 }}\n",
        f'{POOL}memory = {{ evict_above = "400MB" }}\n',
        f"{POOL}memory = {{ kill_above = 400 }}\n",
        f"{POOL}recycle = {{ max_tasks = 0 }}\n",
        f'{POOL}liveness = {{ polling = "ever" }}\n',
        f"{POOL}poison_after = -1\n",
        f'{POOL}restart = {{ policy = "sometimes" }}\n',
        f'{POOL}[pools."B c"]\nprogram = "a"\ntask_queue = "a"\n',
        f'{POOL}[cluster]\naddress = "localhost"\n',
        f"{POOL}[fleet]\nhttp = 1\n",
        f"{POOL}[pool]\n",
    ],
)
def test_it_refuses_what_the_parser_refuses(wrong: str) -> None:
    with pytest.raises(Exception, match=r"fleet\.toml"):
        read(wrong)
    assert not validator.is_valid(tomllib.loads(wrong))


def test_every_key_is_described_and_no_key_is_null() -> None:
    document = schema()
    tables: dict[str, Any] = {"": document, **document["$defs"]}
    for table in tables.values():
        assert table["description"]
        for name, key in table["properties"].items():
            assert key["description"], name
            assert "anyOf" not in key
            assert key.get("default", "") is not None
