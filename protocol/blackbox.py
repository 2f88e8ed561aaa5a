"""The black box of an entity: a memory-mapped file that outlives it. Its header, its writer, its reader.

What must survive SIGKILL is not sent, it is written here. The header says whose box it is; the last
words say why the entity ended itself; records say what it holds. How a record stands in the file is in
records, what it says in entries. All integers are little-endian.

    0     8  magic
    8     4  layout version
    12    4  pid
    16    8  incarnation
    24    8  start time of the process (clock ticks since boot)
    32   36  boot id
    68    2  bytes of the entity id,         70  128  entity id
    198   2  bytes of the identity,         200  512  identity as the Cluster sees it
    712   2  bytes of the last words,       714 2048  last words
    2762  2  bytes of the sticky queue's, 2764 1024  name of its sticky queue
    3792  8  mark of a record
    3800 64  what found no room: two copies of a payload, as records has them
    3864  2  bytes of its GPUs,            3866  128  their indices, with spaces between them
    4000 64  Nexus tasks in hand: two copies of a payload
    4096     records

Whatever becomes of the layout, the first 68 bytes stay as they are: who reads another layout knows by them
whose box it is, and that its writer may live.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from temporal_fleet.protocol.entries import (
    ACTIVITY,
    EXECUTION,
    ActivityEntry,
    ExecutionEntry,
    hold_activity,
    hold_execution,
    read_activity,
    read_execution,
)
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.holdings import CachedExecution, HeldActivity, Holdings
from temporal_fleet.protocol.mapped import MappedFile
from temporal_fleet.protocol.process import ProcessIdentity
from temporal_fleet.protocol.records import COPIES, MARK, Payload, RecordReader, RecordStore, newest_payload

__all__ = [
    "ActivityEntry",
    "BlackBoxContents",
    "BlackBoxHead",
    "BlackBoxWriter",
    "ExecutionEntry",
    "read_blackbox",
    "read_head",
]

MAGIC = b"TFLTBBOX"
VERSION = 3
HEADER = 4096
LARGEST = 16 * 1024 * 1024
"""Bytes of a whole box: some 60,000 executions."""

SMALLEST = HEADER + 64 * 1024
"""Bytes of a box in which there is nothing yet, if the disk has them."""
_READINGS = 100

_HEAD = struct.Struct("<8sIIQQ36s")
_LENGTH = struct.Struct("<H")
_ENTITY = (68, 128)
_IDENTITY = (198, 512)
_LAST_WORDS = (712, 2048)
_STICKY_QUEUE = (2762, 1024)
_MARK = 3792
_UNRECORDED = 3800
_GPUS = (3864, 128)
_NEXUS_TASKS = 4000
_COUNT = struct.Struct("<Q12x")


class BlackBoxHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every layout tells."""

    layout: int
    incarnation: int
    process: ProcessIdentity


class BlackBoxContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader finds, at any instant of the writer's life or after it."""

    entity: str
    incarnation: int
    process: ProcessIdentity
    identity: str
    sticky_queue: str
    """Empty while it is not known."""
    last_words: str
    gpus: tuple[int, ...]
    """Indices of those that are its own."""
    holdings: Holdings


class BlackBoxWriter:
    """The entity's side. Creates the file; the entity writes, nobody else. Threads may use it at once.

    Raises OSError when the file cannot be created with its whole header (a sparse mapping would be a SIGBUS
    on a full disk), ProtocolMisuse when a name does not fit. What is held and finds no room is counted.
    """

    def __init__(
        self,
        path: Path,
        entity: str,
        incarnation: int,
        process: ProcessIdentity,
        gpus: Sequence[int] = (),
    ) -> None:
        name = _encoded(entity, _ENTITY)
        file = MappedFile(path, HEADER, SMALLEST)
        mark = os.urandom(MARK)
        self._map = file.map
        self._store = RecordStore(file, HEADER, LARGEST, mark)
        self._counter = Payload(self._map, _UNRECORDED, 0)
        self._counter.write(_COUNT.pack(0))
        self._nexus_tasks = Payload(self._map, _NEXUS_TASKS, 0)
        self._nexus_tasks.write(_COUNT.pack(0))
        self.unrecorded = 0
        """Activities and executions that found no room, over the whole life."""
        self._put(_ENTITY, name)
        self._put(_GPUS, _encoded(" ".join(map(str, gpus)), _GPUS))
        self._map[_MARK : _MARK + MARK] = mark
        # The magic goes in last: a reader takes a box without it for one that is not yet written.
        head = _HEAD.pack(
            MAGIC, VERSION, process.pid, incarnation, process.start_time, process.boot_id.encode()
        )
        self._map[8 : _HEAD.size] = head[8:]
        self._map[:8] = head[:8]

    def write_identity(self, identity: str) -> None:
        self._put(_IDENTITY, _encoded(identity, _IDENTITY))

    def write_sticky_queue(self, name: str) -> None:
        self._put(_STICKY_QUEUE, _encoded(name, _STICKY_QUEUE))

    def write_last_words(self, text: str) -> None:
        """Why the entity is about to end itself; cut to what fits."""
        _, room = _LAST_WORDS
        whole = text.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
        self._put(_LAST_WORDS, whole.encode())

    def hold_activity(self, activity: HeldActivity) -> ActivityEntry:
        """Its entry, to be released; one that does nothing where there is no room."""
        entry = hold_activity(self._store, activity)
        if entry is None:
            self._count_unrecorded()
            return ActivityEntry(self._store, None)
        return entry

    def hold_execution(self, execution: CachedExecution) -> ExecutionEntry:
        """Its entry, to be marked and released; one that does nothing where there is no room."""
        entry = hold_execution(self._store, execution)
        if entry is None:
            self._count_unrecorded()
            return ExecutionEntry(None)
        return entry

    def write_nexus_tasks(self, number: int) -> None:
        """How many are in hand. One thread at a time."""
        self._nexus_tasks.write(_COUNT.pack(number))

    def _count_unrecorded(self) -> None:
        with self._store.lock:
            self.unrecorded += 1
            self._counter.write(_COUNT.pack(self.unrecorded))

    def _put(self, field: tuple[int, int], data: bytes) -> None:
        offset, _ = field
        start = offset + _LENGTH.size
        # Length zero while the text is torn.
        _LENGTH.pack_into(self._map, offset, 0)
        self._map[start : start + len(data)] = data
        _LENGTH.pack_into(self._map, offset, len(data))


