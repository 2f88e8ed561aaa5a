"""One end of a SOCK_SEQPACKET pair: messages of one tagged union in, any message out. No policy.

Used between the supervisor and its helpers, and by a fork server towards the fork that validates.
"""

import socket
import sys
from typing import Any, Generic, TypeVar

import msgspec

from temporal_fleet.protocol.codec import SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.errors import PeerRubbish

T = TypeVar("T")


class ChannelClosed(Exception):
    """The other end is gone. A helper has nothing left to live for."""


class Channel(Generic[T]):
    """Blocking, unless its socket was made non-blocking (to read it from an event loop)."""

    def __init__(self, pair_end: socket.socket, union: Any) -> None:
        # A program that starts processes of its own must not hand them our end.
        pair_end.set_inheritable(False)
        self.socket = pair_end
        self.rubbish = 0
        """Frames dropped because they were no message of ours."""
        self._decoder = Decoder[T](union)
        # One byte over the limit, so that the codec can tell a frame that is too large.
        self._buffer = bytearray(SIZE_LIMIT + 1)

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> T:
        """The next message; whatever is none is counted, reported on stderr and dropped.

        Raises ChannelClosed at the end, and BlockingIOError on a non-blocking socket with nothing to read.
        """
        while True:
            message = self.receive_frame()
            if message is not None:
                return message

    def receive_frame(self) -> T | None:
        """The message of the next frame, None when it was rubbish: for who must not be held up by a flood.

        Raises as `receive` does.
        """
        try:
            size = self.socket.recv_into(self._buffer)
        except ConnectionResetError as error:
            raise ChannelClosed from error
        if size == 0:
            raise ChannelClosed
        try:
            return self._decoder.decode(bytes(memoryview(self._buffer)[:size]))
        except PeerRubbish as rubbish:
            self.rubbish += 1
            print(f"temporal-fleet: dropped a frame: {rubbish}", file=sys.stderr, flush=True)
            return None

    def send(self, message: msgspec.Struct) -> None:
        """Send one message, whole or not at all.

        Raises ChannelClosed when nobody will read it, and BlockingIOError on a non-blocking socket whose
        reader stands still.
        """
        try:
            self.socket.send(encode(message))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def close(self) -> None:
        self.socket.close()


def inherited_channel(descriptor: int, union: Any) -> Channel[Any]:
    """The channel of a helper, whose end of the pair is an inherited descriptor."""
    return Channel(socket.socket(fileno=descriptor), union)
