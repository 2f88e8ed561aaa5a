"""The process tree, how a fleet stops, and what becomes of it when its supervisor dies."""

import os
import signal
import stat
from pathlib import Path

import psutil

from temporal_fleet.supervisor.shell.dev_server import settle
from tests.conftest import DevServer, accepts
from tests.fleet import FleetUnderTest, command, command_line, is_alive
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until


def test_entities_are_children_of_the_supervisor_in_sessions_of_their_own(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=3).start()
    report = fleet.wait_running()
    pids = [entity.pid for entity in report.entities]
    assert [entity.id for entity in report.entities] == ["orders-1", "orders-2", "orders-3"]
    for pid in pids:
        assert pid is not None
        assert psutil.Process(pid).ppid() == fleet.pid
        assert os.getsid(pid) == pid
    children = psutil.Process(fleet.pid).children()
    titles = [
        "temporal-fleet: test agent",
        "temporal-fleet: test fork server shop",
        *(f"temporal-fleet: test orders-{number} ready 0 cached" for number in (1, 2, 3)),
    ]
    wait_until(lambda: sorted(map(command_line, children)) == titles, what="their titles")
    assert command_line(psutil.Process(fleet.pid)) == "temporal-fleet: test supervisor"
    assert [psutil.Process(pid).name() for pid in pids] == ["orders-1", "orders-2", "orders-3"]


def test_term_drains_and_leaves_nothing(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    fleet.wait_running()
    everything = fleet.remember_all()
    assert fleet.stop() == 0
    assert not [process for process in everything if is_alive(process)]
    assert not list(fleet.run_dir.entities.iterdir())
    assert not fleet.run_dir.control.exists()


def test_the_run_directory_is_private(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    fleet.wait_running()
    assert stat.S_IMODE(fleet.run_dir.path.stat().st_mode) == 0o700
    for path in fleet.run_dir.entities.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_two_supervisors_cannot_share_a_run_directory(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    before = fleet.wait_running()
    second = command("up", "-c", str(fleet.config))
    assert second.returncode == 1
    assert f"PID {fleet.pid}" in second.stderr
    after = fleet.status()
    assert [e.pid for e in after.entities] == [e.pid for e in before.entities]


def test_after_sigkill_of_the_supervisor_helpers_go_and_entities_drain(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2, fleet='orphan = "1s"').start()
    pids = [e.pid for e in fleet.wait_running().entities]
    everything = fleet.remember_all()
    entities = [process for process in everything if process.pid in pids]
    helpers = [process for process in everything if process.pid not in pids]
    assert len(entities) == 2
    assert len(helpers) == 2
    fleet.kill_supervisor()
    wait_until(lambda: not any(is_alive(p) for p in helpers), what="fork server and agent are gone")
    wait_until(lambda: not any(is_alive(p) for p in entities), what="orphans drained by themselves")
    # They left nothing that the next supervisor would have to recover.
    fleet.start()
    fleet.wait_running()
    assert "entity.found-dead" not in fleet.log_text()
    assert not list(fleet.run_dir.entities.glob("*.1.*"))


def test_incarnations_go_on_after_a_stop(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    assert fleet.wait_running().entities[0].incarnation == 1
    assert fleet.stop() == 0
    fleet.start()
    assert fleet.wait_running().entities[0].incarnation == 2


def test_an_entity_that_gets_sigterm_drains_and_another_starts(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    pid = fleet.wait_running().entities[0].pid
    assert pid
    os.kill(pid, signal.SIGTERM)
    report = fleet.wait(
        lambda s: s.entities[0].state == "ready" and s.entities[0].pid != pid, what="another life"
    )
    last = report.entities[0].last_exit
    assert last is not None
    assert (last.code, last.signal) == (0, None)


def test_the_embedded_server_keeps_its_state_and_comes_back_when_it_dies(
    make_fleet: MakeFleet, tmp_path: Path
) -> None:
    fleet = make_fleet(
        fleet='log_dir = "logs"\nlog_size = "64KiB"',
        cluster='[cluster.embedded]\nport = 0\ndatabase = "dev.db"',
    ).start()
    report = fleet.wait_running()
    assert report.cluster.reachable
    (server,) = [p for p in fleet.remember_all() if "start-dev" in command_line(p)]
    log = tmp_path / "logs" / "dev-server.log"
    with Path(f"/proc/{server.pid}/fd/2").open("ab") as stream:
        stream.write(b"it says a lot\n" * 5000)
    wait_until(lambda: log.stat().st_size < 64 << 10, what="its log is rotated")
    assert "it says a lot\n" in log.with_name("dev-server.log.1").read_text()
    server.kill()
    wait_until(lambda: "dev server: died" in fleet.log_text(), what="its death is noticed")
    back = fleet.wait(
        lambda s: accepts(s.cluster.address) and s.cluster.reachable and s.fleet.state == "running",
        within=60,
        what="the server is back",
    )
    assert back.cluster.address == report.cluster.address
    assert [e.pid for e in back.entities] == [e.pid for e in report.entities]
    database = tmp_path / "state" / "dev.db"
    assert database.stat().st_size > 0
    assert settle(0, None, database, "default", tmp_path).one_partition, "as it was begun"
    wait_until(lambda: log.stat().st_size > 0, what="the next life logs there")
    assert fleet.stop() == 0


def test_a_taken_port_is_a_clear_error(make_fleet: MakeFleet, dev_server: DevServer) -> None:
    port = dev_server.address.rpartition(":")[2]
    fleet: FleetUnderTest = make_fleet(cluster=f"[cluster.embedded]\nport = {port}\nui_port = 0")
    refused = command("up", "-c", str(fleet.config))
    assert refused.returncode == 1
    assert f"port = {port}" in refused.stderr
    assert "taken" in refused.stderr
