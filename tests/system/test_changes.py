"""Changes of a running fleet to their ends: carried through, taken back, overtaken; each with an id and an
outcome that can be asked for."""

import asyncio
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from temporalio.client import Client

from temporal_fleet.protocol.report import StatusReport
from tests.conftest import DevServer
from tests.fleet import PROGRAMS, FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import eventually

GOOD = 'program = "shop"'
BROKEN = 'program = "crash_on_boot"\nafter_fork = "crash_on_boot:after_fork"'
BILLING = f'[pools.billing]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "billing"\nentities = 1\n'


def pids(status: StatusReport) -> dict[str, int | None]:
    return {entity.id: entity.pid for entity in status.entities}


def changes(fleet: FleetUnderTest, *words: str) -> list[dict[str, Any]]:
    shown = fleet.command("changes", "--json", *words)
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)["changes"]
    return found


def test_a_reload_streams_its_steps_until_the_fleet_has_converged(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=1).start()
    fleet.wait_running()
    fleet.edit("entities = 1", "entities = 2")
    done = fleet.command("reload")
    assert done.returncode == 0, done.stderr
    assert re.search(r"orders-2: ready \d+ ms after its fork", done.stderr), done.stderr
    assert done.stderr.splitlines()[-1] == "test: generation 2, 1 pool, 2 entities ready"
    (change,) = changes(fleet)
    assert (change["id"], change["command"], change["state"]) == (1, "reload", "done")
    assert "orders-2" in change["message"]


def test_a_revision_that_does_not_become_ready_is_taken_back(make_fleet: MakeFleet) -> None:
    """The old ones never left, and the old config is in force: also for who dies afterwards."""
    fleet = make_fleet(entities=2, pool='restart = { backoff = "10ms" }').start()
    before = fleet.wait_running()
    fleet.edit(GOOD, BROKEN)
    failed = fleet.command("reload")
    assert failed.returncode == 1, failed.stderr
    assert re.search(r"^Error: reload failed: orders-\d .*", failed.stderr, re.MULTILINE), failed.stderr
    after = fleet.wait_running()
    assert pids(after) == pids(before)
    assert after.fleet.generation == before.fleet.generation
    assert after.pools[0].program == "shop"
    (change,) = changes(fleet)
    assert change["state"] == "failed"
    assert "reload failed: orders-" in change["message"]
    assert "change 1, reload, failed: reload failed: orders-" in fleet.command("status").stdout
    assert "~ orders replace" in fleet.command("plan").stdout, "the file still says otherwise"
    killed = before.entities[0]
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    fleet.wait(
        lambda s: s.pools[0].ready == 2 and s.entities[0].incarnation > killed.incarnation,
        what="it is back, with the old program",
    )
    fleet.edit(BROKEN, GOOD)
    mended = fleet.command("reload")
    assert mended.returncode == 0, mended.stderr


