"""Which process is meant: not its zombie, not another one with its PID, not one before a reboot."""

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from temporal_fleet.protocol.process import ProcessIdentity, boot_id, is_alive, own_identity, start_time
from tests.waiting import wait_until

PR_SET_NAME = 15


def fork_sleeper(name: bytes | None = None) -> int:
    """A child that waits for a signal, under any name."""
    ready, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if name is not None:
                ctypes.CDLL(None).prctl(PR_SET_NAME, name)
            os.write(written, b"x")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(written)
    os.read(ready, 1)
    os.close(ready)
    return pid


@pytest.fixture
def sleeper() -> Iterator[int]:
    pid = fork_sleeper()
    yield pid
    end(pid)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def identity(pid: int) -> ProcessIdentity:
    started = start_time(pid)
    assert started is not None
    return ProcessIdentity(pid=pid, start_time=started, boot_id=boot_id())


def test_we_live() -> None:
    assert own_identity().pid == os.getpid()
    assert is_alive(own_identity())


def test_a_child_lives_until_it_is_killed(sleeper: int) -> None:
    of_child = identity(sleeper)
    assert is_alive(of_child)
    end(sleeper)
    assert not is_alive(of_child)


def test_a_zombie_is_dead_though_its_pid_is_taken(sleeper: int) -> None:
    of_child = identity(sleeper)
    os.kill(sleeper, signal.SIGKILL)
    wait_until(lambda: not is_alive(of_child), what="the zombie to count as dead")
    assert Path(f"/proc/{sleeper}").exists()
    assert start_time(sleeper) is None


def test_another_process_with_its_pid_is_not_it(sleeper: int) -> None:
    former = msgspec.structs.replace(identity(sleeper), start_time=identity(sleeper).start_time - 1)
    assert not is_alive(former)


def test_a_process_before_the_reboot_is_not_it(sleeper: int) -> None:
    former = msgspec.structs.replace(identity(sleeper), boot_id="1" * 36)
    assert not is_alive(former)


def test_no_process_has_no_start() -> None:
    pid = fork_sleeper()
    end(pid)
    assert start_time(pid) is None


@pytest.mark.parametrize("name", [b"a) R 1 2 (b", b")", b"caf\xc3", b"\xff\xfe", b"new\nline", b" "])
def test_a_process_of_any_name_is_understood(name: bytes) -> None:
    pid = fork_sleeper(name)
    try:
        assert is_alive(identity(pid))
        assert abs(identity(pid).start_time - own_identity().start_time) < 1e9
    finally:
        end(pid)
