"""Real children: who they are, how they ended, what they leave behind."""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from temporal_fleet.supervisor.core.fleet import AGENT
from temporal_fleet.supervisor.shell.children import (
    Children,
    Ended,
    HelperLife,
    become_subreaper,
    kill_children,
    marked,
)
from tests.shell.processes import (
    SLEEP,
    ended_after,
    identity,
    is_gone,
    life,
    nothing_announced,
    pid_in,
    reap,
    shell,
    sleeper,
    wait_for_zombie,
)
from tests.waiting import wait_until

_PR_SET_CHILD_SUBREAPER = 36
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def subreaper() -> Iterator[None]:
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_the_exit_code_is_told() -> None:
    children = Children()
    pid = shell("exit 3")
    children.claim(pid, life(1))
    assert reap(children) == Ended(life(1), pid, 3, None)


def test_the_signal_is_told_by_name() -> None:
    children = Children()
    pid = shell(SLEEP)
    children.claim(pid, life(1))
    assert children.signal(life(1), signal.SIGTERM)
    assert reap(children) == Ended(life(1), pid, None, "SIGTERM")
    assert not children.signal(life(1), signal.SIGTERM)
    assert not children.kill(life(1))


def test_a_real_time_signal_has_no_name_and_is_told_all_the_same() -> None:
    children = Children()
    pid = shell(SLEEP)
    children.claim(pid, life(1))
    children.signal(life(1), signal.SIGRTMIN + 3)
    assert reap(children).signal == f"signal {signal.SIGRTMIN + 3}"


def test_one_that_was_dead_before_it_was_announced_is_known() -> None:
    children = Children()
    pid = shell("exit 7", setsid=True)
    wait_for_zombie(pid)
    ended = list(children.reap(lambda: children.claim(pid, life(1))))
    assert ended == [Ended(life(1), pid, 7, None)]


def test_one_that_nobody_announces_is_waited_for_and_not_told() -> None:
    children = Children()
    pid = shell("exit 7")
    wait_for_zombie(pid)
    assert list(children.reap(nothing_announced)) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_orphans_become_our_children(subreaper: None, tmp_path: Path) -> None:
    parent = shell(f"sleep 600 & echo $! > {tmp_path}/pid")
    os.waitpid(parent, 0)
    orphan = pid_in(tmp_path / "pid")
    with ended_after(orphan):
        assert psutil.Process(orphan).ppid() == os.getpid()


@pytest.mark.parametrize("announced_late", [False, True])
def test_what_a_dead_entity_leaves_in_its_session_goes_with_it(
    subreaper: None, tmp_path: Path, announced_late: bool
) -> None:
    children = Children()
    entity = shell(f"sleep 600 & echo $! > {tmp_path}/pid; {SLEEP}", setsid=True)
    leftover = pid_in(tmp_path / "pid")
    with ended_after(entity, leftover):
        os.kill(entity, signal.SIGKILL)
        wait_for_zombie(entity)
        if not announced_late:
            children.claim(entity, life(1))
        ended = [e.pid for e in children.reap(lambda: children.claim(entity, life(1)))]
        assert ended == [entity]
        wait_until(lambda: is_gone(leftover), what="the leftover is gone")


def test_a_helper_leaves_its_group_alone(subreaper: None, tmp_path: Path) -> None:
    """What a fork server forked is in its group for an instant, and is not its to take along."""
    children = Children()
    helper = shell(f"sleep 600 & echo $! > {tmp_path}/pid; {SLEEP}", setsid=True)
    other = pid_in(tmp_path / "pid")
    with ended_after(helper, other):
        children.claim(helper, HelperLife(AGENT, 1))
        children.kill(HelperLife(AGENT, 1))
        assert reap(children).pid == helper
        assert not is_gone(other)


def test_a_child_of_who_was_this_process_before_is_claimed_alive_or_dead(tmp_path: Path) -> None:
    children = Children()
    alive, dead = shell(SLEEP), shell("exit 7")
    with ended_after(alive):
        wait_for_zombie(dead)
        living = identity(alive)
        stat = Path(f"/proc/{dead}/stat").read_bytes().rpartition(b")")[2].split()
        gone = msgspec.structs.replace(living, pid=dead, start_time=int(stat[19]))
        assert children.claim_if_ours(living, life(1))
        # Another process with its PID is not it, nor is one from before a reboot.
        assert not children.claim_if_ours(msgspec.structs.replace(gone, start_time=1), life(2))
        assert not children.claim_if_ours(msgspec.structs.replace(gone, boot_id="0" * 36), life(2))
        assert not children.claim_if_ours(identity(os.getpid()), life(2))
        assert children.claim_if_ours(gone, life(2))
        assert reap(children) == Ended(life(2), dead, 7, None)
        assert children.pid_of(life(1)) == alive


