"""A descriptor to write to whose reader may go away, or stand still for ever: neither holds the writer up.
What is written does not belong here."""

import array
import errno
import fcntl
import os
import select
import stat
import termios
import time

_F_GETPIPE_SZ = 1032
_NOT_HERE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE})
"""What a kernel says that knows no writing without waiting, of this kind of file."""


class Outlet:
    """For any number of threads. `patience`: seconds for which a reader that stands still is waited for, and
    not again until it reads."""

    def __init__(self, descriptor: int, patience: float = 0.2) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._is_waited_for = True
        self._can_refuse = True
        """Whether the kernel writes there without waiting."""

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        """How many bytes it took: fewer where its reader stands still. In one piece where there is room,
        since others may write to the same.

        Raises OSError, such as for a reader that is gone, a closed descriptor, or a full disk.
        """
        left = memoryview(data).cast("B")
        size = len(left)
        until = time.monotonic() + self._patience
        while left:
            try:
                left = left[self._write_now(left) :]
                self._is_waited_for = True
            except BlockingIOError:
                patience = until - time.monotonic() if self._is_waited_for else 0.0
                if patience <= 0 or not _has_room(self._descriptor, patience):
                    self._is_waited_for = False
                    break
        return size - len(left)

    def _write_now(self, data: memoryview) -> int:
        """Raises BlockingIOError where it would have to wait."""
        if self._can_refuse:
            try:
                return os.pwritev(self._descriptor, [data], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                self._can_refuse = False
        if not _has_room(self._descriptor, 0):
            raise BlockingIOError
        # Somebody else may take the room meanwhile, which nobody can help here.
        return os.write(self._descriptor, data[: _fits(self._descriptor, len(data))])


def _has_room(descriptor: int, within: float) -> bool:
    """For PIPE_BUF bytes at least."""
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return bool(poller.poll(max(0, int(within * 1000))))


def _fits(descriptor: int, size: int) -> int:
    """How much of that a pipe takes without waiting; anything else is asked no such thing."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return size
    used = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, used)
    # A page that is used in part may not be filled up.
    room = fcntl.fcntl(descriptor, _F_GETPIPE_SZ) - used[0] - 2 * select.PIPE_BUF
    return size if size <= room else min(size, select.PIPE_BUF)
