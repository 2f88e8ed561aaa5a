"""The text of one log file that is open: its lines from either end, and where those of a moment begin.
Offsets are in bytes, moments in seconds since the epoch. Which files there are is told by log_files."""

import math
import os
from collections.abc import Iterator

from temporal_fleet.supervisor.cli.log_lines import read_line

_BLOCK = 1 << 20
_PIECE = 1 << 16
"""Bytes, of each of a thousand logs that are read side by side."""


def whole_lines(file: int) -> int:
    """How much of a file is whole lines: somebody may be writing to it."""
    size = os.fstat(file).st_size
    start = max(0, size - _BLOCK)
    return start + os.pread(file, size - start, start).rfind(b"\n") + 1


def begin_of(file: int, end: int, since: float) -> int:
    """Before the first line that is not older, and not by much."""
    low, high = 0, end
    while high - low > _PIECE:
        middle = (low + high) // 2
        moment = moment_after(file, middle, end)
        low, high = (middle, high) if moment is not None and moment < since else (low, middle)
    return low


def moment_after(file: int, begin: int, end: int) -> float | None:
    """Which the first line tells that tells any."""
    for text in lines_of(file, begin, end):
        moment = read_line(text, math.inf, {}).moment
        if moment != math.inf:
            return moment
    return None


def lines_of(file: int, begin: int, end: int) -> Iterator[bytes]:
    """From the first to the last, none of them empty; from the middle of a file without the one that is met
    first, which may be the rest of one."""
    lines = _texts(file, begin, end)
    if begin:
        next(lines, None)
    return lines


def _texts(file: int, offset: int, end: int) -> Iterator[bytes]:
    rest = b""
    while block := os.pread(file, min(_PIECE, end - offset), offset):
        offset += len(block)
        *lines, rest = (rest + block).split(b"\n")
        yield from filter(None, map(bytes.strip, lines))
    if rest.strip():
        yield rest.strip()


def reversed_lines(file: int, end: int) -> Iterator[bytes]:
    """From the last to the first, none of them empty."""
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        rest, *lines = (os.pread(file, end - start, start) + rest).split(b"\n")
        yield from filter(None, map(bytes.strip, reversed(lines)))
        end = start
    if rest.strip():
        yield rest.strip()
