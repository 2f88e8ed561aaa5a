"""A fleet stops, whatever its entities do, and whatever they started; its streams may be gone by then."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import DevServer
from tests.faults.conftest import Gates
from tests.faults.observing import kill, pid, pids, renewed, run_errand, start_errand
from tests.fleet import COMMAND, PROGRAMS, FleetUnderTest, command_line, is_alive
from tests.marks import marked
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until


@pytest.fixture
def busy(make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str) -> FleetUnderTest:
    """It has ten minutes to drain, and an activity in hand that ends when its gate is opened."""
    gates.close("activity")
    fleet = make(program="gates", pool='drain = "10m"').start()
    fleet.wait_running()
    start_errand(dev_server, task_queue, "hold")
    fleet.wait(lambda s: s.entities[0].inflight_activities == 1, what="the activity runs")
    return fleet


def test_a_second_term_does_not_wait_for_activities(busy: FleetUnderTest, tmp_path: Path) -> None:
    busy.signal(signal.SIGTERM)
    draining = busy.wait(lambda s: s.fleet.state == "draining", what="it drains")
    assert draining.entities[0].state == "draining"
    assert is_alive(psutil.Process(pids(draining)[0]))

    def ended() -> bool:
        # Again and again: one that comes at once is the same order.
        busy.signal(signal.SIGTERM)
        return not is_alive(supervisor)

    supervisor = psutil.Process(busy.pid)
    wait_until(ended, what="it does not wait for the activity")
    # One more may come when it has nothing left to do but to exit.
    assert busy.wait_stopped() in (0, -signal.SIGTERM)
    assert not marked(tmp_path)


def test_a_first_term_after_a_stop_that_was_asked_for_otherwise_does_wait(
    busy: FleetUnderTest, gates: Gates
) -> None:
    """As a host gives it that shuts down meanwhile."""
    with subprocess.Popen([COMMAND, "stop", "-c", busy.config], stderr=subprocess.DEVNULL) as stop:
        busy.wait(lambda s: s.fleet.state == "draining", what="it drains")
        busy.signal(signal.SIGTERM)
        busy.signal(signal.SIGUSR1)
        wait_until(lambda: '"event": "state"' in busy.log_text(), what="it has taken the signals")
        gates.open("activity")
        assert busy.wait_stopped() == 0
        assert stop.wait(20) == 0
    assert "SIGKILL" not in busy.log_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may begin to count PIDs anew")
def test_the_first_process_of_a_container_hears_a_term_before_it_can_handle_it(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    file, log = tmp_path / "fleet.toml", tmp_path / "log"
    os.mkfifo(file)
    with log.open("wb") as output:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", COMMAND, "up", "-c", file],
            stdout=output,
            stderr=output,
        )
    try:
        # Opened as soon as it reads there.
        with file.open("w") as config:
            (first,) = psutil.Process(outer.pid).children()
            first.terminate()
            config.write(
                f'[fleet]\nname = "t"\nrun_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n'
                f'[cluster]\naddress = "{dev_server.address}"\n'
                f'[pools.orders]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "{task_queue}"\n'
            )
        assert outer.wait(60) == 0, log.read_text()
    finally:
        outer.kill()
        outer.wait()
    assert "fleet.stopped" in log.read_text()


def test_an_activity_that_ignores_its_cancellation_is_killed(
    make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    gates.close("activity")
    fleet = make(program="gates", pool='drain = "200ms"').start()
    fleet.wait_running()
    start_errand(dev_server, task_queue, "stubborn")
    fleet.wait(lambda s: s.entities[0].inflight_activities == 1, what="the activity runs")
    assert fleet.stop() == 0
    assert "entity.killed" in fleet.log_text()
    assert not marked(tmp_path)


def test_what_a_killed_entity_started_does_not_outlive_the_fleet(make: MakeFleet, tmp_path: Path) -> None:
    fleet = make(program="starts_processes", pool='after_fork = "starts_processes:after_fork"').start()
    fleet.wait_running()

    def started(word: str) -> list[psutil.Process]:
        return [process for process in marked(tmp_path) if word in command_line(process)]

    (sleeper,), (apart,), (daemon,), spawned = map(
        started, ("sleep 600", "sleep 601", "sleep 602", "spawn_main")
    )
    assert spawned
    kill([pid(fleet, "orders-1")])
    fleet.wait(renewed(2), what="the next life")
    wait_until(lambda: not any(map(is_alive, (sleeper, *spawned))), what="its session is gone with it")
    assert fleet.stop() == 0
    assert not marked(tmp_path)
    assert not is_alive(apart)
    assert not is_alive(daemon)


def test_streams_whose_reader_is_gone_cost_nobody_anything(
    make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str
) -> None:
    reader, writer = os.pipe()
    fleet = make(entities=2, program="gates").start(output=writer)
    os.close(writer)
    before = fleet.wait_running()
    os.close(reader)
    kill([pid(fleet, "orders-1")])
    after = fleet.wait(renewed(2, "orders-1"), what="orders-1 is back")
    assert pids(after)[1] == pids(before)[1]
    # Each of the ways in which a program may write; a failure would fail the activity, and it be tried again.
    assert run_errand(dev_server, task_queue, "talk") == "attempt 1"
    fleet.signal(signal.SIGUSR1)
    assert fleet.command("reload").returncode == 0
    assert pids(fleet.status()) == pids(after)
    assert fleet.stop() == 0


def test_a_reader_that_stands_still_does_not_hold_up_the_supervisor(make: MakeFleet) -> None:
    """Ctrl-S in a terminal, a pager."""
    reader, writer = os.pipe()
    fleet = make(entities=2).start(output=writer)
    try:
        before = fleet.wait_running()
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        kill([pid(fleet, "orders-1")])
        after = fleet.wait(renewed(2, "orders-1"), what="orders-1 is back")
        assert pids(after)[1] == pids(before)[1]
    finally:
        os.close(reader)
        os.close(writer)
    assert fleet.stop() == 0
