"""How much memory this process holds, and giving back what it no longer uses.

Knows the kernel, Python's collector and glibc's malloc; not whose memory it was.
"""

import ctypes
import gc
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_ROLLUP = Path("/proc/self/smaps_rollup")
_STATM = Path("/proc/self/statm")
_OLDEST = 2
"""The generation that is collected with all the younger ones."""
_PAUSE = 0.005
_PATIENCE = 5.0
"""Seconds for a collection that is under way: what it ends may wait for ever."""


@dataclass(frozen=True)
class Memory:
    """In bytes."""

    pss: int
    rss: int


def own_memory() -> Memory:
    """Takes over a millisecond, and longer the more there is. RSS for both where the kernel tells no PSS."""
    try:
        rollup = _ROLLUP.read_text()
    except OSError:
        rss = int(_STATM.read_text().split()[1]) * resource.getpagesize()
        return Memory(pss=rss, rss=rss)
    figures = {}
    for line in rollup.splitlines()[1:]:
        name, kibibytes = line.split()[:2]
        figures[name] = int(kibibytes) * 1024
    return Memory(pss=figures["Pss:"], rss=figures["Rss:"])


def give_back() -> None:
    """Collect the rubbish and return what is free to the system: neither does anything without the other.

    Everything stands still while the collector looks at all there is: for whole batches, not for single
    executions.
    """
    _collect()
    trim()


def trim() -> None:
    """Return what is free to the system."""
    libc = ctypes.CDLL(None)
    # Not glibc: its allocator has its own mind.
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
        libc.malloc_trim(0)


def _collect() -> None:
    """Where another thread is in the middle of a collection, `gc.collect` returns at once, and what became
    rubbish since that one began is still there."""
    given_up = time.monotonic() + _PATIENCE
    before = _full_collections()
    gc.collect()
    while _full_collections() == before and time.monotonic() < given_up:
        time.sleep(_PAUSE)
        gc.collect()


def _full_collections() -> int:
    collections: int = gc.get_stats()[_OLDEST]["collections"]
    return collections
