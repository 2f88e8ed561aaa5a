"""The log of a process that is not our code: it holds one file open for ever, so that its log is rotated by a
copy. What stands in it is not known here."""

import os
from contextlib import suppress
from pathlib import Path

import structlog

from temporal_fleet.protocol.logfile import former, log_path, make_room
from temporal_fleet.protocol.spec import LogFiles

_log = structlog.get_logger()

_LOOK_EVERY = 1.0
_LARGEST = 10 << 20
"""Bytes of one file, whatever is configured: the supervisor copies them, and does nothing else meanwhile."""
_TAIL = 2000


class ForeignLog:
    """Neither waits for the other: the process appends to a file, not to a pipe that somebody has to read.
    What it says between the end of a copy and the truncation that follows at once is lost.

    `elsewhere`: where it goes when it cannot go to `files`. Raises OSError when it can go to neither.
    """

    def __init__(self, files: LogFiles, name: str, elsewhere: LogFiles) -> None:
        self._files = files
        try:
            self._descriptor = _opened(log_path(files, name))
        except OSError as error:
            path = log_path(elsewhere, name)
            _log.error(
                "a log cannot be opened; it goes elsewhere",
                path=str(log_path(files, name)),
                reason=error.strerror,
                elsewhere=str(path),
            )
            self._files = elsewhere
            self._descriptor = _opened(path)
        self.path = log_path(self._files, name)
        self._began = os.fstat(self._descriptor).st_size
        """Where what this process says begins."""
        self._look_at = 0.0
        self._has_complained = False

    def fileno(self) -> int:
        return self._descriptor

    def look_after(self, now: float) -> None:
        """Rotate it where it is too large. `now`: monotonic seconds."""
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY
        try:
            size = os.fstat(self._descriptor).st_size
            limit = min(self._files.size, _LARGEST)
            if size >= limit:
                self._rotate(max(0, size - limit), 2 * limit)
        except OSError as error:
            self._complain(error)

    def _rotate(self, offset: int, most: int) -> None:
        """What is before the offset is more than there is to be. `most`: bytes to keep, of what is said while
        it is copied too."""
        try:
            make_room(self.path, self._files.keep)
            self._copy(offset, offset + most)
        finally:
            # A disk that has no room for a copy has none for a log that grows.
            os.ftruncate(self._descriptor, 0)
            self._began = 0

    def last_line(self) -> str:
        """Of what this process said."""
        size = os.fstat(self._descriptor).st_size
        start = max(self._began if self._began <= size else 0, size - _TAIL)
        said = os.pread(self._descriptor, _TAIL, start).decode("utf-8", "replace").strip()
        return said.splitlines()[-1] if said else "it wrote nothing"

    def close(self) -> None:
        os.close(self._descriptor)

    def _copy(self, offset: int, end: int) -> None:
        copy = former(self.path, 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        target = os.open(copy, flags, 0o600)
        try:
            while offset < end and (sent := os.sendfile(target, self._descriptor, offset, end - offset)):
                offset += sent
        except OSError:
            with suppress(OSError):
                copy.unlink()
            raise
        finally:
            os.close(target)

    def _complain(self, error: OSError) -> None:
        if self._has_complained:
            return
        self._has_complained = True
        _log.error(
            "a log cannot be rotated: what is in it goes when it is full",
            path=str(self.path),
            reason=error.strerror,
        )


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
