"""The operator's side of the wire, and how it tells a supervisor that works from one that does not.

The other side is a stand-in that speaks the real protocol on real sockets, and gives the answers that a
real fleet would rarely give when a test wants them. See tests/system/test_cli.py for the real one.
"""

import itertools
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from temporal_fleet.protocol.control import (
    Accepted,
    ControlReply,
    ControlRequest,
    DumpStacks,
    ExaminationReply,
    ExamineCluster,
    Failed,
    GetPlan,
    GetStatus,
    PlanReply,
    Progress,
    Rejected,
    Reload,
    Restart,
    StacksReply,
    StatusReply,
    Stop,
)
from temporal_fleet.protocol.report import EventReport, StepReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from temporal_fleet.supervisor.cli import client
from temporal_fleet.supervisor.cli.client import Supervisor
from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.place import Place
from tests.cli.command import Command
from tests.cli.wire import End, answers, entity, pool, report, stand_in
from tests.waiting import wait_until

SHOP = ("--fleet", "shop")


def test_status_as_json_is_the_report(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, answers(report(pools=[pool()], entities=[entity()]))):
        shown = command("status", "--json", *SHOP)
    assert (shown.status, shown.err) == (0, ""), shown
    document = json.loads(shown.out)
    assert document["fleet"]["generation"] == 3
    assert document["entities"][0]["pss_bytes"] == (9 << 20) + 400_000


def test_status_as_a_table(command: Command, run_dir: Path) -> None:
    failing = entity("orders-2", state="failed", reason="11 crashes within 60 s")
    status = report(
        state="degraded", reason="orders lacks 1", pools=[pool(desired=2)], entities=[entity(), failing]
    )
    with stand_in(run_dir, answers(status)):
        shown = command("status", *SHOP)
    assert (shown.status, shown.err) == (0, ""), shown
    assert re.search(r"^shop +degraded +generation 3 +up 1h02m", shown.out), shown
    assert "UI http://127.0.0.1:8233" in shown.out
    assert re.search(r"^orders +shop\.orders +orders +1/2", shown.out, re.MULTILINE)
    assert re.search(r"^orders-1 +4711 +ready +2 +1 +1m05s +60\.0 MiB +9\.4 MiB", shown.out, re.MULTILINE)
    assert re.search(r"^orders-2 +- +failed ", shown.out, re.MULTILINE)
    assert shown.out.endswith("\norders-2: 11 crashes within 60 s\n")
    assert "last exit" not in shown.out, "no line for what nobody has"


def test_watching_in_a_pipe_prints_a_document_a_line(command: Command, run_dir: Path) -> None:
    with (
        stand_in(run_dir, answers(report(entities=[entity()]))) as pid,
        command.running("status", "--watch", "--json", *SHOP) as watcher,
    ):
        assert watcher.stdout is not None
        lines = [json.loads(watcher.stdout.readline()) for _ in range(2)]
        assert [line["fleet"]["generation"] for line in lines] == [3, 3]
        os.kill(pid, signal.SIGKILL)
        _, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    assert f"the supervisor (PID {pid}) has ended" in err


def test_ctrl_c_is_quiet(command: Command, run_dir: Path) -> None:
    with (
        stand_in(run_dir, answers(report())),
        command.running("status", "--watch", "--json", *SHOP) as watcher,
    ):
        assert watcher.stdout is not None
        watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=20)
    assert (watcher.returncode, err.strip()) == (130, "")


def test_a_stopped_supervisor_is_told_from_an_absent_one(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, answers(report())) as pid:
        os.kill(pid, signal.SIGSTOP)
        told = command("status", *SHOP)
    assert told.status == 1, told
    assert f"(PID {pid}) has not answered for 5 s: it is stopped (state T)" in told.err
    assert f"kill -CONT {pid}" in told.err


def test_a_supervisor_that_hangs(command: Command, run_dir: Path) -> None:
    def hang(_: ControlRequest) -> Iterator[ControlReply]:
        signal.pause()
        yield from ()

    with stand_in(run_dir, hang) as pid:
        told = command("status", *SHOP)
    assert told.status == 1, told
    assert f"(PID {pid}) has not answered for 5 s: it is sleeping (state S)" in told.err


