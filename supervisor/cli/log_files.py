"""The log files of a fleet, read: their last lines, and what is added, over rotations and in the order of
time. How they are named and rotated stands in protocol.logfile."""

import errno
import heapq
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from temporal_fleet.protocol.logfile import FORK_SERVER, SUFFIX, SUPERVISOR, former
from temporal_fleet.supervisor.cli.log_lines import Choice, Line, origin_of, read_line
from temporal_fleet.supervisor.cli.log_text import (
    begin_of,
    lines_of,
    moment_after,
    reversed_lines,
    whole_lines,
)

_LOOK_EVERY = 0.2
_LINGER = 2.0
"""Seconds for which a file with a successor is read on: its writers have a look every second."""
_BLOCK = 1 << 20


def found(log_dir: Path) -> dict[Path, str]:
    """Every log, and its name: those of other users' processes stand one folder deeper. Raises OSError."""
    # Path.glob takes a folder that it may not read for an empty one.
    with suppress(FileNotFoundError), os.scandir(log_dir):
        pass
    paths = (*log_dir.glob(f"*{SUFFIX}"), *log_dir.glob(f"*/*{SUFFIX}"))
    return {path: path.name.removesuffix(SUFFIX) for path in sorted(paths)}


def pool_of(name: str) -> str:
    """Empty: it is not the log of an entity."""
    pool, _, ordinal = name.rpartition("-")
    return pool if ordinal.isdecimal() else ""


def is_meant(name: str, target: str | None) -> bool:
    """Whether the log of this name is that of the pool, entity or helper."""
    is_fork_server = target == FORK_SERVER and name.startswith(f"{FORK_SERVER}.")
    return target is None or target in {name, pool_of(name)} or is_fork_server


class LogReader:
    """Of the logs in a folder that somebody wants to see; of the supervisor's, what it tells of them."""

    def __init__(
        self, log_dir: Path, target: str | None, choice: Choice, *, is_followed: bool = False
    ) -> None:
        """`is_followed`: whether `follow` comes after `last`, for which a file of each log stays open."""
        self._log_dir = log_dir
        self._target = target
        self._choice = choice
        self._is_followed = is_followed
        self._logs: dict[Path, _Log] = {}

    def last(self, number: int | None) -> Iterator[Line]:
        """The last of what is there; None: all, which is read while it is taken. Raises OSError."""
        if number is None:
            return heapq.merge(*(log.forwards() for log in self._new_logs()), key=_moment)
        lines = [list(reversed(log.backwards(number))) for log in self._new_logs()]
        merged = list(heapq.merge(*lines, key=_moment))
        return iter(merged[len(merged) - min(number, len(merged)) :])

    def follow(self) -> Iterator[Line]:
        """What comes after `last`, until the iterator is closed. Raises OSError."""
        try:
            while True:
                added = [line for log in self._logs.values() for line in log.added()]
                # A log that is new is read from its beginning.
                added += [line for log in self._new_logs() for line in log.added()]
                yield from sorted(added, key=_moment)
                time.sleep(_LOOK_EVERY)
        finally:
            for log in self._logs.values():
                log.close()

    def _new_logs(self) -> list["_Log"]:
        new = {}
        for path, name in found(self._log_dir).items():
            is_told_of = is_meant(name, self._target)
            if path not in self._logs and (is_told_of or name == SUPERVISOR):
                choice = self._choice if is_told_of else replace(self._choice, target=self._target)
                new[path] = _Log(path, name, choice, is_followed=self._is_followed)
        self._logs.update(new)
        return list(new.values())


@dataclass
class _Tail:
    """An open file of a log, and how far it is read."""

    file: int
    offset: int = 0
    begun: bytes = b""
    """The line that is not whole yet."""
    until: float = math.inf
    """When it is read no more, of one that has a successor."""
    changed: int = 0
    """When it had last been written to, as it was last read: nanoseconds since the epoch."""

    def read_on(self) -> list[bytes]:
        """The whole lines that came since."""
        status = os.fstat(self.file)
        self.changed = status.st_mtime_ns
        if status.st_size < self.offset:
            # Rotated by a copy, as the dev server's is, which goes on in the same file.
            self.offset, self.begun = 0, b""
        found: list[bytes] = []
        while block := os.pread(self.file, _BLOCK, self.offset):
            self.offset += len(block)
            *lines, self.begun = (self.begun + block).split(b"\n")
            found += lines
        return found


