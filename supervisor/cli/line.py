"""The line to one process: a socket over which it speaks until its end, and the end. What it says belongs to
the client."""

import time
from enum import Enum, auto

import zmq
from zmq.utils.monitor import recv_monitor_message

from temporal_fleet.supervisor.cli.life import Life

_LAST_WORDS_WITHIN = 5.0
"""Seconds. What a process said last is read at once, but on a machine that is out of breath."""


class _Connection(Enum):
    NONE = auto()
    MADE = auto()
    SPEAKS = auto()
    LOST = auto()


_AFTER = {
    zmq.EVENT_CONNECTED: _Connection.MADE,
    zmq.EVENT_HANDSHAKE_SUCCEEDED: _Connection.SPEAKS,
    zmq.EVENT_DISCONNECTED: _Connection.LOST,
}


class Ended(Exception):
    """The process has ended, and all that it said is read."""


class Line:
    """The socket reconnects: a process may go on with other code."""

    def __init__(self, kind: int, address: str, pid: int) -> None:
        self.life = Life(pid)
        self._context = zmq.Context()
        self._context.linger = 0
        self._socket = self._context.socket(kind)
        if kind == zmq.SUB:
            self._socket.subscribe(b"")
        self._monitor = self._socket.get_monitor_socket(sum(_AFTER))
        self._connection = _Connection.NONE
        self._socket.connect(address)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self.life.register(self._poller)

    def close(self) -> None:
        self.life.close()
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._context.term()

    def answered_within(self, seconds: float) -> bool:
        """Whether somebody speaks ZeroMQ at the other end."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._connection is _Connection.SPEAKS:
                return True
            if self._monitor.poll(int(left * 1000)):
                self._heed()
        return False

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self, within: float) -> bytes | None:
        """The last frame of the next message, or None where none comes within so many seconds.

        Raises Ended."""
        self._poller.poll(int(within * 1000))
        ended = self.life.ended
        if ended:
            self._await_last_words()
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK)[-1]
        except zmq.Again:
            if ended:
                raise Ended from None
            while self._monitor.poll(0):
                self._heed()
            return None

    def _await_last_words(self) -> None:
        """They may be on their way through our own I/O thread, which tells of the end of a connection after
        all that it read from it. A later connection leads to another process."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        deadline = time.monotonic() + _LAST_WORDS_WITHIN
        while self._connection is not _Connection.LOST and (left := deadline - time.monotonic()) > 0:
            if self._monitor.poll(0):
                self._heed()
            elif self._connection is _Connection.NONE or self._socket.poll(0):
                return
            else:
                poller.poll(int(left * 1000))

    def _heed(self) -> None:
        event = recv_monitor_message(self._monitor)["event"]
        self._connection = _AFTER[zmq.Event(event)]
