"""A message <-> the bytes of one frame: magic, version, size limit. Knows no message by name.

One frame is `TFLT`, one byte of protocol version, then MessagePack of a tagged Struct. The frame is the
same on ZeroMQ and on a SOCK_SEQPACKET pair.
"""

from typing import Any, Generic, TypeVar

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse

MAGIC = b"TFLT"
VERSION = 1
HEADER = MAGIC + bytes([VERSION])
SIZE_LIMIT = 1 << 20
"""Bytes in one frame, header included."""
REPLY_LIMIT = 16 << 20
"""The same, of what a supervisor replies to an operator: a thousand entities may have much to say."""

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct, limit: int = SIZE_LIMIT) -> bytes:
    """The frame of a message.

    Raises ProtocolMisuse when it is larger than `limit` bytes, or holds what no frame can.
    """
    try:
        frame = HEADER + _encoder.encode(message)
    # An integer of more than 64 bits, or text that is not Unicode: a path may be such.
    except (OverflowError, UnicodeEncodeError) as error:
        raise ProtocolMisuse(f"a {type(message).__name__} cannot be encoded: {error}") from error
    if len(frame) > limit:
        raise ProtocolMisuse(f"a {type(message).__name__} of {len(frame)} bytes is over the limit of {limit}")
    return frame


class Decoder(Generic[T]):
    """Decodes the frames of one socket: those of one tagged union, and nothing else."""

    def __init__(self, union: Any, limit: int = SIZE_LIMIT) -> None:
        self._limit = limit
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(union)

    def decode(self, frame: bytes) -> T:
        """The message of a frame.

        Raises PeerRubbish for anything else: the peer may be broken, older, newer or hostile.
        """
        if len(frame) > self._limit:
            raise PeerRubbish(f"a frame of {len(frame)} bytes is over the limit of {self._limit}")
        if frame[:4] != MAGIC:
            raise PeerRubbish(f"a frame that starts with {frame[:4]!r} is not of this protocol")
        if frame[4:5] != HEADER[4:5]:
            raise PeerRubbish(f"protocol version {frame[4:5]!r}, ours is {VERSION}")
        try:
            return self._decoder.decode(frame[5:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PeerRubbish(str(error)) from error