def read_blackbox(path: Path) -> BlackBoxContents:
    """The contents of a black box, its writer alive or dead.

    Raises PeerRubbish when it is not a black box of this layout, not completely made, or written too often to
    be read; FileNotFoundError when there is none, another OSError when it cannot be read now. A record that
    says nothing of this layout is passed over: the others are worth no less.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = _header_at_rest(descriptor)
        head = _head(header)
        if head.layout != VERSION:
            raise PeerRubbish(f"a black box of layout {head.layout}, not of layout {VERSION}")
        mark = header[_MARK : _MARK + MARK]
        if not any(mark):
            raise PeerRubbish("a black box whose records have no mark")
        return BlackBoxContents(
            entity=_get(header, _ENTITY),
            incarnation=head.incarnation,
            process=head.process,
            identity=_get(header, _IDENTITY),
            sticky_queue=_get(header, _STICKY_QUEUE),
            last_words=_get(header, _LAST_WORDS),
            gpus=tuple(int(index) for index in _get(header, _GPUS).split() if index.isdecimal()),
            holdings=_holdings(descriptor, mark),
        )
    except PeerRubbish as rubbish:
        raise PeerRubbish(f"{path}: {rubbish}") from None
    finally:
        os.close(descriptor)


def read_head(path: Path) -> BlackBoxHead:
    """Of a black box of any layout. Raises PeerRubbish when it is none, or not completely made; OSError."""
    with path.open("rb", buffering=0) as file:
        return _head(file.read(_HEAD.size))


def _head(header: bytes) -> BlackBoxHead:
    if not header.startswith(MAGIC) or len(header) < _HEAD.size:
        raise PeerRubbish(f"not a black box of layout {VERSION}")
    _, layout, pid, incarnation, start_time, boot_id = _HEAD.unpack_from(header)
    name = boot_id.rstrip(b"\0").decode("ascii", "replace")
    process = ProcessIdentity(pid=pid, start_time=start_time, boot_id=name)
    return BlackBoxHead(layout=layout, incarnation=incarnation, process=process)


def _holdings(descriptor: int, mark: bytes) -> Holdings:
    reader = RecordReader(descriptor, HEADER, LARGEST, mark)
    activities = []
    executions: dict[str, CachedExecution] = {}
    # In the order of their beginning: an execution that left the cache and came again while the file was
    # read may be found at both its places.
    for stored in sorted(reader.records(), key=lambda stored: stored.serial):
        if stored.kind == ACTIVITY:
            activity = read_activity(reader, stored)
            if activity is not None:
                activities.append(activity)
        elif stored.kind == EXECUTION:
            execution = read_execution(stored)
            if execution is not None:
                executions[execution.run_id] = execution
        else:
            raise PeerRubbish(f"the record at {stored.offset} is of kind {stored.kind}, which there is not")
    return Holdings(
        activities=activities,
        executions=list(executions.values()),
        nexus_tasks=_counted(descriptor, _NEXUS_TASKS, "Nexus tasks"),
        unrecorded=_counted(descriptor, _UNRECORDED, "what found no room"),
    )


def _counted(descriptor: int, offset: int, what: str) -> int:
    count = None
    for _ in range(_READINGS):
        count, settled = newest_payload(os.pread(descriptor, COPIES, offset), 0)
        if settled:
            break
    if count is None:
        raise PeerRubbish(f"its count of {what} is not whole")
    (number,) = _COUNT.unpack(count)
    return int(number)


def _header_at_rest(descriptor: int) -> bytes:
    """The header but for its counter, twice the same: a living writer may be in the middle of a text."""
    header = os.pread(descriptor, HEADER, 0)
    if len(header) != HEADER:
        raise PeerRubbish(f"{len(header)} bytes, a black box of layout {VERSION} has {HEADER} or more")
    for _ in range(_READINGS):
        before, header = header[:_UNRECORDED], os.pread(descriptor, HEADER, 0)
        if header.startswith(before):
            return header
    raise PeerRubbish(f"changed {_READINGS} times while it was read")


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
