"""The name of this process's own sticky queue, for those who release it after its death.

The SDK's core makes it up with each Worker, IDENTITY-<32 hexadecimal digits>, and hands it to nobody. The
Cluster tells it only with the history of an execution whose task went over that queue: too late for a process
that dies before. But from its Worker's making on it stands in this process's memory, and nothing else there
looks like it, since an identity is of one life. Nothing is done with the queue here.
"""

import asyncio
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

_DIGITS = 32
_HEXADECIMAL = b"0123456789abcdef"
_SLICE = 64 * 1024
"""Bytes looked through at a time, which are a part of the heap for as long."""
_MEMORY = Path("/proc/self/mem")
_LOOKED_THROUGH = 1 << 30
"""Bytes, since a program may hold gigabytes. They come in the order in which the name is likely there."""
_HEAP_TOP = 64 * 1024 * 1024
"""Bytes. What was made last stands there, unless the heap had a hole for it."""
_MAPS = Path("/proc/self/maps")


async def find_sticky_queue(identity: str) -> str | None:
    """Look for the name that the Worker of this identity got, in slices between which the event loop turns.

    None: there is no such Worker, or its memory cannot be read: the kernel does not let it, or there is no
    descriptor to be had.
    """
    beginning = f"{identity}-".encode()
    length = len(beginning) + _DIGITS
    try:
        # Of this file alone a page that is shared with the fork server stays shared when it is read: to
        # process_vm_readv(2) the kernel gives a copy of each.
        with _MEMORY.open("rb", buffering=0) as memory:
            for begin, end in _slices(_MAPS.read_bytes(), length):
                name = _name_in(_read(memory, begin, end), beginning, length)
                if name is not None:
                    return name
                await asyncio.sleep(0)
    except OSError:
        pass
    return None


def _name_in(content: bytes, beginning: bytes, length: int) -> str | None:
    at = content.find(beginning)
    while at != -1:
        digits = content[at + len(beginning) : at + length]
        # A regular expression would say it shorter, and write to pages that are shared until then.
        if len(digits) == _DIGITS and not digits.strip(_HEXADECIMAL):
            return (beginning + digits).decode()
        at = content.find(beginning, at + 1)
    return None


def _read(memory: FileIO, begin: int, end: int) -> bytes:
    try:
        return os.pread(memory.fileno(), end - begin, begin)
    # Another thread gave it back meanwhile.
    except OSError:
        return b""


def _slices(maps: bytes, overlap: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each, from the tops of the regions down, as many as are looked through."""
    left = _LOOKED_THROUGH
    for start, end in _regions(maps):
        for top in range(end, start, -_SLICE):
            if left <= 0:
                return
            left -= _SLICE
            yield max(start, top - _SLICE - overlap), top


def _regions(maps: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of what this process allocated: the top of the C library's heap, then its rest and the
    other regions, the small first, as arenas of threads are beside a program's data. proc_pid_maps(5)."""
    heap: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    # Bytes: a file that is mapped may have any name.
    for line in filter(None, maps.split(b"\n")):
        addresses, permissions, _, _, inode, *name = line.split(maxsplit=5)
        if not permissions.startswith(b"rw") or inode != b"0":
            continue
        start, _, end = addresses.partition(b"-")
        region = int(start, 16), int(end, 16)
        if name == [b"[heap]"]:
            heap.append(region)
        elif not name:
            others.append(region)
    yield from ((max(start, end - _HEAP_TOP), end) for start, end in heap)
    # One slice twice, for a name that lies across.
    rest = ((start, end - _HEAP_TOP + _SLICE) for start, end in heap if end - start > _HEAP_TOP)
    yield from sorted((*rest, *others), key=_size)


def _size(region: tuple[int, int]) -> int:
    start, end = region
    return end - start
