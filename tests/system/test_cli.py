"""Every command against a real fleet on a real dev server, as an operator types it."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from temporal_fleet.protocol.process import start_time
from tests.cli.command import Command, Result, command_in
from tests.conftest import DevServer, temporal_command
from tests.fleet import PROGRAMS, FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until

PROGRAM = """\
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow


@activity.defn
def wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.02)


@activity.defn
async def blocks_the_loop(path: str) -> None:
    Path(path).touch()
    while True:
        time.sleep(1)


@workflow.defn
class Runs:
    @workflow.run
    async def run(self, name: str, path: str) -> None:
        await workflow.execute_activity(name, path, start_to_close_timeout=timedelta(minutes=5))
"""


@dataclass(frozen=True)
class Operator:
    """Somebody at the fleet's folder, who types commands."""

    command: Command
    fleet: FleetUnderTest
    server: DevServer
    task_queue: str

    def __call__(self, *words: str) -> Result:
        return self.command(*words)

    @property
    def folder(self) -> Path:
        return self.fleet.folder

    @property
    def file(self) -> Path:
        return self.fleet.config

    def pids(self) -> dict[str, int]:
        """Of the entities, by their ids."""
        shown = self("status", "--json")
        assert shown.status == 0, shown
        return {each["id"]: each["pid"] for each in json.loads(shown.out)["entities"]}

    def start_activity(self, name: str, path: Path) -> None:
        """Returns when an entity has it in hand."""
        started = subprocess.run(
            [
                *(temporal_command(), "workflow", "start", "--address", self.server.address),
                *("--type", "Runs", "--task-queue", self.task_queue),
                *("--input", json.dumps(name), "--input", json.dumps(str(path))),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert started.returncode == 0, started.stderr


@pytest.fixture
def operator(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str, tmp_path: Path, runtime: Path
) -> Operator:
    """Of a fleet of two entities, with its file in its folder, that runs."""
    fleet = make_fleet(entities=2, program="program", pool='drain = "1m"', fleet='orphan = "1m"')
    (fleet.folder / "program.py").write_text(PROGRAM)
    fleet.edit(f'path = "{PROGRAMS}"\n', "")
    fleet.edit("entities = 2", "entities = 2   # two are enough")
    fleet.start().wait_running()
    fleet.wait(lambda s: s.cluster.reachable, what="the agent has looked")
    return Operator(command_in(fleet.folder, runtime), fleet, dev_server, task_queue)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Where run directories come by default. Short: socket paths have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    yield folder
    shutil.rmtree(folder)


def test_status(operator: Operator) -> None:
    shown = operator("status", "--json")
    assert (shown.status, shown.err) == (0, ""), shown
    document = json.loads(shown.out)
    assert document["fleet"]["name"] == "test"
    assert document["fleet"]["pid"] == operator.fleet.pid
    assert document["cluster"]["reachable"] is True
    assert [(pool["desired"], pool["ready"]) for pool in document["pools"]] == [(2, 2)]
    assert all(entity["pss_bytes"] for entity in document["entities"])
    table = operator("status")
    assert (table.status, table.err) == (0, ""), table
    for name, pid in operator.pids().items():
        assert re.search(rf"^{name} +{pid} +ready ", table.out, re.MULTILINE), table


def test_scale_edits_the_file_and_waits_for_the_fleet(operator: Operator) -> None:
    grown = operator("scale", "orders=3")
    assert grown.status == 0, grown
    assert "1 pool, 3 entities ready" in grown.err
    assert "entities = 3   # two are enough" in operator.file.read_text()
    assert list(operator.pids()) == ["orders-1", "orders-2", "orders-3"]
    shrunk = operator("scale", "orders=1")
    assert shrunk.status == 0, shrunk
    assert list(operator.pids()) == ["orders-1"]


def test_plan_tells_what_reload_then_does(operator: Operator) -> None:
    unchanged = operator("plan")
    assert (unchanged.status, unchanged.out) == (0, "= 2 entities untouched\n"), unchanged
    text = operator.file.read_text()
    before = operator.pids()
    operator.file.write_text(
        text.replace("entities = 2", "entities = 3")
        + f'[pools.billing]\nprogram = "program"\ntask_queue = "{operator.task_queue}-2"\nentities = 1\n'
    )
    planned = operator("plan")
    assert planned.status == 0, planned
    assert {line.split(":")[0] for line in planned.out.splitlines()} == {
        "+ billing-1 start",
        "+ orders-3 start",
        "= 2 entities untouched",
    }
    assert operator.pids() == before, "it was only a plan"
    reloaded = operator("reload")
    assert reloaded.status == 0, reloaded
    after = operator.pids()
    assert sorted(after) == ["billing-1", "orders-1", "orders-2", "orders-3"]
    assert before.items() <= after.items()
    operator.file.write_text(text.replace('drain = "1m"', 'drain = "50s"'))
    steps = {(step["action"], step["target"]) for step in json.loads(operator("plan", "--json").out)["steps"]}
    assert {("replace", "orders"), ("stop", "billing-1"), ("stop", "orders-3")} <= steps


def test_a_reload_that_cannot_be_changes_nothing(operator: Operator) -> None:
    text = operator.file.read_text()
    before = operator.pids()
    operator.file.write_text(text.replace("entities = 2", 'entities = "2"').replace("task_queue", "queue"))
    refused = operator("reload")
    assert refused.status == 1, refused
    assert "pools.orders.entities" in refused.err
    assert "pools.orders.task_queue" in refused.err
    operator.file.write_text(text.replace('program = "program"', 'program = "nowhere"'))
    refused = operator("scale", "orders=4")
    assert refused.status == 1, refused
    assert "nowhere" in refused.err
    assert "entities = 2" in operator.file.read_text(), "the file is given back"
    assert operator.pids() == before


def test_restart_replaces_what_is_named(operator: Operator) -> None:
    first = operator.pids()
    one = operator("restart", "orders-2")
    assert one.status == 0, one
    second = operator.pids()
    assert second["orders-1"] == first["orders-1"]
    assert second["orders-2"] != first["orders-2"]
    everything = operator("restart")
    assert everything.status == 0, everything
    third = operator.pids()
    assert list(third) == ["orders-1", "orders-2"]
    assert not set(third.values()) & set(second.values())
    refused = operator("restart", "nobody")
    assert refused.status == 2, refused
    assert "no pool or entity is named nobody; there are: orders, orders-1, orders-2" in refused.err


def test_events_tell_of_a_death_and_of_the_next_life(operator: Operator) -> None:
    with operator.command.running("events", "--json") as listener:
        assert listener.stderr is not None
        assert listener.stdout is not None
        assert "listening to test" in listener.stderr.readline()
        os.kill(operator.pids()["orders-1"], signal.SIGKILL)
        seen = []
        for line in listener.stdout:
            seen.append(json.loads(line))
            if seen[-1]["kind"] == "entity.ready":
                break
        assert operator("stop").status == 0
        listener.stdout.read()
        assert listener.wait(20) == 0
        assert "the fleet test has ended" in listener.stderr.read()
    assert (seen[-1]["entity"], seen[-1]["incarnation"]) == ("orders-1", 2)
    assert any("SIGKILL" in event["message"] for event in seen), seen


def test_the_reason_of_a_death_is_shown(operator: Operator) -> None:
    os.kill(operator.pids()["orders-1"], signal.SIGKILL)
    operator.fleet.wait(
        lambda status: status.fleet.state == "running" and status.entities[0].restarts == 1, what="a restart"
    )
    assert re.search(r"^orders-1: last exit .* ago: killed by SIGKILL", operator("status").out, re.MULTILINE)


def test_dump_prints_the_stacks_of_an_entity_whose_loop_hangs(operator: Operator) -> None:
    operator.start_activity("blocks_the_loop", operator.folder / "begun")
    wait_until((operator.folder / "begun").exists, what="the activity runs")
    dumps = [operator("dump", name) for name in ("orders-1", "orders-2")]
    assert [dump.status for dump in dumps] == [0, 0], dumps
    assert sum("in blocks_the_loop" in dump.out for dump in dumps) == 1, dumps
    # It would not drain, only be killed when its time is up.
    assert operator("stop", "--now").status == 0


def test_dump_of_an_entity_that_cannot_answer_says_why(operator: Operator) -> None:
    pid = operator.pids()["orders-1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        told = operator("dump", "orders-1")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert told.status == 1, told
    assert "it is stopped (state T)" in told.err
    nobody = operator("dump", "orders-9")
    assert nobody.status == 2, nobody
    assert "no entity is named orders-9; there are: orders-1, orders-2" in nobody.err


def test_stop_waits_for_what_drains(operator: Operator) -> None:
    works_on(operator, operator.folder / "go")
    with operator.command.running("stop") as first:
        until_it_tells_of_the_activity(first)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=20)
    assert first.returncode == 130
    assert "the fleet goes on draining" in err
    assert operator.fleet.status().fleet.state == "draining"
    with operator.command.running("stop") as again:
        until_it_tells_of_the_activity(again)
        (operator.folder / "go").touch()
        _, err = again.communicate(timeout=30)
    assert again.returncode == 0, err
    assert "the fleet test has stopped" in err
    assert operator.fleet.wait_stopped() == 0
    assert "no fleet runs in" in operator("status").err


def test_stop_now_waits_for_nothing(operator: Operator) -> None:
    works_on(operator, operator.folder / "never")
    stopped = operator("stop", "--now")
    assert stopped.status == 0, stopped
    assert operator.fleet.wait_stopped() == 0


def works_on(operator: Operator, path: Path) -> None:
    """Starts an activity that ends when a file is there, and waits until an entity has it in hand."""
    operator.start_activity("wait_for", path)
    operator.fleet.wait(
        lambda status: any(entity.inflight_activities for entity in status.entities), what="the activity runs"
    )


def until_it_tells_of_the_activity(stopping: subprocess.Popen[str]) -> None:
    assert stopping.stderr is not None
    said = []
    for line in stopping.stderr:
        said.append(line)
        if "(1 activity)" in line:
            return
    raise AssertionError(said)


def test_a_dead_supervisor_leaves_orphans_that_are_named(operator: Operator) -> None:
    entities = operator.pids()
    operator.fleet.kill_supervisor()
    told = operator("status")
    assert told.status == 1, told
    assert "its supervisor died" in told.err
    for name, pid in entities.items():
        assert f"{name} (PID {pid})" in told.err
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(start_time, entities.values())), what="the orphans end")
    assert "its supervisor died" not in operator("status").err


