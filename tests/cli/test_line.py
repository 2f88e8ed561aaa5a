"""What a process says before its end is heard after it, however slow our own I/O thread is."""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq

from temporal_fleet.supervisor.cli.line import Ended, Line
from tests.waiting import wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
PR_SET_PTRACER = 0x59616D61
WALL = 0x40000000


def test_the_last_words_are_heard_after_the_end(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/words"
    with talker(address, tmp_path) as pid, closing(Line(zmq.SUB, address, pid)) as line:
        assert line.answered_within(10)
        wait_until((tmp_path / "heard").exists, what="the talker knows who listens")
        with frozen(io_threads(), tmp_path):
            (tmp_path / "speak").touch()
            assert line.life.ended_within(10)
            (tmp_path / "ended").touch()
            assert line.receive(0) == b"last words"
        with pytest.raises(Ended):
            line.receive(0)


def test_one_that_never_spoke_has_ended(tmp_path: Path) -> None:
    with talker(f"ipc://{tmp_path}/words", tmp_path) as pid:
        os.kill(pid, signal.SIGKILL)
        with closing(Line(zmq.SUB, f"ipc://{tmp_path}/nobody", pid)) as line:
            assert line.life.ended_within(10)
            with pytest.raises(Ended):
                line.receive(0)


@contextmanager
def talker(address: str, folder: Path) -> Iterator[int]:
    """Speaks when it is told to, and ends."""

    def talk() -> None:
        with zmq.Context() as context, context.socket(zmq.XPUB) as words:
            words.bind(address)
            words.recv()
            (folder / "heard").touch()
            wait_until((folder / "speak").exists)
            words.send(b"last words")

    with child(talk) as pid:
        yield pid


def io_threads() -> list[int]:
    tasks = Path("/proc/self/task")
    return [int(each.name) for each in tasks.iterdir() if "ZMQbg/IO" in (each / "comm").read_text()]


@contextmanager
def frozen(threads: list[int], folder: Path) -> Iterator[None]:
    """These threads of ours stand still until the end is known, and a while longer: a process traces them."""
    assert threads

    def trace() -> None:
        wait_until((folder / "allowed").exists)
        for thread in threads:
            assert LIBC.ptrace(PTRACE_SEIZE, thread, 0, 0) == 0, os.strerror(ctypes.get_errno())
            assert LIBC.ptrace(PTRACE_INTERRUPT, thread, 0, 0) == 0, os.strerror(ctypes.get_errno())
            os.waitpid(thread, WALL)
        (folder / "frozen").touch()
        wait_until((folder / "ended").exists)
        time.sleep(0.2)  # Whoever does not wait hears nothing, whenever this ends.

    with child(trace) as pid:
        # Where Yama lets a process be traced by its ancestors only.
        LIBC.prctl(PR_SET_PTRACER, pid, 0, 0, 0)
        (folder / "allowed").touch()
        wait_until((folder / "frozen").exists, what="our I/O threads stand still")
        yield


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
