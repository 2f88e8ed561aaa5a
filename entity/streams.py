"""Standard output and error that never raise into the user's code because their reader went away, nor hold it
up because it stands still, and that may be read line by line instead of being written as they are.

Only the two streams: what becomes of a line is decided elsewhere.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from temporalio.exceptions import CancelledError

from temporal_fleet.protocol.outlet import Outlet

_LONGEST = 16_000
"""Bytes of one line. What is longer is taken for several: it may never end."""

_PATIENCE = 0.5
"""Seconds for which a reader that stands still is waited for: it may be on a busy machine, and an event loop
that is held up for two, by both streams perhaps, may count as hung."""


class GuardedOutput(io.RawIOBase):
    """A descriptor to write to. What it does not take is counted and dropped: EIO of a terminal that is
    gone, EPIPE, EBADF, a full disk, a pipe that nobody reads."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._outlet = Outlet(descriptor, _PATIENCE)
        self._said: Callable[[int, bytes], None] | None = None
        self._begun = b""
        self.lost_bytes = 0
        self.is_torn = False
        """Whether a part of what was lost was written."""

    def fileno(self) -> int:
        return self._outlet.fileno()

    def isatty(self) -> bool:
        return self._said is None and os.isatty(self.fileno())

    def writable(self) -> bool:
        return True

    def write(self, data: "memoryview | bytes | bytearray") -> int:  # type: ignore[override]
        size = memoryview(data).nbytes
        try:
            if self._said is None:
                taken = self._outlet.write(data)
                if taken < size:
                    self.lost_bytes += size - taken
                    self.is_torn = taken > 0
            else:
                self._take(bytes(data))
        # Of a thread: the SDK raises it there at any instant, and once.
        except CancelledError:
            raise
        # A line that could not be told is no fault of who printed it.
        except Exception:
            self.lost_bytes += size
        return size

    def tell_lines(self, said: Callable[[int, bytes], None]) -> None:
        """From now on what is written here is told to `said`, with our descriptor, line by line."""
        self._said = said

    def end_line(self) -> None:
        """What was written of a line counts as the whole of it."""
        begun, self._begun = self._begun, b""
        if self._said is not None and begun.strip():
            self._said(self.fileno(), begun)

    def _take(self, data: bytes) -> None:
        assert self._said is not None
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            for part in _parts(line):
                self._said(self.fileno(), part)
        if len(self._begun) >= _LONGEST:
            *parts, self._begun = _parts(self._begun)
            for part in parts:
                self._said(self.fileno(), part)


_replaced: list[TextIO | None] = []
"""The interpreter's own streams: freeing one would close its descriptor."""
_guarded: list[io.TextIOWrapper] = []


def guard_streams() -> None:
    """Make `sys.stdout` and `sys.stderr` (and their originals) guarded. Doing it again changes nothing.

    Line by line, so that a process that is killed leaves what it said before.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        present: TextIO | None = getattr(sys, name)
        if _is_guarded(present):
            continue
        stream = io.TextIOWrapper(
            io.BufferedWriter(GuardedOutput(descriptor)),  # type: ignore[type-var]
            encoding=getattr(present, "encoding", None) or "utf-8",
            # A character that the encoding lacks is no reason to raise either.
            errors="backslashreplace",
            line_buffering=True,
        )
        _replaced.extend((present, getattr(sys, f"__{name}__")))
        _guarded.append(stream)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def tell_lines(said: Callable[[int, bytes], None]) -> None:
    """What is written to the guarded streams becomes lines for `said(descriptor, line)`."""
    for stream in _guarded:
        stream.flush()
        _raw(stream).tell_lines(said)


def flush_streams() -> None:
    """Write out what is still buffered, also by a stream that the program put in the place of ours."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            # The program's own stream, closed or broken: nobody is left to tell.
            continue
    for guarded in _guarded:
        _raw(guarded).end_line()


def _is_guarded(stream: TextIO | None) -> bool:
    binary = getattr(stream, "buffer", None)
    return isinstance(getattr(binary, "raw", None), GuardedOutput)


def _raw(stream: io.TextIOWrapper) -> GuardedOutput:
    raw: GuardedOutput = stream.buffer.raw  # type: ignore[attr-defined]
    return raw


def _parts(line: bytes) -> list[bytes]:
    """Of a length that a log takes; none where there is nothing to read."""
    if len(line) <= _LONGEST:
        return [line] if line.strip() else []
    return [line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST)]
