"""`doctor` where no fleet runs: the host, the config, and what a dead fleet left."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.process import ProcessIdentity, boot_id
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli.main import cli
from tests.cli.command import Command, Result
from tests.cli.wire import answers, entity, pool, report, stand_in
from tests.conftest import free_port
from tests.users import as_root, nobody, public_folder

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


@contextmanager
def somebody_else() -> Iterator[None]:
    """This process may enter and read what `nobody` may."""
    os.seteuid(nobody().uid)
    try:
        yield
    finally:
        os.seteuid(0)


@as_root
def test_what_one_may_not_look_at_is_told() -> None:
    with public_folder() as folder:
        config = folder / "fleet.toml"
        places = {"run_dir": "run", "state_dir": "state/closed/of", "log_dir": "log"}
        lines = [f'{key} = "{folder / place}"' for key, place in places.items()]
        config.write_text("\n".join(["[fleet]", *lines, "[cluster.embedded]", POOL]))
        for closed in ("run", "state/closed", "log/closed"):
            (folder / closed).mkdir(parents=True)
            (folder / closed).chmod(0o700)
        look = ["doctor", "--json", "-c", str(config)]
        # What is imported on the way may stand where others do not come to.
        assert CliRunner().invoke(cli, look).exit_code == 0
        with somebody_else():
            done = CliRunner().invoke(cli, look)
        assert done.exit_code == 1, done
        found = {each["what"]: each for each in reversed(json.loads(done.stdout)["findings"])}
    assert found["supervisor"]["level"] == "problem"
    assert "you may not enter it" in found["supervisor"]["figure"]
    for what, path in (("black boxes", "run"), ("state_dir", "state"), ("log_dir", "log/closed")):
        assert found[what]["level"] == "warning", found
        assert f"could not be looked at: Permission denied: {folder / path}" in found[what]["figure"]
        assert found[what]["remedy"] == "run it as the fleet's user"
    # Whose it is will have to write there; that is not who asks.
    assert found["run_dir"]["level"] != "problem"


def test_a_run_directory_whose_sockets_could_not_be_bound(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text(f'[fleet]\nrun_dir = "/{"x" * 120}"\n[cluster.embedded]\n{POOL}')
    result = command("doctor", "--json")
    assert result.status == 1, result
    found = findings(result)
    assert found["run_dir"]["level"] == "problem"
    assert "over the limit of 107" in found["run_dir"]["figure"]
    assert found["memory"]["figure"]
