"""The black box of an entity: a memory-mapped file that outlives it. Layout, writer, reader.

What must survive SIGKILL is not sent, it is written here. The header says whose box it is; the last
words say why the entity ended itself. All integers are little-endian.

    0     8  magic
    8     4  layout version
    12    4  pid
    16    8  incarnation
    24    8  start time of the process (clock ticks since boot)
    32   36  boot id
    68    2  bytes of the entity id,  70  128  entity id
    198   2  bytes of the identity,  200  512  identity as the Cluster sees it
    712   2  bytes of the last words, 714 2048  last words
    4096     end
"""

import mmap
import os
import struct
from pathlib import Path

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.process import ProcessIdentity

MAGIC = b"TFLTBBOX"
VERSION = 1
SIZE = 4096

_READINGS = 100

_HEAD = struct.Struct("<8sIIQQ36s")
_LENGTH = struct.Struct("<H")
_ENTITY = (68, 128)
_IDENTITY = (198, 512)
_LAST_WORDS = (712, 2048)


class BlackBoxContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader finds, at any instant of the writer's life or after it."""

    entity: str
    incarnation: int
    process: ProcessIdentity
    identity: str
    last_words: str


class BlackBoxWriter:
    """The entity's side. Creates the file; the entity writes, nobody else.

    Raises OSError when the file cannot be created with its full size (a sparse mapping would be a SIGBUS
    on a full disk), ProtocolMisuse when a name does not fit.
    """

    def __init__(self, path: Path, entity: str, incarnation: int, process: ProcessIdentity) -> None:
        name = _encoded(entity, _ENTITY)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self._put(_ENTITY, name)
        # The magic goes in last: a reader takes a box without it for one that is not yet written.
        head = _HEAD.pack(
            MAGIC, VERSION, process.pid, incarnation, process.start_time, process.boot_id.encode()
        )
        self._map[8 : _HEAD.size] = head[8:]
        self._map[:8] = head[:8]

    def write_identity(self, identity: str) -> None:
        self._put(_IDENTITY, _encoded(identity, _IDENTITY))

    def write_last_words(self, text: str) -> None:
        """Why the entity is about to end itself; cut to what fits."""
        _, room = _LAST_WORDS
        whole = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
        self._put(_LAST_WORDS, whole.encode())

    def _put(self, field: tuple[int, int], data: bytes) -> None:
        offset, _ = field
        start = offset + _LENGTH.size
        # Length zero while the text is torn.
        _LENGTH.pack_into(self._map, offset, 0)
        self._map[start : start + len(data)] = data
        _LENGTH.pack_into(self._map, offset, len(data))


def read_blackbox(path: Path) -> BlackBoxContents:
    """The contents of a black box, its writer alive or dead.

    Raises FileNotFoundError, and PeerRubbish when it is not a black box, not completely made, or written
    too often to be read.
    """
    data = _read_at_rest(path)
    if len(data) != SIZE:
        raise PeerRubbish(f"{path}: {len(data)} bytes, a black box has {SIZE}")
    magic, version, pid, incarnation, start_time, boot_id = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise PeerRubbish(f"{path}: not a black box of layout {VERSION}")
    return BlackBoxContents(
        entity=_get(data, _ENTITY),
        incarnation=incarnation,
        process=ProcessIdentity(
            pid=pid, start_time=start_time, boot_id=boot_id.rstrip(b"\0").decode("ascii", "replace")
        ),
        identity=_get(data, _IDENTITY),
        last_words=_get(data, _LAST_WORDS),
    )


def _read_at_rest(path: Path) -> bytes:
    """The same bytes twice in a row: a living writer may be in the middle of a text."""
    data = path.read_bytes()
    for _ in range(_READINGS):
        before, data = data, path.read_bytes()
        if data == before:
            return data
    raise PeerRubbish(f"{path}: changed {_READINGS} times while it was read")


def _encoded(text: str, field: tuple[int, int]) -> bytes:
    _, room = field
    data = text.encode("utf-8", "replace")
    if len(data) > room:
        raise ProtocolMisuse(f"{text!r} is over the {room} bytes that the black box has for it")
    return data


def _get(data: bytes, field: tuple[int, int]) -> str:
    offset, room = field
    (length,) = _LENGTH.unpack_from(data, offset)
    start = offset + _LENGTH.size
    return data[start : start + min(length, room)].decode("utf-8", "replace")
