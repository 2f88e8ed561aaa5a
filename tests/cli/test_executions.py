"""`executions` reads black boxes on disk, of those entities of which a stand-in for the supervisor says that
they live."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import msgspec
import pytest

from temporal_fleet.protocol.control import StatusReply
from temporal_fleet.protocol.holdings import ExecutionState
from temporal_fleet.protocol.report import ExecutionReport, StatusReport
from temporal_fleet.supervisor.cli.columns import lines
from tests.cli.boxes import box, cached
from tests.cli.command import ARGV, Command
from tests.cli.wire import answers, entity, pool, report, stand_in

SHOP = ("--fleet", "shop")
UUID = "0199a7c4-5e1b-7d2a-9f3e-4b5c6d7e8f90"


def status(run_dir: Path) -> StatusReport:
    """Two pools: orders-1, orders-2 and billing-1 live, orders-3 does not."""
    entities = [entity(), entity("orders-2"), entity("orders-3", state="backoff"), entity("billing-1")]
    made = report(pools=[pool(), pool("billing")], entities=entities)
    return msgspec.structs.replace(made, fleet=msgspec.structs.replace(made.fleet, run_dir=str(run_dir)))


@pytest.fixture
def fleet(run_dir: Path) -> StatusReport:
    box(run_dir, "orders-1", cached("a", idle=5, age=400, history=30), cached("b", idle=600, age=700))
    box(
        run_dir,
        "orders-2",
        cached("c", state=ExecutionState.RUNNING, idle=0, age=500, history=12, replayed=8),
        cached("d", idle=7200, age=9000, closed=True),
    )
    box(run_dir, "orders-2", cached("of-a-former-life"), incarnation=1)
    box(run_dir, "orders-3", cached("of-the-dead"))
    box(run_dir, "billing-1", cached("e", idle=61, age=61, history=5))
    return status(run_dir)


def ids(printed: str) -> list[str]:
    return [line.split()[1] for line in printed.splitlines()[1:]]


def test_the_executions_of_all_that_live_the_longest_idle_first(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    with stand_in(run_dir, answers(fleet)):
        shown = command("executions", *SHOP)
    assert (shown.status, shown.err) == (0, ""), shown
    assert ids(shown.out) == ["d", "b", "e", "a", "c"]
    title, first, *_, last = shown.out.splitlines()
    assert title.split() == [
        *("entity", "workflow", "id", "run", "id", "type", "state", "idle", "age", "history", "replayed")
    ]
    assert re.fullmatch(r"orders-2 +d +run-of-d +OrderWorkflow +closed +2h00m +2h30m +9 +0", first)
    assert re.fullmatch(r"orders-2 +c +run-of-c +OrderWorkflow +running +\d+m?s +8m[2-5]\ds +12 +8", last)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("orders",), "dbac"),
        (("orders-2",), "dc"),
        (("billing",), "e"),
        (("--blocked",), "dbea"),
        (("--sort", "history"), "acdbe"),
        (("--sort", "age"), "dbcae"),
        (("orders", "--blocked", "--sort", "history"), "adb"),
    ],
    ids=str,
)
def test_some_of_them_in_another_order(
    command: Command, run_dir: Path, fleet: StatusReport, words: tuple[str, ...], expected: str
) -> None:
    with stand_in(run_dir, answers(fleet)):
        shown = command("executions", *words, *SHOP)
        as_json = command("executions", *words, "--json", *SHOP)
    found = [each["workflow_id"] for each in json.loads(as_json.out)]
    if "--sort" in words and "history" in words:
        # Equal histories stand in any order.
        assert [each[0] for each in (ids(shown.out), found)] == ["a", "a"]
        assert sorted(ids(shown.out)) == sorted(found) == sorted(expected)
    else:
        assert ids(shown.out) == found == list(expected)


def test_json_is_a_list_of_reports(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    with stand_in(run_dir, answers(fleet)):
        printed = command("executions", "orders-1", "--json", *SHOP)
    first, second = msgspec.json.decode(printed.out, type=list[ExecutionReport])
    assert (first.entity, first.pool, first.run_id, first.state) == (
        "orders-1",
        "orders",
        "run-of-b",
        "blocked",
    )
    assert 600 <= first.idle_s < 660
    assert 700 <= first.age_s < 760
    assert (second.workflow_id, second.history_events, second.closed) == ("a", 30, False)


def test_what_is_not_there_any_more_is_left_out(command: Command, run_dir: Path) -> None:
    box(run_dir, "orders-1", cached("a"))
    with stand_in(run_dir, answers(status(run_dir))):
        shown = command("executions", *SHOP)
        none = command("executions", "orders-2", *SHOP)
        empty = command("executions", "orders-2", "--json", *SHOP)
        nobody = command("executions", "nobody", *SHOP)
    assert (shown.status, shown.err, ids(shown.out)) == (0, "", ["a"]), shown
    assert (none.status, none.out) == (0, ""), none
    assert "no execution is cached" in none.err
    assert json.loads(empty.out) == []
    assert nobody.status == 2, nobody
    assert "no pool or entity is named nobody" in nobody.err


def test_a_list_that_is_not_complete_says_so(command: Command, run_dir: Path) -> None:
    full = box(run_dir, "orders-1", cached("a"))
    while not full.unrecorded:
        full.hold_execution(cached("x" * 900))
    (run_dir / "entities" / "orders-2.2.blackbox").write_bytes(b"rubbish" * 1000)
    with stand_in(run_dir, answers(status(run_dir))):
        shown = command("executions", *SHOP)
        quiet = command("executions", "billing", "--json", *SHOP)
    assert shown.status == 0, shown.err
    assert "orders-1: the black box had no room for 1 activity or execution" in shown.err
    assert "orders-2: what it holds cannot be told: " in shown.err
    assert "a" in ids(shown.out)
    assert quiet.err == ""


def test_no_name_of_a_user_steers_the_terminal(command: Command, run_dir: Path) -> None:
    box(run_dir, "orders-1", cached("one\ntwo\x1b[2J"), cached("注文"))
    with stand_in(run_dir, answers(status(run_dir))):
        shown = command("executions", *SHOP)
    assert r"one\ntwo\x1b[2J" in shown.out
    assert "\x1b" not in shown.out
    assert len(shown.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("sort", "titles"),
    [
        ("idle", "entity workflow id type state idle"),
        ("history", "entity workflow id state idle history"),
        ("age", "entity workflow id state idle age"),
    ],
)
def test_a_terminal_of_80_columns(command: Command, run_dir: Path, sort: str, titles: str) -> None:
    box(run_dir, "orders-1", cached(UUID, run_id=UUID))
    with stand_in(run_dir, answers(status(run_dir))):
        printed = on_a_terminal(command, "executions", "--sort", sort, *SHOP)
    title, row = printed.splitlines()
    assert title.split() == titles.split()
    assert row.startswith(f"orders-1  {UUID}  ")
    assert len(row) <= 80, "a line is a row"


def on_a_terminal(command: Command, *words: str, columns: int = 80) -> str:
    """What the command writes to a terminal that is so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        process = subprocess.Popen(
            [*ARGV, *words],
            cwd=command.folder,
            env={**command.environ, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    written = b""
    try:
        while chunk := _read(ours):
            written += chunk
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Nobody holds the other end any more.
        return b""


def test_watching_in_a_pipe_prints_a_document_a_line(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    with (
        stand_in(run_dir, answers(fleet)) as pid,
        command.running("executions", "billing", "--watch", "--json", *SHOP) as watcher,
    ):
        assert watcher.stdout is not None
        found = [json.loads(watcher.stdout.readline()) for _ in range(2)]
        assert [[each["workflow_id"] for each in one] for one in found] == [["e"], ["e"]]
        os.kill(pid, signal.SIGKILL)
        _, err = watcher.communicate(timeout=20)
    assert watcher.returncode == 1
    assert f"the supervisor (PID {pid}) has ended" in err


def test_watching_prints_a_list_after_the_other(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    with stand_in(run_dir, answers(fleet)), command.running("executions", "--watch", *SHOP) as watcher:
        assert watcher.stdout is not None
        seen = [watcher.stdout.readline() for _ in range(9)]
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=20)
    assert [line.split()[:2] for line in seen[:2]] == [["entity", "workflow"], ["orders-2", "d"]]
    assert [line.split()[:2] for line in seen[6:]] == [[], ["entity", "workflow"], ["orders-2", "d"]]
    assert (watcher.returncode, err.strip()) == (130, "")


def test_a_list_of_any_length_is_told_at_once() -> None:
    rows = [f"order-{n}" for n in range(50_000)]
    printed = list(lines(rows, {"workflow id": str, "length": lambda row: str(len(row))}, numbers=["length"]))
    assert len(printed) == 50_001
    assert printed[1] == "order-0           7"
    assert printed[-1] == "order-49999      11"


@pytest.mark.parametrize("within", [None, 100, 20, 1])
def test_columns_are_left_out_before_a_cell_is_cut(within: int | None) -> None:
    columns = {title: (lambda row, title=title: f"{title}-{row}") for title in ("one", "two", "three")}
    _, row = lines(["x"], columns, dispensable=["two", "three"], within=within)
    expected = {None: "one-x  two-x  three-x", 100: "one-x  two-x  three-x", 20: "one-x  three-x", 1: "one-x"}
    assert row == expected[within]


def test_the_stand_in_is_asked_for_no_memory(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    """PSS costs the supervisor over a millisecond an entity."""

    def answer(request: object) -> list[StatusReply]:
        assert request.memory is False, request  # type: ignore[attr-defined]
        return [StatusReply(id=request.id, report=fleet)]  # type: ignore[attr-defined]

    with stand_in(run_dir, answer):
        assert command("executions", *SHOP).status == 0