def test_one_that_is_no_child_of_ours_gets_its_signals_and_is_known_once(
    subreaper: None, tmp_path: Path
) -> None:
    children = Children()
    process = identity(os.getppid())
    assert children.watch_foreign(process, life(1)) is not None
    children.greeted(process.pid, life(1))
    assert children.lives() == [life(1)]
    assert children.pid_of(life(1)) == process.pid
    assert children.signal(life(1), 0)


def test_marked_children_are_told_by_their_command_lines_and_killed_alone() -> None:
    titled, named, other = (sleeper(name) for name in ("MARK-us", "a name of ours", "else"))
    with ended_after(titled, named, other):
        wait_until(lambda: {*marked("MARK-us", "of ours")} == {titled, named}, what="they are seen")
        kill_children([titled])
        wait_until(lambda: is_gone(titled), what="it is gone")
        assert not is_gone(named)
        assert not is_gone(other)


def test_a_foreign_process_is_watched_and_killed_with_its_group(tmp_path: Path) -> None:
    # The child of our child is nobody that we could wait for.
    script = f"sleep 600 & echo $! > {tmp_path}/member; echo $$ > {tmp_path}/leader; {SLEEP}"
    parent = shell(f"setsid sh -c '{script}' & wait")
    leader, member = pid_in(tmp_path / "leader"), pid_in(tmp_path / "member")
    children = Children()
    with ended_after(parent):
        pidfd = children.watch_foreign(identity(leader), life(1))
        assert pidfd is not None
        assert not select.select([pidfd], [], [], 0)[0]
        assert children.kill(life(1))
        assert select.select([pidfd], [], [], 20)[0]
        assert children.foreign_ended(pidfd) == Ended(life(1), leader, None, None)
        wait_until(lambda: is_gone(member), what="its group is gone")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(pidfd)


def test_another_process_with_the_pid_of_a_survivor_is_left_alone() -> None:
    pid = shell(SLEEP)
    with ended_after(pid):
        earlier = msgspec.structs.replace(identity(pid), start_time=1)
        children = Children()
        assert children.watch_foreign(earlier, life(1)) is None
        assert not children.kill(life(1))
        assert not is_gone(pid)


def test_a_survivor_that_is_gone_is_not_watched() -> None:
    pid = shell(SLEEP)
    process = identity(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert Children().watch_foreign(process, life(1)) is None


def test_nothing_is_left_by_kill_everything(tmp_path: Path) -> None:
    """In a process of its own: it kills every descendant that there is."""
    a, b = tmp_path / "a", tmp_path / "b"
    tree = f"setsid sleep 601 & echo $! > {a}; sh -c 'sleep 602 & echo $! > {b}; wait'"
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from temporal_fleet.supervisor.shell.children import Children, become_subreaper\n"
        "from tests.shell.processes import pid_in\n"
        "become_subreaper()\n"
        f"os.posix_spawn('/bin/sh', ['sh', '-c', {tree!r}], os.environ)\n"
        f"pid_in(Path({str(a)!r})), pid_in(Path({str(b)!r}))\n"
        "Children().kill_everything()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert is_gone(pid_in(tmp_path / "a"))
    assert is_gone(pid_in(tmp_path / "b"))


def test_who_is_no_descendant_of_ours_is_no_entity_whoever_says_so(subreaper: None, tmp_path: Path) -> None:
    """We may be root, and would kill whom a program names."""
    children = Children()
    for stranger in (os.getppid(), os.getpid(), 1, 0, -1, 1 << 40):
        assert not children.may_be_new(stranger)
    parent = shell(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    with ended_after(parent):
        child = pid_in(tmp_path / "pid")
        with ended_after(child):
            assert children.may_be_new(parent)
            assert children.may_be_new(child)
            children.claim(child, life(1))
            assert not children.may_be_new(child)


def test_an_entity_that_nobody_announced_is_known_by_its_greeting() -> None:
    children = Children()
    pid = sleeper("MARK-greeted")
    with ended_after(pid):
        children.greeted(pid, life(1))
        assert children.is_known(pid)
        assert children.pid_of(life(1)) == pid
        assert children.kill(life(1))
        assert reap(children) == Ended(life(1), pid, None, "SIGKILL")
        assert children.pid_of(life(1)) is None


def test_a_greeting_with_the_pid_of_a_stranger_is_not_believed() -> None:
    children = Children()
    children.greeted(os.getppid(), life(1))
    children.greeted(1 << 40, life(2))
    assert not children.kill(life(1))
    assert not children.kill(life(2))
