"""Deaths of entities and of helpers, and what the restart policy makes of them."""

import os
import signal
from pathlib import Path

from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.fleet import PROGRAMS, FleetUnderTest, is_fork
from tests.system.conftest import MakeFleet


def kill(fleet: FleetUnderTest, name: str) -> int:
    pid = fleet.entity(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_entity_is_replaced_in_its_place(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    before = fleet.wait_running()
    kill(fleet, "orders-1")
    report = fleet.wait(
        lambda s: s.fleet.state == "running" and s.entities[0].incarnation == 2, what="orders-1 is back"
    )
    assert report.entities[0].restarts == 1
    last = report.entities[0].last_exit
    assert last is not None
    assert last.signal == "SIGKILL"
    assert report.entities[1].pid == before.entities[1].pid


def test_a_crash_loop_fails_with_its_reason_and_restart_clears_it(make_fleet: MakeFleet) -> None:
    pool = 'restart = { max_restarts = 2, within = "60s", backoff = "10ms", backoff_max = "20ms" }'
    fleet = make_fleet(
        program="crash_on_boot",
        pool=f'{pool}\nafter_fork = "crash_on_boot:after_fork"',
        more=f'[pools.good]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "good"',
    ).start()
    report = fleet.wait(
        lambda s: s.entities[1].state == "failed" and s.entities[0].state == "ready", what="orders-1 failed"
    )
    good, failed = report.entities
    assert (good.id, failed.id) == ("good-1", "orders-1")
    assert "crash loop: 3 deaths" in failed.reason
    assert "boom" in failed.reason
    assert failed.incarnation == 3
    assert report.fleet.state == "degraded"
    done = fleet.command("restart", "orders")
    assert done.returncode == 1
    assert "crash loop" in done.stderr
    # The restart is taken back, and what was there before it has its tries too.
    fleet.wait(
        lambda s: s.entities[1].state == "failed" and s.entities[1].incarnation == 9,
        what="it was tried three times more, and three times as it was before",
    )


def test_a_program_that_does_not_import_is_told_apart_from_a_crash(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(program="does_not_import").start()
    report = fleet.wait(lambda s: s.entities and s.entities[0].state == "failed", what="failed")
    entity = report.entities[0]
    assert entity.incarnation == 0
    assert "does_not_import" in entity.reason
    assert report.pools[0].reason == entity.reason
    assert fleet.log_text().count('"level": "error"') <= 2


def test_an_unreachable_cluster_is_no_crash_and_the_fleet_recovers(
    make_fleet: MakeFleet, tmp_path: Path
) -> None:
    port = free_port()
    fleet = make_fleet(
        entities=2,
        cluster=f'[cluster]\naddress = "127.0.0.1:{port}"',
        pool='restart = { max_restarts = 0, within = "60s" }',
    ).start()
    report = fleet.wait(lambda s: f"127.0.0.1:{port}" in s.cluster.reason, what="the reason is shown")
    assert not report.cluster.reachable
    assert report.fleet.state == "degraded"
    server = start_dev_server(port, tmp_path / "server.log")
    try:
        report = fleet.wait_running()
        assert all(entity.state == "ready" for entity in report.entities)
        assert fleet.stop() == 0
    finally:
        end_process(server)


def test_a_missing_namespace_is_a_refusal_not_a_crash(make_fleet: MakeFleet, dev_server: DevServer) -> None:
    fleet = make_fleet(
        cluster=f'[cluster]\naddress = "{dev_server.address}"\nnamespace = "no-such-namespace"'
    ).start()
    report = fleet.wait(
        lambda s: "no-such-namespace" in s.cluster.reason and "no-such-namespace" in s.pools[0].reason,
        what="the refusal is shown",
    )
    assert report.entities[0].state != "failed"


def test_a_dead_fork_server_is_replaced_and_costs_no_entity(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    before = fleet.wait_running()
    (server,) = [
        p for p in fleet.remember_all() if is_fork(p) and p.pid not in {e.pid for e in before.entities}
    ]
    server.kill()
    kill(fleet, "orders-2")
    # More than one where the dying fork server was still sent the order to fork it.
    after = fleet.wait(
        lambda s: s.fleet.state == "running" and s.entities[1].incarnation > 1, what="orders-2 is back"
    )
    assert after.entities[0].pid == before.entities[0].pid


def test_a_hung_entity_shows_its_stacks_and_is_replaced(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(program="hangs", pool='hang = "4s"\nafter_fork = "hangs:after_fork"').start()
    pid = fleet.wait_running().entities[0].pid
    assert pid
    os.kill(pid, signal.SIGUSR1)
    report = fleet.wait(
        lambda s: s.entities[0].state == "ready" and s.entities[0].pid != pid, what="another life"
    )
    last = report.entities[0].last_exit
    assert last is not None
    assert last.cause.startswith("hung")
    assert "stuck_in_here" in fleet.log_text()
