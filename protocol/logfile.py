"""The files of `[fleet] log_dir`: how they are named, appended to and rotated. Each is written by one
process; what the lines in it are is not known here. That of the dev server, which does not rotate it, is the
supervisor's to bound.

Those of processes that run as another USER stand in a folder of theirs, which has that user's name.

NAME.log        of an entity (`orders-3`), `supervisor`, `agent`, `dev-server`, `fork-server.PROGRAM`
NAME.log.1 …    what it was before, the newest first
"""

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec

from temporal_fleet.protocol.outlet import Outlet
from temporal_fleet.protocol.spec import LogFiles

SUPERVISOR = "supervisor"
AGENT = "agent"
DEV_SERVER = "dev-server"
FORK_SERVER = "fork-server"
HELPERS = frozenset({SUPERVISOR, AGENT, DEV_SERVER, FORK_SERVER})

SUFFIX = ".log"
_LOOK_EVERY = 1.0
"""Seconds between two looks whether the file still stands at its path."""


def files_of(files: LogFiles | None, user: str | None) -> LogFiles | None:
    """Where a process logs that runs as that user; None: as the supervisor does."""
    if files is None or user is None:
        return files
    return msgspec.structs.replace(files, folder=str(Path(files.folder) / user))


def log_path(files: LogFiles, name: str) -> Path:
    return Path(files.folder) / f"{name}{SUFFIX}"


def former(path: Path, number: int) -> Path:
    """The file that a log was so many rotations ago."""
    return path.with_name(f"{path.name}.{number}")


def make_room(path: Path, keep: int) -> None:
    """What a log was before becomes a rotation older. The oldest goes first, so that a SIGKILL in the middle
    leaves a gap, which is filled the next time. Raises OSError."""
    for number in count(keep + 1):
        try:
            former(path, number).unlink()
        except FileNotFoundError:
            break
    gap = next((n for n in range(1, keep) if not former(path, n).exists()), keep)
    for number in range(gap, 1, -1):
        former(path, number - 1).rename(former(path, number))


class LogFile:
    """Appends to one log, and never raises: what a full disk does not take is counted, and told of once.

    A line is with the kernel when `write` returns, so that a SIGKILL costs none. There is no lock that
    another thread, a signal handler or a fork could be caught in: the descriptor stays the same for ever,
    and gets another file under it when the log is rotated.
    """

    def __init__(
        self,
        files: LogFiles,
        name: str,
        elsewhere: int,
        say: Callable[[str], bytes],
        mirrors: tuple[int, ...] = (),
        *,
        stands_in: bool = True,
    ) -> None:
        """`say` makes a line of what the log has to tell of itself, to `elsewhere`; `mirrors`: descriptors
        that are to be the file too. `stands_in`: whether lines go to `elsewhere` where no file can be had."""
        self.path = log_path(files, name)
        self._size = files.size
        self._keep = files.keep
        self._elsewhere = Outlet(elsewhere)
        self._say = say
        self._mirrors = mirrors
        self._lost = 0
        self._torn = False
        self._complained = False
        self._turn = threading.Lock()
        """For who looks after the file. Nobody waits for it."""
        self._descriptor = _duplicate(elsewhere if stands_in else None)
        self._look_at = 0.0
        self._look_after()

    def write(self, line: bytes) -> None:
        try:
            if time.monotonic() >= self._look_at or os.fstat(self._descriptor).st_size >= self._size:
                self._look_after()
            if self._lost:
                told = self._say(f"{self._lost} lines were lost here: {self.path} took none")
                self._append(told)
                self._lost = 0
                self._complained = False
            self._append(line)
        except OSError as error:
            self._lost += 1
            self._complain(f"{self.path} takes no lines ({error.strerror}): they are dropped until it does")

    def close(self) -> None:
        """The mirrors stay what they are."""
        os.close(self._descriptor)

    def _append(self, line: bytes) -> None:
        """At once. Raises OSError; what was written of it then becomes a line of its own."""
        data = b"\n" + line if self._torn else line
        self._torn = os.write(self._descriptor, data) < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _look_after(self) -> None:
        """Open the file where it is not the one that we write to, and rotate it where it is too large."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            self._look_at = time.monotonic() + _LOOK_EVERY
            mine = os.fstat(self._descriptor)
            try:
                there = self.path.stat()
            except FileNotFoundError:
                self._open()
                return
            if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                self._open()
            elif there.st_size >= self._size:
                self._rotate()
                self._open()
        except OSError as error:
            self._complain(f"{self.path} cannot be opened or rotated: {error.strerror}")
        finally:
            self._turn.release()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.dup2(opened, self._descriptor, inheritable=False)
            for mirror in self._mirrors:
                os.dup2(opened, mirror)
        finally:
            os.close(opened)

    def _rotate(self) -> None:
        make_room(self.path, self._keep)
        self.path.rename(former(self.path, 1))

    def _complain(self, text: str) -> None:
        if self._complained:
            return
        self._complained = True
        with suppress(OSError):
            self._elsewhere.write(self._say(text))


def _duplicate(descriptor: int | None) -> int:
    if descriptor is not None:
        # Where there is no such stream, what goes there goes nowhere.
        with suppress(OSError):
            return os.dup(descriptor)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
