"""What the other processes are told of a config."""

from pathlib import Path

import pytest

from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, LogFiles, ProgramSpec, TlsSpec
from temporal_fleet.supervisor.config.specs import cluster_spec, entity_spec, log_format, program_spec
from tests.config.files import POOL, read

FULL = (
    POOL
    + """\
entities = 4
workers = ["workflow", "activity"]
env = { TOKEN = "s3cret" }
after_fork = "shop.db:reconnect"
worker = { max_cached_workflows = 5, sticky_queue_schedule_to_start_timeout = "1m", debug_mode = false }
drain = "1m30s"
[fleet]
name = "shop"
run_dir = "/run/shop"
log_level = "warning"
log_dir = "/tmp/logs"
log_size = "64KiB"
orphan = "5s"
[cluster]
address = "temporal:7233"
data_converter = "shop.crypto:converter"
api_key_file = "api-key"
[cluster.tls]
server_name = "t"
server_ca = "ca.pem"
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ca.pem", "api-key"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_everything_of_an_entity(folder: Path) -> None:
    spec = entity_spec(
        read(FULL, folder),
        "orders",
        entity="orders-3",
        incarnation=7,
        gpus=(),
        supervisor_pid=1,
        cluster_address=None,
        log_format="json",
    )
    assert spec == EntitySpec(
        fleet="shop",
        entity="orders-3",
        incarnation=7,
        run_dir="/run/shop",
        supervisor_pid=1,
        cluster=ClusterSpec(
            address="temporal:7233",
            namespace="default",
            tls=TlsSpec(server_name="t", server_ca=str(folder / "ca.pem")),
            api_key_file=str(folder / "api-key"),
            data_converter="shop.crypto:converter",
        ),
        program=ProgramSpec(
            program="shop.orders",
            path=str(folder),
            env={"TOKEN": "s3cret"},
            workers=("workflow", "activity"),
            after_fork="shop.db:reconnect",
            data_converter="shop.crypto:converter",
            worker={
                "max_cached_workflows": 5,
                "sticky_queue_schedule_to_start_timeout": 60.0,
                "debug_mode": False,
            },
            task_queue="orders",
        ),
        drain=90.0,
        orphan=5.0,
        log_format="json",
        log_level="warning",
        log_files=LogFiles(folder="/tmp/logs", size=65536, keep=5),
    )
    assert "s3cret" not in repr(spec)
    assert "s3cret" not in repr(list(spec.program.__rich_repr__()))


def test_the_embedded_cluster_is_where_it_turned_out_to_be() -> None:
    config = read(POOL + '[cluster]\nnamespace = "n"\n[cluster.embedded]\nport = 0\n')
    assert cluster_spec(config, "127.0.0.1:5001") == ClusterSpec(address="127.0.0.1:5001", namespace="n")


def test_an_external_cluster_is_where_the_file_says() -> None:
    config = read(POOL)
    assert cluster_spec(config) == ClusterSpec(address="localhost:7233", namespace="default")
    profile = read(POOL + '[cluster]\nprofile = "prod"\n')
    assert cluster_spec(profile) == ClusterSpec(profile="prod")


def test_pools_that_differ_only_in_size_have_equal_programs() -> None:
    one, four = (read(POOL + f"entities = {size}\n") for size in (1, 4))
    assert program_spec(one, "orders") == program_spec(four, "orders")


@pytest.mark.parametrize(
    ("chosen", "terminal", "resolved"),
    [
        ("auto", True, "console"),
        ("auto", False, "json"),
        ("console", False, "console"),
        ("json", True, "json"),
    ],
)
def test_the_log_format_follows_the_terminal_only_when_asked_to(
    chosen: str, terminal: bool, resolved: str
) -> None:
    config = read(f'[fleet]\nlog_format = "{chosen}"\n{POOL}')
    assert log_format(config, terminal=terminal) == resolved
