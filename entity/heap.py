"""The heap of a process that is forked many times, settled so that its forks write to few shared pages.

Knows Python's collector and glibc's malloc; nothing of programs, nor of who forks.
"""

import ctypes
import gc

_LARGEST = 96 * 1024
"""Bytes of one allocation. Under what glibc gives a mapping of its own."""
_SMALL = 1032
"""Up to here glibc keeps the free chunks of each size apart."""
_SMALLEST = 24
_STEP = 16


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2`, mallinfo(3)."""

    _fields_ = (
        ("arena", ctypes.c_size_t),
        ("ordblks", ctypes.c_size_t),
        ("smblks", ctypes.c_size_t),
        ("hblks", ctypes.c_size_t),
        ("hblkhd", ctypes.c_size_t),
        ("usmblks", ctypes.c_size_t),
        ("fsmblks", ctypes.c_size_t),
        ("uordblks", ctypes.c_size_t),
        ("fordblks", ctypes.c_size_t),
        ("keepcost", ctypes.c_size_t),
    )


def settle_heap() -> None:
    """Collect the rubbish, leave no holes, and have the collector never write to what is left.

    A later collection in a fork would write to rubbish, and to every object that it looks at, page by page.
    """
    gc.collect()
    _fill_holes()
    gc.freeze()


def _fill_holes() -> None:
    """Allocate every free chunk below the top of the heap, for good.

    In a fork an allocation from there would write to the chunk and to its neighbours in the lists of free
    ones, each on a shared page; from the top of the heap it writes to new pages alone, one after the other.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        # Not glibc, or one before 2.33: nothing is known of its heap.
        return
    libc.malloc_trim.argtypes = [ctypes.c_size_t]
    libc.mallinfo2.restype = _MallocInfo
    libc.sbrk.restype = ctypes.c_void_p
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    # Free chunks that touch become one, and whole pages of them go back to the kernel.
    libc.malloc_trim(0)
    top: int = libc.sbrk(0) - libc.mallinfo2().keepcost
    size = _LARGEST
    while size >= _SMALLEST:
        address: int | None = libc.malloc(size)
        if address is None or address >= top:
            libc.free(address)
            size = size * 3 // 4 if size > _SMALL else size - _STEP
