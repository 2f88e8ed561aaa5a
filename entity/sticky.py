"""The name of this process's own sticky queue, for those who release it after its death.

The SDK's core makes it up with each Worker, IDENTITY-<32 hexadecimal digits>, and hands it to nobody. The
Cluster tells it only with the history of an execution whose task went over that queue: too late for a process
that dies before. But from its Worker's making on it stands in this process's memory, and nothing else there
looks like it, since an identity is of one life. Nothing is done with the queue here.
"""

import asyncio
import itertools
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

_DIGITS = 32
_HEXADECIMAL = b"0123456789abcdef"
_SLICE = 64 * 1024
"""Bytes looked through at a time, which are a part of the heap for as long."""
_MEMORY = Path("/proc/self/mem")
_LOOKED_THROUGH = 256 * 1024 * 1024
"""Bytes. A program may hold gigabytes, and where it is not in these, it hardly is in the rest."""


async def find_sticky_queue(identity: str) -> str | None:
    """Look for the name that the Worker of this identity got, in slices between which the event loop turns.

    None: there is no such Worker, or the kernel does not let a process read its memory.
    """
    beginning = f"{identity}-".encode()
    length = len(beginning) + _DIGITS
    try:
        # Of this file alone a page that is shared with the fork server stays shared when it is read: to
        # process_vm_readv(2) the kernel gives a copy of each.
        with _MEMORY.open("rb", buffering=0) as memory:
            for begin, end in itertools.islice(_slices(length), _LOOKED_THROUGH // _SLICE):
                name = _name_in(_read(memory, begin, end), beginning, length)
                if name is not None:
                    return name
                await asyncio.sleep(0)
    except PermissionError:
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


def _slices(overlap: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each. What came last stands at the top of the heap."""
    for start, end in _regions():
        for top in range(end, start, -_SLICE):
            yield max(start, top - _SLICE - overlap), top


def _regions() -> Iterator[tuple[int, int]]:
    """Start and end of what this process allocated, the C library's heap first. proc_pid_maps(5)."""
    heap, others = [], []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, _, _, inode, *name = line.split(maxsplit=5)
        if not permissions.startswith("rw") or inode != "0":
            continue
        start, _, end = addresses.partition("-")
        region = int(start, 16), int(end, 16)
        if name and name[0] == "[heap]":
            heap.append(region)
        elif not name:
            others.append(region)
    yield from heap
    yield from reversed(others)
