"""Real processes for the shell's tests, as bare children: the code under test waits for them, nobody else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from temporal_fleet.protocol.process import ProcessIdentity, boot_id, start_time
from temporal_fleet.supervisor.shell.children import Children, Ended, EntityLife
from tests.waiting import wait_until

SLEEP = "exec sleep 600"


def shell(script: str, *, setsid: bool = False) -> int:
    """The PID of a child that runs a shell script."""
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ, setsid=setsid)


def sleeper(name: str) -> int:
    """The PID of a child that sleeps, with this name in its command line."""
    return os.posix_spawn("/bin/sleep", [name, "600"], os.environ)


def wait_for_zombie(pid: int) -> None:
    """Until it has ended, leaving it to be waited for."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def identity(pid: int) -> ProcessIdentity:
    started = start_time(pid)
    assert started is not None
    return ProcessIdentity(pid=pid, start_time=started, boot_id=boot_id())


def is_gone(pid: int) -> bool:
    return start_time(pid) is None


def nothing_announced() -> None:
    """For `reap`, where every child was claimed before."""


def reap(children: Children) -> Ended:
    """The next known child that ends."""
    ended = wait_until(lambda: list(children.reap(nothing_announced)), what="a child ended")
    assert len(ended) == 1
    return ended[0]


def pid_in(file: Path) -> int:
    """The PID that a script writes to a file."""
    return int(wait_until(lambda: file.read_text() if file.exists() else "", what=f"a PID in {file}"))


@contextmanager
def ended_after(*pids: int) -> Iterator[None]:
    """However the test goes, these children do not outlive it."""
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def life(number: int) -> EntityLife:
    return EntityLife(f"orders-{number}", 1)
