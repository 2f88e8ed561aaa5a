"""`doctor` where no fleet runs: the host, the config, and what a dead fleet left."""

import json
from pathlib import Path
from typing import Any

import msgspec

from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.process import ProcessIdentity, boot_id
from temporal_fleet.protocol.rundir import RunDirectory
from tests.cli.command import Command, Result
from tests.cli.wire import answers, entity, pool, report, stand_in
from tests.conftest import free_port

POOL = '[pools.orders]\nprogram = "shop"\ntask_queue = "q"\n'


def findings(result: Result) -> dict[str, Any]:
    """By what they are about; of several, the worst."""
    return {each["what"]: each for each in reversed(json.loads(result.out)["findings"])}


def test_without_a_config_the_host_is_looked_at_all_the_same(command: Command) -> None:
    result = command("doctor", "--json")
    assert result.status == 1, result
    found = findings(result)
    assert found["config"]["level"] == "problem"
    assert "temporal-fleet init" in found["config"]["remedy"]
    assert found["temporalio"]["level"] == "ok"
    assert found["memory"]["figure"]


def test_a_cluster_that_is_away(command: Command, folder: Path) -> None:
    port = free_port()
    (folder / "fleet.toml").write_text(f'[cluster]\naddress = "127.0.0.1:{port}"\n{POOL}')
    result = command("doctor", "--json")
    assert result.status == 1, result
    found = findings(result)
    assert found["Cluster"]["level"] == "problem"
    assert f"no Cluster answers at 127.0.0.1:{port}" in found["Cluster"]["remedy"]
    assert found["config"]["level"] == "ok"


def test_every_error_of_the_config_is_a_problem(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text(
        '[pools.orders]\nprogram = "shop"\ntask_queue = "q"\nsize = 1\ncolour = 2\n'
    )
    result = command("doctor", "--json")
    assert result.status == 1, result
    told = [each for each in json.loads(result.out)["findings"] if each["level"] == "problem"]
    assert [each["what"] for each in told] == ["config", "config"]
    assert all("fleet.toml" in each["figure"] for each in told)
    table = command("doctor")
    assert table.status == 1, table
    titles, first, *_ = table.out.splitlines()
    assert titles.split() == ["level", "what", "figure", "remedy"]
    assert first.startswith("problem  config")
    assert table.err.startswith("2 problems, ")


def test_what_a_dead_fleet_left(command: Command, folder: Path, run_dir: Path) -> None:
    (folder / "fleet.toml").write_text(f"[cluster.embedded]\n{POOL}")
    run = RunDirectory(run_dir)
    run.entities.mkdir(parents=True, mode=0o700)
    gone = ProcessIdentity(pid=2**22 + 1, start_time=1, boot_id=boot_id())
    BlackBoxWriter(run.blackbox("orders-1", 3), "orders-1", 3, gone)
    result = command("doctor", "--json")
    assert result.status == 0, result
    found = findings(result)
    assert found["black boxes"]["level"] == "warning"
    assert "orders-1.3" in found["black boxes"]["figure"]
    assert "embedded" in found["Cluster"]["figure"]


def test_a_supervisor_of_another_version_is_not_asked_what_it_may_not_know(
    command: Command, folder: Path, run_dir: Path
) -> None:
    port = free_port()
    (folder / "fleet.toml").write_text(f'[cluster]\naddress = "127.0.0.1:{port}"\n{POOL}')
    older = report(pools=[pool()], entities=[entity()])
    older = msgspec.structs.replace(older, fleet=msgspec.structs.replace(older.fleet, version="0.0.1"))
    with stand_in(run_dir, answers(older)):
        result = command("doctor", "--json")
    assert result.status == 1, result
    found = findings(result)
    assert found["temporal-fleet"]["level"] == "warning"
    assert found["temporal-fleet"]["remedy"] == "temporal-fleet upgrade"
    assert f"no Cluster answers at 127.0.0.1:{port}" in found["Cluster"]["remedy"]
