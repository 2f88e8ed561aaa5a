"""Records of any length in mapped memory, right in the file at any instant: their writer and their reader.

What the records mean is no matter of this module. They stand in cells of 64 bytes. All integers are
little-endian.

    0     8  mark of a record: random, the same in the whole file
    8     4  CRC-32 of what follows up to 24, and of the body
    12    4  serial number
    16    4  kind
    20    4  bytes of the body
    24   32  a copy of the payload, 56 32 the other one
    88       body

The mark is written last and erased first: there is a record where the mark stands, and no part of a mark is
one. The body never changes. The payload does, in place; of its two copies the older one is overwritten, so
that the other is whole when the writer dies half-way:

    0     8  turn: the copy with the greater one is the newer
    8     4  CRC-32 of the payload, begun with serial number and turn
    12   20  payload

A record never moves, so a reader in the middle of a living writer's changes misses none that stays. Blobs
are cells without a mark, to which a payload points.
"""

import os
import struct
import threading
import time
from collections.abc import Iterator
from mmap import mmap
from zlib import crc32

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.mapped import MappedFile

CELL = 64
MARK = 8
PAYLOAD = 20
COPIES = 64
"""Bytes of a payload's two copies."""

_HEAD = struct.Struct("<8sIIII")
_CHECKED = struct.Struct("<III")
_COPY = struct.Struct("<QI20s")
_NO_COPY = bytes(_COPY.size)
_BODY = _HEAD.size + COPIES
_LARGEST = 16 * 1024
_GROWTH = 64 * 1024
_GROWTH_PAUSE = 1.0
_READINGS = 20


class Payload:
    """A few bytes that change in place. One thread at a time."""

    __slots__ = ("_map", "_places", "_seed", "_turn")

    def __init__(self, memory: mmap, place: int, seed: int) -> None:
        self._map = memory
        self._places = (place, place + _COPY.size)
        self._seed = seed
        self._turn = 0

    def write(self, payload: bytes) -> None:
        self._turn = turn = self._turn + 1
        # As the last argument's call is over, nothing comes between looking up the place and writing there.
        check = crc32(payload, self._seed ^ turn)
        _COPY.pack_into(self._map, self._places[turn & 1], turn, check, payload)


def newest_payload(copies: bytes, seed: int) -> tuple[bytes | None, bool]:
    """The newest whole payload, and whether none is torn: of a living writer a torn one may be the newest."""
    newest, last, settled = None, 0, True
    for place in (0, _COPY.size):
        turn, check, payload = _COPY.unpack_from(copies, place)
        if check != crc32(payload, seed ^ turn):
            settled = settled and copies[place : place + _COPY.size] == _NO_COPY
        elif turn > last:
            newest, last = payload, turn
    return newest, settled and newest is not None


class Record:
    """One record in the file: its payload and its end."""

    __slots__ = ("_extent", "_store", "payload")

    def __init__(self, store: "RecordStore", extent: "Extent", payload: Payload) -> None:
        self._store = store
        self._extent = extent
        self.payload = payload

    def release(self) -> None:
        """At most once; the payload is not written any more."""
        self._store.erase(self._extent)


class Extent(msgspec.Struct, frozen=True):
    offset: int
    cells: int

    def holds(self, length: int) -> bool:
        return length <= self.cells * CELL


