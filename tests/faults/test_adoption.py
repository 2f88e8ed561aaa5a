"""The supervisor dies and another one goes on with its entities, as if nothing had been."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from temporalio.client import Client

from temporal_fleet.protocol.blackbox import VERSION
from temporal_fleet.protocol.report import EntityReport, StatusReport
from tests.conftest import DevServer
from tests.faults.conftest import Gates
from tests.faults.observing import assert_no_stray, fork_server, never_two_lives, pid, pids, renewed
from tests.fleet import COMMAND, PROGRAMS, FleetUnderTest, command_line, is_alive
from tests.protocol.boxes import set_layout
from tests.system.conftest import MakeFleet
from tests.waiting import eventually, wait_until

ASIDE = f'[pools.aside]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "aside"\n'
ORDERS = 6
LONG_AFTER = 45.0
"""Seconds. Without a recovery it would take five minutes."""


def _as_it_was(entity: EntityReport) -> tuple[object, ...]:
    last = entity.last_exit
    return (
        entity.id,
        entity.pid,
        entity.state,
        entity.incarnation,
        entity.restarts,
        last and (last.signal, last.cause),
    )


def _places(report: StatusReport) -> list[tuple[object, ...]]:
    return [_as_it_was(entity) for entity in report.entities]


def _json(fleet: FleetUnderTest, *words: str) -> Any:
    done = fleet.command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _do(fleet: FleetUnderTest, *words: str) -> str:
    done = fleet.command(*words)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


async def _in_hand(fleet: FleetUnderTest, name: str | None = None) -> EntityReport:
    def found() -> EntityReport | None:
        holders = [e for e in fleet.status().entities if e.inflight_activities and name in {None, e.id}]
        return holders[0] if holders else None

    return await eventually(found, what="an activity is in hand")


async def test_the_next_supervisor_goes_on_with_what_the_dead_one_left(
    make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=3, program="gates", more=ASIDE, fleet='orphan = "60s"').start()
    fleet.wait_running()
    os.kill(pid(fleet, "orders-3"), signal.SIGKILL)
    fleet.wait(renewed(2, "orders-3"), what="one was restarted")
    _do(fleet, "quiet", "orders-2")
    # As long as the Cluster does not know it, it polls on, and what it cached then would go with its polls.
    fleet.wait(lambda _: fleet.entity("orders-2").pollers == 0, what="the quiet one polls no more")
    _do(fleet, "drain", "aside")
    client = await Client.connect(dev_server.address)
    orders = [
        await client.start_workflow("Order", 0.0, id=f"{task_queue}-{n}", task_queue=task_queue)
        for n in range(ORDERS)
    ]
    gates.close("activity")
    errand = await client.start_workflow(
        "Errand", args=["hold", 0.0], id=f"{task_queue}-errand", task_queue=task_queue
    )
    await _in_hand(fleet)
    before = fleet.wait(lambda s: sum(e.cached_executions for e in s.entities) > ORDERS)
    changes = _json(fleet, "changes")["changes"]

    with never_two_lives(fleet):
        fleet.kill_supervisor()
        fleet.start()
        after = fleet.wait(
            lambda s: s.fleet.state == "running" and sum(e.cached_executions for e in s.entities) > ORDERS,
            what="the next one heard of all",
        )
    assert _places(after) == _places(before)
    assert all(entity.adopted for entity in after.entities)
    assert all(a.uptime_s > b.uptime_s for a, b in zip(after.entities, before.entities, strict=True))
    assert [pool.drained for pool in after.pools] == [False, True]
    assert after.fleet.generation == before.fleet.generation
    again = _json(fleet, "changes")["changes"]
    assert [(c["id"], c["state"]) for c in again] == [(c["id"], c["state"]) for c in changes]

    # It knows them as well as its children.
    assert sum(one["evicted"] for one in _json(fleet, "evict", "orders", "--all")["entities"]) == ORDERS + 1
    assert "gates.py" in _do(fleet, "dump", (await _in_hand(fleet)).id)
    gates.open("activity")
    assert await errand.result() == "let go"

    # One of them dies with an activity in hand.
    gates.close("activity")
    errand = await client.start_workflow(
        "Errand", args=["hold", 0.0], id=f"{task_queue}-errand-2", task_queue=task_queue
    )
    victim = await _in_hand(fleet)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    gates.open("activity")
    assert await asyncio.wait_for(errand.result(), LONG_AFTER) == "let go"
    died = fleet.wait(renewed(victim.incarnation + 1, victim.id), what="another took its place")
    now = next(entity for entity in died.entities if entity.id == victim.id)
    assert (now.restarts, now.adopted) == (victim.restarts + 1, False)
    assert now.last_exit is not None
    assert (now.last_exit.code, now.last_exit.signal) == (None, None)
    assert "exit status not known: not our child" in now.last_exit.cause

    # And what is replaced, and told to go, goes.
    _do(fleet, "reload", "--force", "orders")
    _do(fleet, "restart", "orders-2")
    _do(fleet, "resume", "aside")
    replaced = fleet.wait(lambda s: not any(e.adopted for e in s.entities), what="nobody is left")
    assert not set(pids(replaced)) & {entity.pid for entity in before.entities}
    assert [change["id"] for change in _json(fleet, "changes")["changes"]][:3] == [5, 4, 3]
    for order in orders:
        await order.signal("pay")
    assert [await order.result() for order in orders] == ["done"] * ORDERS

    # Books that are torn cost a roll, and no entity before it.
    with never_two_lives(fleet):
        fleet.kill_supervisor()
        fleet.run_dir.books.write_bytes(fleet.run_dir.books.read_bytes()[:-40])
        fleet.start()
        fleet.wait(lambda s: set(pids(replaced)) <= {e.pid for e in s.entities}, what="all are adopted")
        rolled = fleet.wait(
            lambda s: s.fleet.state == "running" and not any(e.adopted for e in s.entities),
            what="those of which nothing was known are replaced",
        )
    assert not set(pids(rolled)) & set(pids(replaced))
    assert fleet.stop() == 0


BREAKS = """
import sys
from pathlib import Path


