"""Standard output and error that never raise into the user's code because their reader went away.

Only the two streams: what is written to them, and in which form, is decided elsewhere.
"""

import io
import os
import select
import sys
from typing import TextIO

_ROOM_TIMEOUT_MS = 1000
"""How long a full non-blocking stream is waited for before what it was to take is dropped."""


class GuardedOutput(io.RawIOBase):
    """A descriptor to write to. What it does not take is counted and dropped: EIO of a terminal that is
    gone, EPIPE, EBADF, a full disk."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lost_bytes = 0

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: "memoryview | bytes | bytearray") -> int:  # type: ignore[override]
        size = memoryview(data).nbytes
        try:
            return self._write(data)
        except OSError:
            self.lost_bytes += size
            return size

    def _write(self, data: "memoryview | bytes | bytearray") -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Somebody who shares the terminal or pipe made it non-blocking.
            poller = select.poll()
            poller.register(self._descriptor, select.POLLOUT)
            poller.poll(_ROOM_TIMEOUT_MS)
            return os.write(self._descriptor, data)


_replaced: list[TextIO | None] = []
"""The interpreter's own streams: freeing one would close its descriptor."""


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
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


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


def _is_guarded(stream: TextIO | None) -> bool:
    binary = getattr(stream, "buffer", None)
    return isinstance(getattr(binary, "raw", None), GuardedOutput)