class RecordStore:
    """The writer's side: from `base` to the end of the file, which it lets grow up to `bound` bytes.

    Threads may use it at once. It neither blocks nor raises when there is no room: it says None.
    """

    def __init__(self, file: MappedFile, base: int, bound: int, mark: bytes) -> None:
        self.map = file.map
        # A lock that its owner may take again: the garbage collector may run anybody's clean-up in here.
        self.lock = threading.RLock()
        self._file = file
        self._base = base
        self._bound = bound
        self._mark = mark
        self._serial = 0
        # A byte a cell, 1 where it is taken: bytearray.find is the search for room, at the speed of C.
        self._taken = bytearray((file.size - base) // CELL)
        self._first_free = 0
        self._grow_again_at = 0.0

    def add(self, kind: int, body: bytes, payload: bytes) -> Record | None:
        with self.lock:
            extent = self.reserve(_BODY + len(body))
            if extent is None:
                return None
            self._serial = serial = (self._serial + 1) & 0xFFFFFFFF
            memory, offset = self.map, extent.offset
            memory[offset + _HEAD.size : offset + _BODY] = bytes(COPIES)
            changing = Payload(memory, offset + _HEAD.size, serial)
            changing.write(payload)
            memory[offset + _BODY : offset + _BODY + len(body)] = body
            check = crc32(body, crc32(_CHECKED.pack(serial, kind, len(body))))
            _HEAD.pack_into(memory, offset, bytes(MARK), check, serial, kind, len(body))
            memory[offset : offset + MARK] = self._mark
            return Record(self, extent, changing)

    def erase(self, record: Extent) -> None:
        with self.lock:
            self.map[record.offset : record.offset + MARK] = bytes(MARK)
            self.free(record)

    def reserve(self, length: int) -> Extent | None:
        """Cells for a blob of so many bytes; what stands in them is not erased."""
        if length > _LARGEST:
            return None
        cells = -(-length // CELL)
        with self.lock:
            while (start := self._taken.find(bytes(cells), self._first_free)) < 0:
                if not self._grow():
                    return None
            self._taken[start : start + cells] = b"\1" * cells
            if start == self._first_free:
                self._first_free = start + cells
            return Extent(self._base + start * CELL, cells)

    def free(self, extent: Extent) -> None:
        with self.lock:
            start = (extent.offset - self._base) // CELL
            self._taken[start : start + extent.cells] = bytes(extent.cells)
            self._first_free = min(self._first_free, start)

    def _grow(self) -> bool:
        if self._file.size + _GROWTH > self._bound or time.monotonic() < self._grow_again_at:
            return False
        if not self._file.grow(_GROWTH):
            # A file system may take its time to find out that it is full.
            self._grow_again_at = time.monotonic() + _GROWTH_PAUSE
            return False
        self._taken.extend(bytes(_GROWTH // CELL))
        return True


class StoredRecord(msgspec.Struct, frozen=True):
    offset: int
    serial: int
    kind: int
    body: bytes
    payload: bytes


class RecordReader:
    """The reader's side, of a file whose writer lives or is dead."""

    def __init__(self, descriptor: int, base: int, bound: int, mark: bytes) -> None:
        self._descriptor = descriptor
        self._base = base
        self._bound = bound
        self._mark = mark

    def records(self) -> Iterator[StoredRecord]:
        """Raises PeerRubbish when the file is larger than any writer makes one."""
        size = os.fstat(self._descriptor).st_size
        if size > self._bound:
            raise PeerRubbish(f"{size} bytes, over the {self._bound} that it may have")
        data = self.read(0, size)
        place = self._base
        while (place := data.find(self._mark, place)) >= 0:
            found, settled = _record(data, place, place)
            if not settled:
                # Torn in the reading, or released meanwhile and its cells taken again.
                found = self.again(place)
            if found is None:
                place += 1
                continue
            yield found
            place += -(-(_BODY + len(found.body)) // CELL) * CELL

    def again(self, offset: int) -> StoredRecord | None:
        """The record that stands here now; None when there is none."""
        found = None
        for _ in range(_READINGS):
            data = self.read(offset, _LARGEST)
            if not data.startswith(self._mark):
                return None
            found, settled = _record(data, 0, offset)
            if settled:
                return found
        # Its writer died, or stopped for a while, in the middle of a payload: the one before is the newest.
        return found

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)


def _record(data: bytes, place: int, offset: int) -> tuple[StoredRecord | None, bool]:
    """The record at `place` of these bytes, at `offset` of the file, and whether nothing of it is torn."""
    if place + _BODY > len(data):
        return None, False
    _, check, serial, kind, length = _HEAD.unpack_from(data, place)
    body = data[place + _BODY : place + _BODY + length]
    if length > _LARGEST - _BODY or check != crc32(body, crc32(_CHECKED.pack(serial, kind, length))):
        return None, False
    payload, settled = newest_payload(data[place + _HEAD.size : place + _BODY], serial)
    return None if payload is None else StoredRecord(offset, serial, kind, body, payload), settled