def test_a_supervisor_that_starts_takes_no_commands_yet(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, answers(report())) as pid:
        RunDirectory(run_dir).control.unlink()
        told = command("status", *SHOP)
    assert told.status == 1, told
    assert f"(PID {pid}) is starting or ending" in told.err


def test_a_long_request_is_waited_for_while_the_supervisor_lives(command: Command, run_dir: Path) -> None:
    """A Reload that answers only after the command has asked for signs of life, longer than its patience."""
    asked: list[Reload] = []
    since = time.monotonic()

    def slow(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, Reload):
            asked.append(request)
            return
        if asked and time.monotonic() - since > 8:
            yield Accepted(id=asked.pop().id, message="follows", generation=4)
        yield StatusReply(id=request.id, report=report())

    with stand_in(run_dir, slow):
        done = command("reload", *SHOP)
    assert done.status == 0, done
    assert "follows" in done.err


def test_one_that_lives_and_does_not_know_the_request_is_waited_for_no_longer_than_is_said(
    run_dir: Path,
) -> None:
    place = Place(name="shop", run=RunDirectory(run_dir), config=None, words="")
    with stand_in(run_dir, answers(report())), Supervisor(place) as supervisor:
        with pytest.raises(Failure, match="lives, and did not answer ExamineCluster within 2 s") as failure:
            supervisor.ask(ExamineCluster(id="x"), ExaminationReply, within=2.0)
        assert "temporal-fleet upgrade" in failure.value.remedies[0]