class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "temporal_fleet.supervisor.shell.supervise" and Path({gate!r}).exists():
            raise ImportError("half installed")


sys.meta_path.insert(0, Broken())
"""


async def test_the_supervisor_goes_on_as_the_code_that_is_installed_now(
    make: MakeFleet, gates: Gates, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BREAKS.format(gate=str(gates.folder / "code")))
    fleet = make(entities=2, program="gates", environment={"PYTHONPATH": str(site)}).start()
    fleet.wait_running()
    os.kill(pid(fleet, "orders-2"), signal.SIGKILL)
    fleet.wait(renewed(2, "orders-2"), what="one was restarted")
    client = await Client.connect(dev_server.address)
    gates.close("activity")
    errand = await client.start_workflow(
        "Errand", args=["hold", 0.0], id=f"{task_queue}-errand", task_queue=task_queue
    )
    await _in_hand(fleet)
    before = fleet.status()

    # Code that does not start, and a file that does not hold, change nothing.
    gates.close("code")
    refused = fleet.command("upgrade")
    assert refused.returncode == 1
    assert "cannot run this fleet: ImportError: half installed" in refused.stderr
    gates.open("code")
    fleet.edit("entities = 2", "entitles = 2")
    refused = fleet.command("upgrade")
    assert refused.returncode == 1
    assert "entitles" in refused.stderr
    fleet.edit("entitles = 2", "entities = 2")
    box = fleet.run_dir.blackbox("orders-1", 1)
    set_layout(box, VERSION - 1)
    refused = fleet.command("upgrade")
    assert refused.returncode == 1
    assert f"in layout {VERSION - 1}, and this code reads layout {VERSION}: stop the fleet" in refused.stderr
    set_layout(box, VERSION)
    assert _places(fleet.status()) == _places(before)

    with never_two_lives(fleet):
        for _ in range(2):
            told = _json(fleet, "upgrade")
            version = before.fleet.version
            assert told == {"pid": fleet.pid, "before": version, "after": version, "adopted": 2}
        after = fleet.wait_running()
    assert after.fleet.pid == before.fleet.pid
    assert _places(after) == _places(before)
    gates.open("activity")
    assert await errand.result() == "let go"
    # They are its children as ever.
    os.kill(pid(fleet, "orders-1"), signal.SIGKILL)
    died = fleet.wait(renewed(2, "orders-1"), what="another took its place")
    assert died.entities[0].last_exit is not None
    assert died.entities[0].last_exit.signal == "SIGKILL"
    assert _do(fleet, "upgrade").startswith(f"upgraded: {version} -> {version}, PID {fleet.pid}, 2 entities")
    _do(fleet, "reload", "--force", "orders")
    fleet.signal(signal.SIGHUP)
    assert not any(entity.adopted for entity in fleet.wait_running().entities)
    # That of the former code takes its time to go.
    fork_server(fleet)
    assert_no_stray(fleet, fleet.status())
    assert fleet.stop() == 0


TAKES_ITS_TIME = """
import os, sys, time
if "temporal_fleet.supervisor.shell.trial" in sys.orig_argv:
    open({trying!r}, "w").close()
    while os.path.exists({gate!r}):
        time.sleep(0.01)
"""


def test_a_stop_in_the_last_moment_of_an_upgrade_is_a_stop(
    make: MakeFleet, gates: Gates, tmp_path: Path
) -> None:
    site, trying = tmp_path / "site", tmp_path / "trying"
    site.mkdir()
    text = TAKES_ITS_TIME.format(trying=str(trying), gate=str(gates.folder / "trial"))
    (site / "sitecustomize.py").write_text(text)
    fleet = make(environment={"PYTHONPATH": str(site)}).start()
    fleet.wait_running()
    gates.close("trial")
    words = [str(COMMAND), "upgrade", "-c", str(fleet.config)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as upgrading:
        wait_until(trying.exists, what="the new code is tried")
        (trial,) = (each for each in fleet.remember_all() if "trial" in command_line(each))
        # It hears of both at once: of the end of the trial, and that it is to stop.
        fleet.signal(signal.SIGSTOP)
        gates.open("trial")
        wait_until(lambda: not is_alive(trial), what="the end of the trial")
        fleet.signal(signal.SIGTERM)
        fleet.signal(signal.SIGCONT)
        assert fleet.wait_stopped() == 0
        _, told = upgrading.communicate(timeout=20)
    assert upgrading.returncode == 1
    assert "the fleet is stopping" in told
