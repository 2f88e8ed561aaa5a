"""Settings that every process follows in the middle of its life."""

import json
from pathlib import Path

from tests.conftest import DevServer
from tests.faults.observing import pids, run_errand
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until


def reload(fleet: FleetUnderTest, before: str, after: str) -> str:
    """What `plan` said of it."""
    fleet.edit(before, after)
    planned = fleet.command("plan")
    assert planned.returncode == 0, planned.stderr
    done = fleet.command("reload")
    assert done.returncode == 0, done.stderr
    return planned.stdout


def levels(log: Path, since: int) -> set[tuple[str, str | None]]:
    """With whose they are, of all lines from an offset on."""
    lines = [json.loads(line) for line in log.read_text()[since:].splitlines() if line.startswith("{")]
    return {(line["level"], line.get("entity") if "logger" in line else None) for line in lines}


def test_the_log_level_follows_a_reload_in_every_process(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(fleet='log_level = "info"').start()
    before = fleet.wait_running()
    assert not {level for level, _ in levels(fleet.log, 0)} & {"debug"}
    told = reload(fleet, 'log_level = "info"', 'log_level = "debug"')
    assert "log_level" in told
    assert "info -> debug: applied without a restart" in told
    run_errand(dev_server, task_queue, "ship")
    assert pids(fleet.status()) == pids(before)
    assert ("debug", "orders-1") in levels(fleet.log, 0)
    assert '"Running activity ship' in fleet.log_text()
    reload(fleet, 'log_level = "debug"', 'log_level = "error"')
    since = len(fleet.log_text())
    assert fleet.command("restart", "orders").returncode == 0
    assert fleet.stop() == 0
    assert levels(fleet.log, since) <= {("error", None), ("error", "orders-1")}


def test_logs_go_to_files_and_elsewhere_by_a_reload(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(fleet='log_dir = "logs"').start()
    before = fleet.wait_running()
    first, second = fleet.folder / "logs", fleet.folder / "more logs"
    names = {"supervisor.log", "agent.log", "fork-server.shop.log", "orders-1.log"}
    # The agent may begin later than the entities.
    wait_until(lambda: {each.name for each in first.iterdir()} == names, what=f"{names} are there")
    told = reload(fleet, 'log_dir = "logs"', 'log_dir = "more logs"')
    assert f"{first} -> {second}: applied without a restart" in told
    entity = second / "orders-1.log"
    wait_until(entity.exists, what="the entity logs elsewhere")
    assert pids(fleet.status()) == pids(before)
    pid = fleet.entity("orders-1").pid
    assert pid is not None
    wait_until(
        lambda: {Path(f"/proc/{pid}/fd/{stream}").readlink() for stream in (1, 2)} == {entity},
        what="so do its streams",
    )
    reload(fleet, 'log_dir = "more logs"', "")
    wait_until(lambda: Path(f"/proc/{pid}/fd/2").readlink() == fleet.log, what="it logs to its stream")
    assert fleet.stop() == 0
    assert "it drains" not in entity.read_text()
    (line,) = [line for line in fleet.log_text().splitlines() if "it drains" in line]
    keys = ["timestamp", "level", "event", "fleet", "process", "pool", "entity", "incarnation", "pid"]
    assert list(json.loads(line))[: len(keys)] == keys
    starts = json.loads((first / "supervisor.log").read_text().splitlines()[0])
    assert (starts["event"], starts["process"], starts["pid"]) == ("starts", "supervisor", before.fleet.pid)