def test_a_report_that_is_lost_is_not_waited_for_though_there_are_signs_of_life(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def lose_the_first(request: ControlRequest) -> Iterator[ControlReply]:
        asked.append(request.id)
        if len(asked) > 1:
            yield StatusReply(id=request.id, report=report())

    place = Place(name="shop", run=RunDirectory(run_dir), config=None, words="")
    monkeypatch.setattr(client, "_PATIENCES", 0.6)
    with stand_in(run_dir, lose_the_first), Supervisor(place) as supervisor:
        with pytest.raises(Failure, match="lives, and did not answer GetStatus within 3 s"):
            supervisor.status()
        # The next one is answered.
        assert supervisor.status().fleet.name == "shop"


def test_a_supervisor_that_dies_before_it_answers(command: Command, run_dir: Path) -> None:
    def die(_: ControlRequest) -> Iterator[ControlReply]:
        yield from ()
        raise End

    with stand_in(run_dir, die) as pid:
        told = command("reload", *SHOP)
    assert told.status == 1, told
    assert f"the supervisor (PID {pid}) ended before it answered" in told.err


def test_a_supervisor_of_another_version(command: Command, runtime: Path) -> None:
    run_dir = runtime / "temporal-fleet" / "shop"
    run_dir.mkdir(parents=True)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.bind(ipc(RunDirectory(run_dir).control))
        with command.running("status", *SHOP) as asking:
            operator, _ = socket.recv_multipart()
            socket.send_multipart([operator, b"TFLT\x63whatever"])
            _, err = asking.communicate(timeout=20)
    assert asking.returncode == 1
    assert "does not speak our protocol" in err
    assert "use the temporal-fleet of its own installation" in err


def test_a_rejected_reload_prints_each_problem(command: Command, run_dir: Path) -> None:
    def reject(request: ControlRequest) -> ControlReply | None:
        return Rejected(id=request.id, problems=["fleet.toml:3: a", "fleet.toml:9: b"])

    with stand_in(run_dir, answers(report(), reject)):
        refused = command("reload", *SHOP)
    assert refused.status == 1, refused
    assert "nothing was changed" in refused.err
    assert "\nfleet.toml:3: a\nfleet.toml:9: b\n" in refused.err


def test_a_name_that_nothing_has_is_misuse(command: Command, run_dir: Path) -> None:
    """Nothing is asked of the fleet then: this one would not answer."""
    with stand_in(run_dir, answers(report(pools=[pool()], entities=[entity()]))):
        restarted = command("restart", "nobody", *SHOP)
        dumped = command("dump", "orders", *SHOP)
    assert restarted.status == dumped.status == 2, (restarted, dumped)
    assert "no pool or entity is named nobody; there are: orders, orders-1" in restarted.err
    assert "no entity is named orders; there are: orders-1" in dumped.err


def test_a_refused_dump_would_have_changed_nothing_anyway(command: Command, run_dir: Path) -> None:
    def reject(request: ControlRequest) -> ControlReply | None:
        return Rejected(id=request.id, problems=["orders-1 is starting"])

    with stand_in(run_dir, answers(report(entities=[entity()]), reject)):
        refused = command("dump", "orders-1", *SHOP)
    assert refused.status == 1, refused
    assert refused.err == "Error: the fleet refused:\norders-1 is starting\n"


def test_progress_is_told_and_the_end_is_waited_for(command: Command, run_dir: Path) -> None:
    rolling = report(
        state="reloading",
        pools=[pool(desired=2, ready=1)],
        entities=[entity(), entity("orders-2", state="starting")],
    )
    settled = report(pools=[pool(desired=2, ready=2)], entities=[entity(), entity("orders-2")])
    asked: list[Restart] = []
    seen = [rolling, rolling]

    def answer(request: ControlRequest) -> Iterator[ControlReply]:
        """It has converged once the command has asked twice for a sign of life."""
        if isinstance(request, Restart):
            assert request == Restart(id=request.id, target="orders", wait=True)
            asked.append(request)
            step = StepReport(action="replace", target="orders", reason="code changed")
            yield Progress(id=request.id, message="replace orders", steps=[step])
            yield Progress(id=request.id, message="imports shop.orders")
            yield Progress(id=request.id, message="restarts pool orders")
            return
        if seen and not asked:
            yield StatusReply(id=request.id, report=report(pools=[pool()]))
            return
        yield StatusReply(id=request.id, report=seen.pop(0) if seen else settled)
        if not seen:
            yield Accepted(id=asked.pop().id, message="restarts pool orders", generation=4, change=7)

    with stand_in(run_dir, answer):
        done = command("restart", "orders", *SHOP)
    assert done.status == 0, done
    assert done.err.splitlines() == [
        "~ orders replace: code changed",
        "imports shop.orders",
        "restarts pool orders",
        "waiting for orders-2 starting",
        "shop: generation 3, 1 pool, 2 entities ready",
    ]


def test_who_was_stopped_meanwhile_goes_on_waiting(command: Command, run_dir: Path, tmp_path: Path) -> None:
    """As by Ctrl-Z: the supervisor was silent while nobody asked it."""
    asked: list[Restart] = []

    def answer(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, Restart):
            asked.append(request)
            yield Progress(id=request.id, message="restarts pool orders")
            return
        yield StatusReply(id=request.id, report=report(pools=[pool()]))
        if asked and (tmp_path / "converged").exists():
            yield Accepted(id=asked.pop().id, message="restarts pool orders", generation=4, change=7)

    with stand_in(run_dir, answer), command.running("restart", "orders", *SHOP) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "restarts pool orders\n"
        waiting.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > client.PATIENCE + 1, what="more than its patience")
        waiting.send_signal(signal.SIGCONT)
        (tmp_path / "converged").touch()
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 0, err


def test_who_does_not_wait_is_told_how_to_ask_for_the_outcome(command: Command, run_dir: Path) -> None:
    def accept(request: ControlRequest) -> ControlReply | None:
        assert isinstance(request, Reload)
        assert not request.wait
        return Accepted(id=request.id, message="starts orders-2", generation=4, change=7)

    with stand_in(run_dir, answers(report(), accept)):
        done = command("reload", "--no-wait", *SHOP)
    assert done.status == 0, done
    assert done.err.splitlines() == [
        "starts orders-2",
        "its outcome: temporal-fleet changes 7 --fleet shop",
    ]


def test_ctrl_c_leaves_the_change_going_on(command: Command, run_dir: Path) -> None:
    def never_ends(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, Reload):
            yield Progress(id=request.id, message="starts orders-2")
        else:
            yield StatusReply(id=request.id, report=report())

    with stand_in(run_dir, never_ends), command.running("reload", *SHOP) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "starts orders-2\n"
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert "the fleet goes on by itself; look at it with: temporal-fleet changes --fleet shop" in err