def test_a_supervisor_that_stands_still_is_told_from_an_absent_one(operator: Operator) -> None:
    operator.fleet.signal(signal.SIGSTOP)
    try:
        told = operator("status")
    finally:
        operator.fleet.signal(signal.SIGCONT)
    assert told.status == 1, told
    assert f"kill -CONT {operator.fleet.pid}" in told.err


def test_completion_offers_entities_and_pools(operator: Operator) -> None:
    done = operator.command(
        _TEMPORAL_FLEET_COMPLETE="bash_complete", COMP_WORDS="temporal-fleet restart or", COMP_CWORD="2"
    )
    assert [line.split(",")[1] for line in done.out.splitlines()] == ["orders", "orders-1", "orders-2"]


def test_run_needs_no_file(dev_server: DevServer, task_queue: str, tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = command_in(tmp_path, runtime)
    by_name = ("--fleet", "program")
    with command.running("run", "program", "-q", task_queue, "--address", dev_server.address) as fleet:
        assert fleet.stderr is not None
        assert "temporal-fleet status --fleet program" in fleet.stderr.readline()
        wait_until(lambda: command("status", *by_name).status == 0, what="the fleet answers")
        taken = command("run", "program", "-q", task_queue, "--address", dev_server.address)
        assert taken.status == 1, taken
        assert taken.err.startswith("Error: a fleet already runs in"), taken
        scaled = command("scale", "program=2", *by_name)
        assert scaled.status == 0, scaled
        assert "nothing of this is kept on disk" in scaled.err
        assert "2 entities ready" in scaled.err
        refused = command("reload", *by_name)
        assert refused.status == 1, refused
        assert "has no file" in refused.err
        assert "a fleet program runs; it is meant with: --fleet program" in command("status").err
        stopped = command("stop", *by_name)
        assert stopped.status == 0, stopped
        fleet.communicate(timeout=20)
        assert fleet.returncode == 0


def test_a_program_that_cannot_be_imported_is_told_and_can_be_mended(
    dev_server: DevServer, task_queue: str, tmp_path: Path, runtime: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text("import nothing_of_this_name\n")
    command = command_in(tmp_path, runtime)
    by_name = ("--fleet", "program")
    with command.running("run", "program", "-q", task_queue, "--address", dev_server.address) as fleet:
        wait_until(lambda: "nothing_of_this_name" in command("status", *by_name).out, what="status says why")
        program.write_text(PROGRAM)
        mended = command("restart", *by_name)
        assert mended.status == 0, mended
        assert "1 entity ready" in mended.err
        stopped = command("stop", *by_name)
        assert stopped.status == 0, stopped
        fleet.communicate(timeout=20)