class _Log:
    """One log over its rotations. Reads on from where it was read to, in the file that it was then."""

    def __init__(self, path: Path, name: str, choice: Choice, *, is_followed: bool) -> None:
        self._path = path
        self._choice = choice
        self._is_followed = is_followed
        self._origin = origin_of(name)
        self._tails: list[_Tail] = []
        """The oldest first."""
        self._moment = time.time()
        """Of the last line that told it."""

    def backwards(self, number: int) -> list[Line]:
        """The last of them, the newest first."""
        lines: list[Line] = []
        files, end = self._begin()
        try:
            moment = os.fstat(files[0]).st_mtime if files else math.inf
            for position, file in enumerate(files):
                for text in reversed_lines(file, os.fstat(file).st_size if position else end):
                    is_early = self._choice.since is not None and moment < self._choice.since
                    if len(lines) == number or is_early:
                        return lines
                    line = read_line(text, moment, self._origin)
                    moment = line.moment
                    if self._choice.takes(line):
                        lines.append(line)
        finally:
            _close(files)
        return lines

    def forwards(self) -> Iterator[Line]:
        """All of them, the oldest first."""
        files, end = self._begin()
        try:
            self._leave_early(files)
            while files:
                file_end = end if len(files) == 1 else os.fstat(files[-1]).st_size
                yield from filter(self._choice.takes, self._read(files[-1], file_end))
                os.close(files.pop())
        finally:
            _close(files)

    def _begin(self) -> tuple[list[int], int]:
        """Each file, the newest first, and how far that is to be read: what comes later is `added`'s."""
        files, _ = self._open_all()
        if not files:
            return [], 0
        status = os.fstat(files[0])
        if not self._is_followed:
            return files, status.st_size
        end = whole_lines(files[0])
        self._tails.append(_Tail(os.dup(files[0]), end, changed=status.st_mtime_ns))
        return files, end

    def _leave_early(self, files: list[int]) -> None:
        """Close the files in which all is older than what is wanted."""
        since = self._choice.since
        if since is None:
            return
        for position, file in enumerate(files):
            first = moment_after(file, 0, os.fstat(file).st_size)
            if first is not None and first < since:
                _close(files[position + 1 :])
                del files[position + 1 :]
                return

    def _read(self, file: int, end: int) -> Iterator[Line]:
        """As backwards, a line that does not tell its moment has that of the next that does."""
        waiting: list[bytes] = []
        begin = 0 if self._choice.since is None else begin_of(file, end, self._choice.since)
        for text in lines_of(file, begin, end):
            line = read_line(text, math.inf, self._origin)
            if line.moment == math.inf:
                waiting.append(text)
                continue
            yield from (read_line(each, line.moment, self._origin) for each in waiting)
            waiting.clear()
            yield line
        yield from (read_line(each, os.fstat(file).st_mtime, self._origin) for each in waiting)

    def added(self) -> list[Line]:
        # In this order: what is said between a look at the end of a file and its rotation is read as well.
        self._turn_to_newer()
        texts = [text for tail in self._tails for text in tail.read_on()]
        while self._tails and time.monotonic() >= self._tails[0].until:
            os.close(self._tails.pop(0).file)
        read = []
        for text in texts:
            line = read_line(text, self._moment, self._origin)
            self._moment = line.moment
            if text.strip() and self._choice.takes(line):
                read.append(line)
        return read

    def close(self) -> None:
        _close([tail.file for tail in self._tails])
        self._tails.clear()

    def _turn_to_newer(self) -> None:
        """To the files that came after the newest that we read."""
        newest = self._tails[-1] if self._tails else None
        files, has_met = self._open_all(None if newest is None else _identity(os.fstat(newest.file)))
        for file in reversed(files):
            if newest is not None and not has_met and os.fstat(file).st_mtime_ns < newest.changed:
                # The one that we read was taken away, and this is what was before it.
                os.close(file)
                continue
            if self._tails:
                self._tails[-1].until = time.monotonic() + _LINGER
            self._tails.append(_Tail(file))

    def _open_all(self, until: tuple[int, int] | None = None) -> tuple[list[int], bool]:
        """Each file of this log, the newest first, up to that one, and whether it was met."""
        while True:
            head = self._head()
            files, has_met = self._walk(until)
            if self._head() == head:
                return files, has_met
            # They were rotated meanwhile: where one is seen says no more which was before it.
            _close(files)

    def _head(self) -> tuple[tuple[int, int] | None, ...]:
        """What no rotation leaves as it is."""
        return tuple(_identity_at(path) for path in (self._path, former(self._path, 1)))

    def _walk(self, until: tuple[int, int] | None) -> tuple[list[int], bool]:
        """A rotation that only begins meanwhile shows a file twice, and hides none."""
        opened: dict[tuple[int, int], int] = {}
        missing = 0
        for number in count():
            path = self._path if number == 0 else former(self._path, number)
            file = _opened(path)
            if file is None:
                # A rotation, one that was torn too, leaves one gap, and no more.
                missing += 1
                if missing > 1:
                    break
                continue
            identity = _identity(os.fstat(file))
            if identity == until or identity in opened:
                os.close(file)
                if identity == until:
                    return list(opened.values()), True
                continue
            opened[identity] = file
        return list(opened.values()), False


def _opened(path: Path) -> int | None:
    """None: there is no such file, or it is none. A user's folder holds what that user likes."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_at(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def _moment(line: Line) -> float:
    return line.moment