def test_a_change_that_was_taken_back_fails_the_command(command: Command, run_dir: Path) -> None:
    def fail(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, GetStatus):
            yield StatusReply(id=request.id, report=report(pools=[pool()], entities=[entity()]))
        else:
            yield Progress(id=request.id, message="follows")
            problems = ["reload failed: orders-2: no such plugin", "the fleet is as it was before"]
            yield Failed(id=request.id, problems=problems, change=7, restored=True)

    with stand_in(run_dir, fail):
        done = [command("reload", *SHOP), command("restart", *SHOP), command("drain", "orders", *SHOP)]
    for each in done:
        assert each.status == 1, each
        assert each.err == (
            "follows\nError: reload failed: orders-2: no such plugin\nthe fleet is as it was before\n"
            "  mend it, then try again; look at it with: temporal-fleet changes --fleet shop\n"
        )


def test_what_a_fleet_lacks_for_other_reasons_is_told(command: Command, run_dir: Path) -> None:
    short = report(
        state="degraded",
        pools=[pool(desired=2, ready=1)],
        entities=[entity(), entity("orders-2", state="failed", reason="11 crashes within 60 s")],
    )

    def accept(request: ControlRequest) -> ControlReply | None:
        return Accepted(id=request.id, message="follows", generation=4)

    with stand_in(run_dir, answers(short, accept)):
        done = command("reload", *SHOP)
    assert done.status == 0, done
    assert "pool orders: 1 of 2 ready: orders-2 failed: 11 crashes within 60 s" in done.err
    assert "mend it, then: temporal-fleet restart orders --fleet shop" in done.err


def test_the_plan(command: Command, run_dir: Path) -> None:
    steps = [
        StepReport(action="start", target="orders-5", reason="more entities"),
        StepReport(action="replace", target="billing", reason="program changed"),
        StepReport(action="stop", target="x-1", reason=""),
        StepReport(action="keep", target="12 entities", reason="untouched"),
    ]

    def plan(request: ControlRequest) -> ControlReply | None:
        return PlanReply(id=request.id, steps=steps) if isinstance(request, GetPlan) else None

    with stand_in(run_dir, answers(report(), plan)):
        printed = command("plan", *SHOP)
        as_json = command("plan", "--json", *SHOP)
    assert (printed.status, printed.err) == (0, ""), printed
    assert printed.out.splitlines() == [
        "+ orders-5 start: more entities",
        "~ billing replace: program changed",
        "- x-1 stop",
        "= 12 entities untouched",
    ]
    assert json.loads(as_json.out)["steps"][1] == {
        "action": "replace",
        "target": "billing",
        "reason": "program changed",
    }


def test_stop_waits_until_the_supervisor_is_gone(command: Command, run_dir: Path) -> None:
    # More than one of each: a busy machine asks for signs of life besides.
    left = itertools.chain([2] * 4, [1] * 4, itertools.repeat(0))

    def draining(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, Stop):
            assert request.now
            yield Accepted(id=request.id, message="stops", generation=3)
            return
        number = next(left)
        if not number:
            raise End
        entities = [entity(f"orders-{n}", state="draining") for n in range(number)]
        yield StatusReply(id=request.id, report=report(state="draining", entities=entities))

    with stand_in(run_dir, draining):
        done = command("stop", "--now", *SHOP)
    assert done.status == 0, done
    assert done.err.splitlines() == [
        "stops",
        "draining: orders-0 draining (1 activity), orders-1 draining (1 activity)",
        "draining: orders-0 draining (1 activity)",
        "the fleet shop has stopped",
    ]


def test_a_supervisor_that_is_gone_at_once_has_stopped(command: Command, run_dir: Path) -> None:
    def stop(request: ControlRequest) -> Iterator[ControlReply]:
        yield from ()
        raise End

    with stand_in(run_dir, stop):
        done = command("stop", *SHOP)
    assert (done.status, done.err) == (0, "the fleet shop has stopped\n"), done


def test_ctrl_c_while_it_drains_says_that_it_goes_on(command: Command, run_dir: Path) -> None:
    def accept(request: ControlRequest) -> ControlReply | None:
        return Accepted(id=request.id, message="stops", generation=3)

    drains = report(state="draining", entities=[entity(state="draining")])
    with stand_in(run_dir, answers(drains, accept)), command.running("stop", *SHOP) as stopping:
        assert stopping.stderr is not None
        said = [stopping.stderr.readline() for _ in range(2)]
        assert said[1].startswith("draining: orders-1"), said
        stopping.send_signal(signal.SIGINT)
        _, err = stopping.communicate(timeout=20)
    assert stopping.returncode == 130
    assert "the fleet goes on draining" in err
    assert "temporal-fleet stop --now --fleet shop" in err


