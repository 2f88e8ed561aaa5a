"""A file that is mapped wholly and grows. What stands in it is no matter of this module.

Every byte is on the disk before it is mapped: a sparse page would be a SIGBUS when the disk is full.
"""

import errno
import mmap
import os
import weakref
from contextlib import suppress
from pathlib import Path


class MappedFile:
    """Made anew, or of an empty file that was made for it; raises OSError, and leaves none, when not even
    `least` bytes can be had, or there is something in it."""

    def __init__(self, path: Path, least: int, wanted: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._descriptor).st_size:
            os.close(self._descriptor)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        try:
            if not self._allocate(0, wanted):
                os.posix_fallocate(self._descriptor, 0, least)
            self.size = os.fstat(self._descriptor).st_size
            self.map = mmap.mmap(self._descriptor, self.size)
        except OSError:
            os.close(self._descriptor)
            # In a folder that is another user's we may remove nothing.
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
            raise
        # As the map does with its own copy of it.
        weakref.finalize(self, os.close, self._descriptor)

    def grow(self, by: int) -> bool:
        """Whether there are so many more bytes now, all zero. `map` stays the same object."""
        if not self._allocate(self.size, by):
            return False
        try:
            self.map.resize(self.size + by)
        except OSError:
            # No address space for it: what is mapped stays mapped.
            os.ftruncate(self._descriptor, self.size)
            return False
        self.size += by
        return True

    def _allocate(self, start: int, length: int) -> bool:
        try:
            os.posix_fallocate(self._descriptor, start, length)
        except OSError:
            # Some file systems keep the part that they could give.
            os.ftruncate(self._descriptor, start)
            return False
        return True
