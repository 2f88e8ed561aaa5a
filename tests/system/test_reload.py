"""A running fleet follows its config file, or says why not and changes nothing."""

import re
import signal
from pathlib import Path

from tests.fleet import PROGRAMS
from tests.system.conftest import MakeFleet

BILLING = f'[pools.billing]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "billing"\nentities = 1\n'


def test_entities_grow_and_shrink_and_the_others_keep_their_pids(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    before = fleet.wait_running()
    fleet.edit("entities = 2", "entities = 4")
    grown = fleet.command("reload")
    assert grown.returncode == 0, grown.stderr
    report = fleet.status()
    assert [e.id for e in report.entities if e.state == "ready"] == [f"orders-{n}" for n in (1, 2, 3, 4)]
    assert report.fleet.generation == 2
    assert [e.pid for e in report.entities[:2]] == [e.pid for e in before.entities]
    fleet.edit("entities = 4", "entities = 1")
    assert fleet.command("reload").returncode == 0
    shrunk = fleet.wait(lambda s: len(s.entities) == 1, what="three entities are gone")
    assert shrunk.entities[0].pid == before.entities[0].pid


def test_pools_come_and_go_by_sighup(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    before = fleet.wait_running()
    with fleet.config.open("a") as config:
        config.write(BILLING)
    fleet.signal(signal.SIGHUP)
    both = fleet.wait(lambda s: s.fleet.state == "running" and len(s.pools) == 2, what="billing is there too")
    assert {e.id for e in both.entities} == {"billing-1", "orders-1"}
    fleet.edit(BILLING, "")
    fleet.signal(signal.SIGHUP)
    after = fleet.wait(lambda s: len(s.entities) == 1, what="billing is gone")
    assert [p.name for p in after.pools] == ["orders"]
    assert after.entities[0].pid == before.entities[0].pid


def test_changed_settings_replace_one_by_one_and_start_before_stop(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=3, pool="worker = { max_cached_workflows = 100 }").start()
    before = fleet.wait_running()
    fleet.edit("max_cached_workflows = 100", "max_cached_workflows = 200")
    fleet.signal(signal.SIGHUP)
    ready = []

    def rolled(s):  # type: ignore[no-untyped-def]
        ready.append(s.pools[0].ready)
        return s.fleet.state == "running" and all(new.incarnation == 2 for new in s.entities)

    after = fleet.wait(rolled, what="all replaced")
    assert min(ready) >= 3
    assert [e.id for e in after.entities] == ["orders-1", "orders-2", "orders-3"]
    assert not {e.pid for e in after.entities} & {e.pid for e in before.entities}


def test_a_broken_config_changes_nothing_and_names_every_error(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    before = fleet.wait_running()
    fleet.edit("entities = 2", 'entities = "many"\ndrian = "3s"')
    refused = fleet.command("reload")
    assert refused.returncode == 1
    assert "pools.orders.entities" in refused.stderr
    assert "drian" in refused.stderr
    after = fleet.status()
    assert after.fleet.generation == 1
    assert [e.pid for e in after.entities] == [e.pid for e in before.entities]


def test_a_program_that_does_not_import_changes_nothing_until_it_does(
    make_fleet: MakeFleet, tmp_path: Path
) -> None:
    fleet = make_fleet().start()
    before = fleet.wait_running()
    (tmp_path / "new_shop.py").write_text("raise RuntimeError('half written')\n")
    fleet.edit('program = "shop"', 'program = "new_shop"')
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{tmp_path}"')
    refused = fleet.command("reload")
    assert refused.returncode == 1
    assert re.search(r"^reload failed: .* half written", refused.stderr, re.MULTILINE), refused.stderr
    after = fleet.status()
    assert after.fleet.generation == 1
    assert after.fleet.state == "running"
    assert [e.pid for e in after.entities] == [e.pid for e in before.entities]
    (tmp_path / "new_shop.py").write_text((PROGRAMS / "shop.py").read_text())
    mended = fleet.command("reload")
    assert mended.returncode == 0, mended.stderr
    done = fleet.wait_running()
    assert done.pools[0].program == "new_shop"
    assert done.entities[0].pid != before.entities[0].pid


def test_restart_takes_up_new_code(make_fleet: MakeFleet, tmp_path: Path) -> None:
    program = tmp_path / "changing.py"
    program.write_text((PROGRAMS / "shop.py").read_text())
    fleet = make_fleet(program="changing")
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{tmp_path}"')
    fleet.start()
    before = fleet.wait_running()
    program.write_text(program.read_text() + "\nprint('second edition')\n")
    restarted = fleet.command("restart", "orders")
    assert restarted.returncode == 0, restarted.stderr
    after = fleet.wait(
        lambda s: s.fleet.state == "running" and s.entities[0].pid != before.entities[0].pid,
        what="restarted",
    )
    assert [e.id for e in after.entities] == ["orders-1"]
    assert "second edition" in fleet.log_text()


def test_scale_edits_the_file_and_keeps_its_comments(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=1, pool="# keep me")
    fleet.start().wait_running()
    scaled = fleet.command("scale", "orders=3")
    assert scaled.returncode == 0, scaled.stderr
    fleet.wait(lambda s: s.pools[0].ready == 3, what="three entities")
    assert "# keep me" in fleet.config.read_text()
    assert "entities = 3" in fleet.config.read_text()


def test_plan_tells_and_does_nothing(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=2).start()
    fleet.wait_running()
    fleet.edit("entities = 2", "entities = 3")
    with fleet.config.open("a") as config:
        config.write(BILLING)
    plan = fleet.command("plan")
    assert plan.returncode == 0, plan.stderr
    assert "+ orders-3 start" in plan.stdout
    assert "+ billing-1 start" in plan.stdout
    assert "= 2 entities untouched" in plan.stdout
    after = fleet.status()
    assert after.fleet.generation == 1
    assert len(after.entities) == 2


def test_one_of_many_pools_changes_and_the_others_keep_their_pids(make_fleet: MakeFleet) -> None:
    others = [BILLING.replace("billing", f"billing{n}") for n in range(15)]
    fleet = make_fleet(more="".join(others)).start()
    before = {e.id: e.pid for e in fleet.wait_running().entities}
    fleet.edit(others[7], others[7] + 'drain = "7s"\n')
    planned = fleet.command("plan")
    assert planned.stdout == "~ billing7 replace: drain 30s -> 7s\n= 15 entities untouched\n", planned
    done = fleet.command("reload")
    assert done.returncode == 0, done.stderr
    after = {e.id: e.pid for e in fleet.status().entities}
    assert {name for name in before if after.get(name) != before[name]} == {"billing7-1"}
    assert after.keys() == before.keys()
