"""kill -9 of every process in turn, at the worst moment."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import DevServer, accepts
from tests.faults.conftest import Gates
from tests.faults.observing import (
    Order,
    agent,
    assert_no_stray,
    fork_server,
    kill,
    lives,
    never_two_lives,
    pid,
    pids,
    renewed,
    start_errand,
)
from tests.fleet import FleetUnderTest, command_line, is_alive, is_fork
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until


def test_an_entity_in_its_boot(make: MakeFleet, gates: Gates) -> None:
    gates.close("boot")
    fleet = make(entities=2, program="gates", pool='after_fork = "gates:after_fork"').start()
    fleet.wait(lambda s: set(lives(fleet)) == {"orders-1", "orders-2"}, what="both are in their boot")
    with never_two_lives(fleet):
        kill([pid(fleet, "orders-1")])
        fleet.wait(lambda s: s.entities[0].incarnation == 2, what="orders-1 boots again")
        gates.open("boot")
        report = fleet.wait_running()
    assert [entity.restarts for entity in report.entities] == [1, 0]
    last = report.entities[0].last_exit
    assert last is not None
    assert last.signal == "SIGKILL"


def test_an_entity_that_drains_with_an_activity_running(
    make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str
) -> None:
    gates.close("activity")
    fleet = make(program="gates").start()
    fleet.wait_running()
    start_errand(dev_server, task_queue, "hold")
    fleet.wait(lambda s: s.entities[0].inflight_activities == 1, what="the activity runs")
    with never_two_lives(fleet):
        assert fleet.command("scale", "orders=2").returncode == 0
        fleet.wait_running()
        fleet.edit("entities = 2", "entities = 0")
        fleet.signal(signal.SIGHUP)
        fleet.wait(lambda s: [e.state for e in s.entities] == ["draining"], what="orders-1 alone drains")
        kill([pid(fleet, "orders-1")])
        fleet.wait(lambda s: not s.entities, what="its place is gone with it")
    assert fleet.stop() == 0


@pytest.mark.parametrize("moment", ["at once", "first birth"])
def test_the_fork_server_while_forks_are_in_flight(make: MakeFleet, moment: str) -> None:
    fleet = make(entities=12).start()
    before = fleet.wait_running()
    with never_two_lives(fleet):
        server = fork_server(fleet)
        kill(pids(before))
        if moment == "first birth":
            dead = set(pids(before))
            wait_until(lambda: {p for found in lives(fleet).values() for p in found} - dead, what="a birth")
        server.kill()
        after = fleet.wait(renewed(2), what="all are back")
    assert len(lives(fleet)) == 12
    assert_no_stray(fleet, after)


def test_the_fork_server_while_one_is_born_and_not_announced(make: MakeFleet, gates: Gates) -> None:
    """Neither the one that is to announce it nor the entity, which belongs to that one, is our child yet."""
    gates.close("birth", "announcement")
    fleet = make(program="gates").start()
    unborn = _unborn(fleet)
    with never_two_lives(fleet):
        server = unborn[0].parent()
        assert server is not None
        server.kill()
        wait_until(lambda: not any(is_alive(p) for p in unborn), what="nobody of it lives on")
        gates.open("birth", "announcement")
        report = fleet.wait_running()
    assert_no_stray(fleet, report)
    assert report.entities[0].last_exit is None


def test_the_announcer_of_an_entity_that_is_not_born_yet(make: MakeFleet, gates: Gates) -> None:
    gates.close("birth", "announcement")
    fleet = make(program="gates").start()
    announcer, unborn = _unborn(fleet)
    with never_two_lives(fleet):
        announcer.kill()
        wait_until(lambda: not is_alive(unborn), what="the unborn one does not live on")
        gates.open("birth", "announcement")
        report = fleet.wait_running()
    assert_no_stray(fleet, report)


def test_the_announcer_of_an_entity_that_works_already(make: MakeFleet, gates: Gates) -> None:
    gates.close("announcement")
    fleet = make(program="gates").start()
    announcer, unannounced = _unborn(fleet)
    fleet.wait(lambda s: s.entities[0].state == "ready", what="it is ready, and nobody announced it")
    announcer.kill()
    gates.open("announcement")
    wait_until(lambda: "fork server" in fleet.log_text() and "died" in fleet.log_text(), what="it ended")
    assert fleet.wait_running().entities[0].pid == unannounced.pid
    with never_two_lives(fleet):
        unannounced.kill()
        report = fleet.wait(renewed(2), what="its death is noticed")
    last = report.entities[0].last_exit
    assert last is not None
    assert last.cause == "killed by SIGKILL"
    assert_no_stray(fleet, report)


def _unborn(fleet: FleetUnderTest) -> tuple[psutil.Process, psutil.Process]:
    """The announcer of an entity and the entity, which is still its child."""

    def found() -> tuple[psutil.Process, psutil.Process] | None:
        forks = [p for p in fleet.remember_all() if is_fork(p)]
        # By age: the fork server, the one that announces, the entity.
        forks.sort(key=lambda process: (process.create_time(), process.pid))
        return (forks[1], forks[2]) if len(forks) == 3 else None

    return wait_until(found, what="one is born")


def test_the_agent(make: MakeFleet) -> None:
    fleet = make(entities=2).start()
    before = fleet.wait_running()
    former = agent(fleet)
    former.kill()
    wait_until(lambda: "cluster agent: ready" in fleet.log_text(), what="another agent has looked")
    after = fleet.status()
    assert agent(fleet).pid != former.pid
    assert after.cluster.reachable
    assert after.fleet.state == "running"
    assert pids(after) == pids(before)
    # The Cluster was never away: its watcher was.
    assert fleet.log_text().count("the Cluster answers") == 1


def test_the_dev_server_with_an_order_under_way(make: MakeFleet, task_queue: str, tmp_path: Path) -> None:
    fleet = make(cluster='[cluster.embedded]\nport = 0\ndatabase = "dev.db"').start()
    report = fleet.wait_running()
    order = Order(report.cluster.address, task_queue)
    (server,) = [p for p in fleet.remember_all() if "start-dev" in command_line(p)]
    server.kill()
    wait_until(lambda: "dev server: died" in fleet.log_text(), what="its death is noticed")
    fleet.wait(
        lambda s: accepts(s.cluster.address) and s.cluster.reachable and s.fleet.state == "running",
        within=60,
        what="the server is back",
    )
    order.pay()
    assert pids(fleet.status()) == pids(report)


def test_the_supervisor_with_a_reload_pending(make: MakeFleet, gates: Gates) -> None:
    fleet = make(entities=2).start()
    before = fleet.wait_running()
    gates.close("import")
    fleet.edit('program = "shop"', 'program = "gates"')
    fleet.signal(signal.SIGHUP)
    fleet.wait(lambda s: s.fleet.state == "reloading", what="the reload waits for its program")
    importing = [p for p in fleet.remember_all() if is_fork(p)]
    with never_two_lives(fleet):
        fleet.kill_supervisor()
        servers = [p for p in importing if p.pid not in pids(before)]
        wait_until(lambda: not any(is_alive(p) for p in servers), what="the fork servers go")
        fleet.start()
        gates.open("import")
        after = fleet.wait(renewed(2), what="the file is in force")
    assert after.pools[0].program == "gates"
    assert_no_stray(fleet, after)


def test_the_supervisor_while_entities_boot(make: MakeFleet, gates: Gates) -> None:
    gates.close("boot")
    fleet = make(entities=4, program="gates", pool='after_fork = "gates:after_fork"').start()
    fleet.wait(lambda s: len(lives(fleet)) == 4, what="all are in their boot")
    first = {p for found in lives(fleet).values() for p in found}
    with never_two_lives(fleet):
        fleet.kill_supervisor()
        fleet.start()
        found = fleet.wait(lambda s: {e.pid for e in s.entities} == first, what="all are found")
        assert {e.state for e in found.entities} == {"starting"}
        gates.open("boot")
        after = fleet.wait_running()
    assert set(pids(after)) == first
    assert {(e.incarnation, e.adopted) for e in after.entities} == {(1, True)}


def test_the_supervisor_before_a_newborn_could_leave_a_trace(make: MakeFleet, gates: Gates) -> None:
    """It has no black box when the next supervisor looks for them, so it has to leave by itself."""
    gates.close("birth")
    fleet = make(program="gates").start()
    first = psutil.Process(
        fleet.wait(lambda s: s.entities and s.entities[0].pid, what="it is forked").entities[0].pid
    )
    assert not lives(fleet)
    fleet.kill_supervisor()
    fleet.start()
    fleet.wait(lambda s: s.entities[0].incarnation == 2 and s.entities[0].pid, what="the next life is forked")
    gates.open("birth")
    wait_until(lambda: not is_alive(first), what="the late one is gone")
    assert "another supervisor has its place by now" in fleet.log_text()
    report = fleet.wait_running()
    assert report.entities[0].incarnation == 2
    assert set(lives(fleet)) == {"orders-1"}
    assert [p.stem for p in fleet.run_dir.entities.glob("*.blackbox")] == ["orders-1.2"]


def test_the_supervisor_and_then_every_process_of_the_fleet(make: MakeFleet) -> None:
    """What power cuts and `docker kill` do; the next supervisor starts from the files alone."""
    fleet = make(entities=3).start()
    fleet.wait_running()
    everybody = fleet.remember_all()
    os.kill(fleet.pid, signal.SIGSTOP)
    kill(process.pid for process in everybody if is_alive(process))
    fleet.kill_supervisor()
    fleet.start()
    report = fleet.wait(renewed(2), what="all are back")
    assert [entity.incarnation for entity in report.entities] == [2, 2, 2]
