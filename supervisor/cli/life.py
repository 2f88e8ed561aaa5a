"""The life of one process that is not our child: when it ends. What it says while it lives does not belong
here."""

import os
import time

import zmq


class Life:
    """Watches one process that is not our child: a pidfd tells its end without polling, and never that of
    another process with the same PID."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._descriptor: int | None = None
        self._gone = False
        if pid:
            try:
                self._descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._gone = True

    def register(self, poller: zmq.Poller) -> None:
        if self._descriptor is not None:
            poller.register(self._descriptor, zmq.POLLIN)

    @property
    def ended(self) -> bool:
        return self.ended_within(0)

    def ended_within(self, seconds: float) -> bool:
        if self._descriptor is None:
            time.sleep(0 if self._gone else seconds)
            return self._gone
        poller = zmq.Poller()
        poller.register(self._descriptor, zmq.POLLIN)
        return bool(poller.poll(int(seconds * 1000)))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