def test_events_are_printed_until_the_fleet_ends(command: Command, run_dir: Path) -> None:
    happened = [
        EventReport(
            time=1.5, kind="ready", level="info", message="is ready", entity="orders-1", incarnation=2
        ),
        EventReport(time=2.5, kind="reload", level="warning", message="reloads"),
    ]
    with stand_in(run_dir, answers(report()), happened):
        printed = command("events", *SHOP)
    assert printed.status == 0, printed
    first, second = printed.out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:01\.500 info     orders-1\.2  ready  is ready", first)
    assert re.fullmatch(r"\d\d:\d\d:02\.500 warning  fleet  reload  reloads", second)
    with stand_in(run_dir, answers(report()), happened):
        as_json = command("events", "--json", "-f", *SHOP)
    assert [json.loads(line)["kind"] for line in as_json.out.splitlines()] == ["ready", "reload"]


def test_dump_reads_what_was_appended(command: Command, run_dir: Path, tmp_path: Path) -> None:
    stacks = tmp_path / "orders-1.2.stacks"
    stacks.write_text("older\n")

    def dump(request: ControlRequest) -> ControlReply | None:
        assert isinstance(request, DumpStacks)
        with stacks.open("a") as file:
            file.write("Thread 1:\n")
        return StacksReply(id=request.id, pid=os.getpid(), path=str(stacks), offset=len("older\n"))

    with stand_in(run_dir, answers(report(entities=[entity()]), dump)):
        printed = command("dump", "orders-1", *SHOP)
    assert (printed.status, printed.out) == (0, "Thread 1:\n"), printed


def test_dump_says_why_nothing_comes(command: Command, run_dir: Path, tmp_path: Path) -> None:
    # The stand-in's parent, this test, is alive and writes nothing.
    def dump(request: ControlRequest) -> ControlReply | None:
        return StacksReply(id=request.id, pid=os.getppid(), path=str(tmp_path / "none"), offset=0)

    with stand_in(run_dir, answers(report(entities=[entity()]), dump)):
        told = command("dump", "orders-1", *SHOP)
    assert told.status == 1, told
    assert f"orders-1 (PID {os.getpid()}) wrote no stacks within 5 s" in told.err


def test_completion_offers_what_runs(command: Command, run_dir: Path) -> None:
    def offered(words: str) -> list[str]:
        done = command(
            _TEMPORAL_FLEET_COMPLETE="bash_complete",
            COMP_WORDS=f"temporal-fleet {words}",
            COMP_CWORD=str(len(words.split(" "))),
        )
        return [line.split(",", 1)[1] for line in done.out.splitlines() if line]

    status = report(pools=[pool(), pool("billing")], entities=[entity(), entity("billing-1")])
    wanted = {
        "dump --fleet shop or": ["orders-1"],
        "restart --fleet shop b": ["billing", "billing-1"],
        "scale --fleet shop or": ["orders=1"],
        "drain --fleet shop b": ["billing"],
        "reload --fleet shop --force or": ["orders"],
        "quiet --fleet shop b": ["billing-1"],
        "evict --fleet shop or": ["orders", "orders-1"],
        "executions --fleet shop billing-": ["billing-1"],
        "status --fleet s": ["shop"],
        "status --fleet x": [],
    }
    with stand_in(run_dir, answers(status)):
        for words, names in wanted.items():
            # Who presses Tab waits for half a second, which a busy machine may need; and presses it again.
            wait_until(lambda: offered(words) == names, what=f"{words}: {names}")  # noqa: B023
    assert offered("status --fleet s") == [], "it runs no more"


def test_many_looks_disturb_no_supervisor(command: Command, run_dir: Path) -> None:
    """Looking at a run directory connects and goes away: the sockets and the lock must bear it."""
    from temporal_fleet.supervisor.cli.presence import Listening, look

    with stand_in(run_dir, answers(report())) as pid:
        for _ in range(200):
            assert look(RunDirectory(run_dir)) == Listening(pid)
        wait_until(lambda: command("status", *SHOP).status == 0, what="it still answers")
