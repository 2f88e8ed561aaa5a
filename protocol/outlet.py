"""A descriptor to write to whose reader may go away, or stand still for ever: neither holds the writer up.
What is written does not belong here."""

import os
import select


class Outlet:
    """`patience`: seconds for which a reader that stands still is waited for, once."""

    def __init__(self, descriptor: int, patience: float = 0.2) -> None:
        self._descriptor = descriptor
        self._patience = self._given = int(patience * 1000)
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLOUT)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        """How many bytes it took: fewer where its reader stands still.

        Raises OSError, such as for a reader that is gone, a closed descriptor, or a full disk.
        """
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self._has_room():
            # More may find room for a part of it, and wait for the rest.
            left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]
        return size - len(left)

    def _has_room(self) -> bool:
        """For PIPE_BUF bytes."""
        ready = bool(self._poller.poll(self._patience))
        self._patience = self._given if ready else 0
        return ready
