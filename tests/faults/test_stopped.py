"""SIGSTOP: a process that lives and does nothing, which no death tells of."""

import os
import signal
import time

import psutil

from tests.conftest import DevServer
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
)
from tests.fleet import is_alive
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until

HANG = 4.0
"""Some heartbeats of one that waits for a processor for longer than a second."""


def test_an_entity_is_killed_and_replaced(make: MakeFleet) -> None:
    fleet = make(entities=2, pool=f'hang = "{HANG:g}s"').start()
    before = fleet.wait_running()
    with never_two_lives(fleet):
        stopped = psutil.Process(pid(fleet, "orders-1"))
        stopped.suspend()
        after = fleet.wait(renewed(2, "orders-1"), what="orders-1 is replaced")
    assert not is_alive(stopped)
    last = after.entities[0].last_exit
    assert last is not None
    assert (last.signal, last.cause) == ("SIGKILL", "hung: killed by SIGKILL")
    assert after.entities[1].pid == before.entities[1].pid


def test_the_fork_server_is_killed_with_what_it_would_have_forked(make: MakeFleet) -> None:
    fleet = make(entities=3, pool='boot = "6s"').start()
    fleet.wait_running()
    server = fork_server(fleet)
    with never_two_lives(fleet):
        server.suspend()
        kill([pid(fleet, "orders-1"), pid(fleet, "orders-2")])
        after = fleet.wait(
            lambda s: renewed(2, "orders-1")(s) and renewed(2, "orders-2")(s), what="both are replaced"
        )
    assert not is_alive(server)
    assert_no_stray(fleet, after)
    assert {name: len(found) for name, found in lives(fleet).items()} == {f"orders-{n}": 1 for n in (1, 2, 3)}


def test_the_supervisor_for_longer_than_hang_costs_no_entity(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=3, pool=f'hang = "{HANG:g}s"').start()
    before = fleet.wait_running()
    order = Order(dev_server.address, task_queue)
    fleet.signal(signal.SIGSTOP)
    began = time.monotonic()
    # Nothing that an entity needs runs through the supervisor.
    order.pay()
    kill([pids(before)[2]])
    wait_until(lambda: time.monotonic() - began > HANG + 1, what="a silence longer than `hang`")
    fleet.signal(signal.SIGCONT)
    after = fleet.wait(renewed(2, "orders-3"), what="the one that died meanwhile is replaced")
    assert pids(after)[:2] == pids(before)[:2]
    assert "the supervisor itself stood still" in fleet.log_text()
    assert "entity.hung" not in fleet.log_text()


def test_the_agent_costs_no_entity_and_holds_up_no_stop(make: MakeFleet) -> None:
    fleet = make(entities=2).start()
    before = fleet.wait_running()
    stopped = agent(fleet)
    stopped.suspend()
    kill([pid(fleet, "orders-1")])
    after = fleet.wait(renewed(2, "orders-1"), what="orders-1 is replaced")
    assert pids(after)[1] == pids(before)[1]
    assert fleet.stop() == 0
    assert not is_alive(stopped)


def test_an_entity_in_its_boot_is_killed_when_that_is_too_long(make: MakeFleet, gates: Gates) -> None:
    gates.close("boot")
    fleet = make(program="gates", pool='boot = "6s"\nafter_fork = "gates:after_fork"').start()
    (first,) = wait_until(lambda: lives(fleet).get("orders-1"), what="it boots")
    os.kill(first, signal.SIGSTOP)
    with never_two_lives(fleet):
        gates.open("boot")
        after = fleet.wait(renewed(2), what="the next life")
    last = after.entities[0].last_exit
    assert last is not None
    assert last.cause == "not ready in time: killed by SIGKILL"
    assert_no_stray(fleet, after)
