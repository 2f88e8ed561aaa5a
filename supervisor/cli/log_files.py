"""The log files of a fleet, read: their last lines, and what is added, over rotations and in the order of
time. How they are named and rotated stands in protocol.logfile."""

import heapq
import mmap
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from temporal_fleet.protocol.logfile import FORK_SERVER, SUFFIX, former
from temporal_fleet.supervisor.cli.log_lines import Choice, Line, origin_of, read_line

_LOOK_EVERY = 0.2
_BLOCK = 1 << 20


def found(log_dir: Path) -> dict[Path, str]:
    """Every log, and its name: those of other users' processes stand one folder deeper."""
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
    """Of the logs in a folder that somebody wants to see."""

    def __init__(self, log_dir: Path, target: str | None, choice: Choice) -> None:
        self._log_dir = log_dir
        self._target = target
        self._choice = choice
        self._logs: dict[Path, _Log] = {}

    def last(self, number: int | None) -> list[Line]:
        """The last of what is there; None: all. Raises OSError."""
        lines = [list(reversed(log.backwards(self._choice, number))) for log in self._new_logs()]
        merged = list(heapq.merge(*lines, key=_moment))
        return merged if number is None else merged[len(merged) - min(number, len(merged)) :]

    def follow(self) -> Iterator[Line]:
        """What comes after `last`, for ever. Raises OSError."""
        while True:
            added = [line for log in self._logs.values() for line in log.added(self._choice)]
            # A log that is new is read from its beginning.
            added += [line for log in self._new_logs() for line in log.added(self._choice)]
            yield from sorted(added, key=_moment)
            time.sleep(_LOOK_EVERY)

    def _new_logs(self) -> list["_Log"]:
        new = {
            path: _Log(path, name)
            for path, name in found(self._log_dir).items()
            if path not in self._logs and is_meant(name, self._target)
        }
        self._logs.update(new)
        return list(new.values())


class _Log:
    """One log over its rotations. Reads on from where it was read to, in the file that it was then."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._origin = origin_of(name)
        self._file: int | None = None
        self._offset = 0
        self._begun = b""
        self._moment = time.time()
        """Of the last line that told it."""

    def backwards(self, choice: Choice, number: int | None) -> list[Line]:
        """The newest first. What is added later is `added`'s."""
        lines: list[Line] = []
        for position, file in enumerate(self._open_all()):
            if position == 0:
                self._file, self._offset = file, _whole_lines(file)
                moment = os.fstat(file).st_mtime
            if number is None or len(lines) < number:
                for text in _reversed_lines(file, self._offset if position == 0 else None):
                    line = read_line(text, moment, self._origin)
                    moment = line.moment
                    if choice.takes(line):
                        lines.append(line)
                    if len(lines) == number or (choice.since is not None and moment < choice.since):
                        number = len(lines)
                        break
            if position:
                os.close(file)
        return lines

    def added(self, choice: Choice) -> list[Line]:
        lines = self._read_on()
        for file in reversed(self._newer()):
            self._begun = b""
            if self._file is not None:
                os.close(self._file)
            self._file, self._offset = file, 0
            lines += self._read_on()
        read = []
        for text in lines:
            line = read_line(text, self._moment, self._origin)
            self._moment = line.moment
            if text.strip() and choice.takes(line):
                read.append(line)
        return read

    def _read_on(self) -> list[bytes]:
        """Whole lines from where we are to the end."""
        if self._file is None:
            return []
        found: list[bytes] = []
        while block := os.pread(self._file, _BLOCK, self._offset):
            self._offset += len(block)
            *lines, self._begun = (self._begun + block).split(b"\n")
            found += lines
        return found

    def _newer(self) -> list[int]:
        """The files that came after the one that we read, open, the newest first."""
        return self._open_all(until=None if self._file is None else _identity(self._file))

    def _open_all(self, until: tuple[int, int] | None = None) -> list[int]:
        """Each file of this log, the newest first, up to that one. A rotation meanwhile shows a file twice,
        and hides none."""
        opened: dict[tuple[int, int], int] = {}
        missing = 0
        for number in count():
            path = self._path if number == 0 else former(self._path, number)
            try:
                # A user's folder holds what that user likes.
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                # A rotation, one that was torn too, leaves one gap, and no more.
                missing += 1
                if missing > 1:
                    break
                continue
            identity = _identity(file)
            if identity == until or identity in opened:
                os.close(file)
                if identity == until:
                    break
                continue
            opened[identity] = file
        return list(opened.values())


def _identity(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_dev, status.st_ino


def _whole_lines(file: int) -> int:
    """How much of a file is whole lines: somebody may be writing to it."""
    size = os.fstat(file).st_size
    start = max(0, size - _BLOCK)
    return start + os.pread(file, size - start, start).rfind(b"\n") + 1


def _reversed_lines(file: int, size: int | None) -> Iterator[bytes]:
    """From the last to the first, none of them empty."""
    end = os.fstat(file).st_size if size is None else size
    if end == 0:
        return
    with mmap.mmap(file, end, access=mmap.ACCESS_READ) as content:
        while end > 0:
            start = content.rfind(b"\n", 0, end - 1) + 1
            text = content[start:end].strip()
            if text:
                yield text
            end = start


def _moment(line: Line) -> float:
    return line.moment
