"""A real process at the other end of a real pair, well-behaved or not."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from temporal_fleet.protocol.helpers import Forked, ForkEntity, FromForkServer
from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, Limits, ProgramSpec
from temporal_fleet.supervisor.shell.helper_process import HelperGone, HelperProcess
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
MANY = 600
"""More orders than a pair has room for."""


@contextmanager
def helper(name: str) -> Iterator[HelperProcess]:
    environment = {"PYTHONPATH": str(REPOSITORY)}
    process = HelperProcess(f"tests.shell.helpers.{name}", FromForkServer, environment)
    try:
        yield process
    finally:
        process.kill()
        status(process)


def status(process: HelperProcess) -> int | None:
    """Its exit status, or minus the signal, once it ended; None when it was waited for before."""
    try:
        _, raw = os.waitpid(process.pid, 0)
    except ChildProcessError:
        return None
    process.was_waited_for()
    return os.waitstatus_to_exitcode(raw)


def order(incarnation: int) -> ForkEntity:
    program = ProgramSpec(program="shop", path="/", task_queue="orders")
    return ForkEntity(
        spec=EntitySpec(
            fleet="test",
            entity="orders-1",
            incarnation=incarnation,
            run_dir="/run/" + "x" * 1000,
            supervisor_pid=1,
            cluster=ClusterSpec(),
            program=program,
            drain=1.0,
            orphan=1.0,
            log_format="json",
        )
    )


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_orders_go_out_and_announcements_come_in() -> None:
    with helper("announcer") as process:
        process.send(order(1))
        assert select.select([process], [], [], 20)[0]
        assert process.receive() == [Forked(entity="orders-1", incarnation=1, pid=1)]
        assert process.receive() == []
        process.stop()
        assert status(process) == 5


def test_a_helper_that_does_not_read_holds_nobody_up() -> None:
    with helper("deaf") as process:
        for incarnation in range(MANY):
            process.send(order(incarnation))
        assert process.is_behind
        process.flush()
        assert process.listens


def test_what_the_pair_has_no_room_for_is_sent_later_and_in_order() -> None:
    with helper("announcer") as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: stopped(process.pid), what="it stands still")
        for incarnation in range(MANY):
            process.send(order(incarnation))
        assert process.is_behind
        os.kill(process.pid, signal.SIGCONT)
        told: list[Any] = []
        while len(told) < MANY:
            writing = [process] if process.is_behind else []
            reading, writable, _ = select.select([process], writing, [], 20)
            assert reading or writable, f"it answered {len(told)} orders"
            process.flush()
            told += process.receive()
        assert [message.incarnation for message in told] == list(range(MANY))
        assert not process.is_behind


def test_one_that_floods_rubbish_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    with helper("rubbish") as process:
        while process.listens:
            assert select.select([process], [], [], 20)[0]
            assert process.receive() == []
        assert status(process) == -signal.SIGKILL
    assert "dropped a frame" in capfd.readouterr().err


def test_one_that_closes_its_pair_and_stays_is_killed_and_not_polled() -> None:
    with helper("hangs_up") as process:
        assert select.select([process], [], [], 20)[0]
        assert process.receive() == []
        assert not process.listens
        assert status(process) == -signal.SIGKILL


def test_an_order_for_one_that_is_gone_is_refused() -> None:
    with helper("hangs_up") as process:
        select.select([process], [], [], 20)
        with pytest.raises(HelperGone):
            process.send(order(1))
        assert not process.is_behind
        assert status(process) == -signal.SIGKILL


def test_what_it_said_before_its_end_is_heard() -> None:
    with helper("announcer") as process:
        process.send(order(1))
        assert select.select([process], [], [], 20)[0]
        process.kill()
        os.waitpid(process.pid, 0)
        assert process.was_waited_for() == [Forked(entity="orders-1", incarnation=1, pid=1)]


def test_one_that_was_told_to_go_is_heard_to_the_end_and_not_polled() -> None:
    with helper("announcer") as process:
        process.send(order(1))
        assert select.select([process], [], [], 20)[0]
        process.stop()
        assert not process.listens
        assert process.receive() == [Forked(entity="orders-1", incarnation=1, pid=1)]
        assert status(process) == 5


def test_it_gets_no_descriptor_of_ours_but_its_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    with ours, theirs, helper("deaf") as process:
        folder = Path(f"/proc/{process.pid}/fd")

        def only_its_own() -> bool:
            numbers = {int(entry.name) for entry in folder.iterdir()}
            return {0, 1, 2} < numbers and len(numbers) == 4

        wait_until(only_its_own, what="three streams and the pair")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(user="no-such-user"), "there is no user no-such-user"),
        (Limits(cpus=(9999,)), "its `resources` cannot be had: .*Invalid argument"),
    ],
)
def test_one_that_cannot_be_confined_is_not_started_and_says_why(limits: Limits, reason: str) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match=reason):
        HelperProcess("tests.shell.helpers.deaf", FromForkServer, {}, limits)
    # Rubbish of other tests may go meanwhile.
    assert set(Path("/proc/self/fd").iterdir()) <= before
