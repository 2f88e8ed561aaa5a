"""The name of this process's own sticky queue, for those who release it after its death.

The SDK's core makes it up with each Worker, IDENTITY-<32 hexadecimal digits>, and hands it to nobody. The
Cluster tells it only with the history of an execution whose task went over that queue: too late for a process
that dies before. But from its Worker's making on it stands in this process's memory, and nothing else there
looks like it, since an identity is of one life. Nothing is done with the queue here.
"""

import asyncio
import ctypes
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

_DIGITS = 32
_SLICE = 256 * 1024
"""Bytes looked through at a time: a tenth of a millisecond in which the event loop does nothing else."""
_LOOKED_THROUGH = 256 * 1024 * 1024
"""Bytes. A program may hold gigabytes, and where it is not in these, it hardly is in the rest."""


class _Span(ctypes.Structure):
    """`struct iovec`, readv(2)."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


async def find_sticky_queue(identity: str) -> str | None:
    """Look for the name that the Worker of this identity got, in slices between which the event loop turns.

    None: there is no such Worker, or the kernel does not let a process read its memory.
    """
    looks_like = re.compile(re.escape(identity.encode()) + b"-[0-9a-f]{%d}(?![0-9a-f])" % _DIGITS)
    longest = len(identity.encode()) + 1 + _DIGITS + 1
    for begin, end in itertools.islice(_slices(longest), _LOOKED_THROUGH // _SLICE):
        if (found := looks_like.search(_read(begin, end - begin))) is not None:
            return found.group().decode()
        await asyncio.sleep(0)
    return None


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


def _read(address: int, length: int) -> bytes:
    """Through the kernel: memory that another thread gives back meanwhile is a short answer, and no crash."""
    buffer = ctypes.create_string_buffer(length)
    here = _Span(ctypes.addressof(buffer), length)
    there = _Span(address, length)
    got = _LIBC.process_vm_readv(os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return buffer.raw[:got] if got > 0 else b""


_LIBC = ctypes.CDLL(None)
_LIBC.process_vm_readv.restype = ctypes.c_ssize_t
_LIBC.process_vm_readv.argtypes = [
    ctypes.c_int,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.c_ulong,
]