async def test_who_has_least_to_lose_leaves_when_a_pool_is_to_be_smaller(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(
        entities=2, program="perils", pool="worker = { max_concurrent_activities = 1 }"
    ).start()
    before = fleet.wait_running()
    client = await Client.connect(dev_server.address)

    def in_hand() -> list[int]:
        return [entity.inflight_activities for entity in fleet.status().entities]

    for number in range(2):
        await client.start_workflow(
            "Peril", args=["hold", "it"], id=f"{task_queue}-{number}", task_queue=task_queue
        )
    await eventually(lambda: in_hand() == [1, 1], what="each has one in hand")
    first = before.entities[0].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    fleet.wait(
        lambda s: s.pools[0].ready == 2 and s.entities[0].incarnation == 2, what="the first is there again"
    )
    # What it held is done elsewhere, or by itself: if both had as much, the second would go.
    await eventually(lambda: in_hand() == [0, 1], what="the second alone has one in hand")
    smaller = await asyncio.to_thread(fleet.command, "scale", "orders=1")
    assert smaller.returncode == 0, smaller.stderr
    assert [entity.id for entity in fleet.status().entities] == ["orders-2"]
    assert fleet.command("stop", "--now").returncode == 0
    assert fleet.wait_stopped() == 0


def test_a_version_that_hangs_at_boot_is_taken_back(make_fleet: MakeFleet, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text((PROGRAMS / "shop.py").read_text())
    (tmp_path / "sleeps.py").write_text("import time\n\ndef after_fork():\n    time.sleep(600)\n")
    fleet = make_fleet(entities=2)
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{tmp_path}"')
    fleet.start()
    before = fleet.wait_running()
    fleet.edit(GOOD, GOOD + '\nafter_fork = "sleeps:after_fork"\nboot = "6s"')
    failed = fleet.command("reload")
    assert failed.returncode == 1, failed.stderr
    assert "reload failed: orders-3 was not ready 6 s after its first fork" in failed.stderr
    assert pids(fleet.wait_running()) == pids(before)


def test_a_hangup_that_fails_is_told_by_the_log_and_by_status(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=1).start()
    before = fleet.wait_running()
    fleet.edit("entities = 1", 'entities = "many"')
    fleet.signal(signal.SIGHUP)
    after = fleet.wait(lambda s: s.last_change is not None, what="the reload was refused")
    assert after.last_change is not None
    assert (after.last_change.command, after.last_change.state) == ("reload", "rejected")
    assert "pools.orders.entities" in after.last_change.message
    assert "fleet.change-rejected" in fleet.log_text()
    assert pids(after) == pids(before)


def test_a_scale_that_fails_gives_the_file_back(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """Its program takes no more entities than there are places for."""
    program = tmp_path / "few.py"
    program.write_text(
        "import os\nfrom pathlib import Path\nfrom shop import *\n\n"
        "def after_fork():\n"
        "    for place in range(2):\n"
        "        try:\n"
        f"            os.mkdir({str(tmp_path)!r} + f'/place-{{place}}')\n"
        "            return\n"
        "        except FileExistsError:\n"
        "            pass\n"
        "    raise RuntimeError('no place left')\n"
    )
    (tmp_path / "shop.py").write_text((PROGRAMS / "shop.py").read_text())
    fleet = make_fleet(entities=2, program="few", pool='after_fork = "few:after_fork"')
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{tmp_path}"')
    fleet.start()
    before = fleet.wait_running()
    text = fleet.config.read_text()
    failed = fleet.command("scale", "orders=3")
    assert failed.returncode == 1, failed.stderr
    assert "failed: orders-3" in failed.stderr
    assert "fleet.toml is as it was before" in failed.stderr
    assert fleet.config.read_text() == text
    assert pids(fleet.wait_running()) == pids(before)


def test_a_reload_in_the_middle_of_a_roll_overtakes_it(make_fleet: MakeFleet) -> None:
    settings = 'hang = "60s"\nworker = { max_cached_workflows = 100 }'
    fleet = make_fleet(entities=3, pool=settings).start()
    before = fleet.wait_running()
    held_up = before.entities[0].pid
    assert held_up is not None
    # It cannot drain, so the roll does not end.
    os.kill(held_up, signal.SIGSTOP)
    fleet.edit("= 100", "= 200")
    first = fleet.command("reload", "--no-wait")
    assert first.returncode == 0, first.stderr
    assert "temporal-fleet changes 1 -c" in first.stderr
    fleet.edit("= 200", "= 300")
    fleet.edit("entities = 3", "entities = 2")
    second = fleet.command("reload", "--no-wait")
    assert second.returncode == 0, second.stderr
    os.kill(held_up, signal.SIGCONT)
    after = fleet.wait_running()
    assert len(after.entities) == 2
    assert not set(pids(after).values()) & set(pids(before).values())
    assert [(c["id"], c["state"]) for c in changes(fleet)] == [(2, "done"), (1, "superseded")]
    assert changes(fleet, "1")[0]["message"].startswith("superseded by change 2: reload")
    assert fleet.command("changes", "3").returncode == 1


def test_a_drained_pool_stays_at_zero_until_it_is_resumed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2, more=BILLING).start()
    before = fleet.wait_running()
    drained = fleet.command("drain", "orders")
    assert drained.returncode == 0, drained.stderr
    after = fleet.status()
    assert pids(after) == {"billing-1": pids(before)["billing-1"]}
    assert "temporal-fleet resume orders" in fleet.command("status").stdout
    assert "temporal-fleet resume orders" in fleet.command("plan").stdout
    fleet.edit("entities = 2", "entities = 3")
    assert fleet.command("reload").returncode == 0
    assert list(pids(fleet.status())) == ["billing-1"], "a reload does not resume it"
    resumed = fleet.command("resume", "orders")
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(pids(fleet.wait_running())) == ["billing-1", "orders-1", "orders-2", "orders-3"]


def test_a_quiet_entity_stays_for_a_look_and_another_takes_its_place(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    before = fleet.wait_running()
    quieted = fleet.command("quiet", "orders-1")
    assert quieted.returncode == 0, quieted.stderr
    after = fleet.status()
    assert {e.id: e.state for e in after.entities} == {
        "orders-1": "quiet",
        "orders-2": "ready",
        "orders-3": "ready",
    }
    assert pids(after).items() >= pids(before).items()
    assert re.search(r"^orders-1 +\d+ +quiet ", fleet.command("status").stdout, re.MULTILINE)
    gone = fleet.command("restart", "orders-1")
    assert gone.returncode == 0, gone.stderr
    assert sorted(pids(fleet.status())) == ["orders-2", "orders-3"], "nobody comes instead"


def test_force_replaces_the_entities_of_one_pool_though_nothing_changed(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2, more=BILLING).start()
    before = pids(fleet.wait_running())
    nothing = fleet.command("reload")
    assert nothing.returncode == 0, nothing.stderr
    assert pids(fleet.status()) == before
    forced = fleet.command("reload", "--force", "orders")
    assert forced.returncode == 0, forced.stderr
    after = pids(fleet.status())
    assert sorted(after) == sorted(before)
    assert after["billing-1"] == before["billing-1"]
    assert not {after["orders-1"], after["orders-2"]} & set(before.values())


def test_live_settings_apply_without_a_restart(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2, pool='hang = "10s"').start()
    before = fleet.wait_running()
    fleet.edit('hang = "10s"', 'hang = "20s"\nrestart = { max_restarts = 3 }\nrecycle = { max_age = "20h" }')
    planned = fleet.command("plan").stdout
    assert "~ orders change: " in planned
    assert "hang 10s -> 20s" in planned
    assert "without a restart" in planned
    assert "= 2 entities untouched" in planned
    done = fleet.command("reload")
    assert done.returncode == 0, done.stderr
    assert pids(fleet.status()) == pids(before)
    assert fleet.command("plan").stdout == "= 2 entities untouched\n"
    fleet.edit('hang = "20s"', 'hang = "20s"\ndrain = "7s"')
    replaced = fleet.command("plan").stdout
    assert "~ orders replace: " in replaced
    assert "drain 30s -> 7s" in replaced


def test_a_stop_ends_the_change_that_is_waited_for(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=1).start()
    fleet.wait_running()
    fleet.edit(GOOD, BROKEN + '\nrestart = { backoff = "20s", backoff_max = "20s" }')
    with ThreadPoolExecutor() as elsewhere:
        waiting = elsewhere.submit(fleet.command, "reload")
        fleet.wait(lambda s: s.fleet.state == "reloading" and len(s.entities) == 2, what="it rolls")
        assert fleet.stop() == 0
        told = waiting.result()
    assert told.returncode == 1, told.stderr
    assert "the fleet is stopping" in told.stderr
