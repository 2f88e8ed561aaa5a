"""Holdings as records of the black box: the entries that an entity writes, and their reading.

How records stand in the file is in records; what the values mean is in holdings.
"""

import struct
from collections.abc import Callable
from typing import TypeVar
from zlib import crc32

import msgspec

from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity
from temporal_fleet.protocol.records import Extent, Record, RecordReader, RecordStore, StoredRecord

LARGEST_DETAILS = 2048

ACTIVITY = 1
EXECUTION = 2

_READINGS = 100

_EXECUTION = struct.Struct("<dII??2x")
"""Last activity, events of the history, events replayed, running, closed."""
_DETAILS = struct.Struct("<IIIQ")
"""Where the details are, how many bytes, their CRC-32; bytes that were dropped."""


class _ActivityBody(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What of a HeldActivity never changes."""

    workflow_id: str
    run_id: str
    workflow_type: str
    activity_id: str
    activity_type: str
    attempt: int
    task_token: bytes
    since: float
    expires: float | None


class _ExecutionBody(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What of a CachedExecution never changes."""

    workflow_id: str
    run_id: str
    workflow_type: str
    since: float


_Body = TypeVar("_Body")

# Made before the fork, for all entities.
_encode = msgspec.msgpack.Encoder().encode
_decode_activity = msgspec.msgpack.Decoder(_ActivityBody).decode
_decode_execution = msgspec.msgpack.Decoder(_ExecutionBody).decode


class ActivityEntry:
    """One activity in the black box. Threads may use it at once."""

    __slots__ = ("_blobs", "_record", "_store")

    def __init__(self, store: RecordStore, record: Record | None) -> None:
        self._store = store
        self._record = record
        # Details are written beside those that the payload points to, which must stay whole until it turns.
        self._blobs: tuple[Extent | None, Extent | None] = (None, None)

    def heartbeat(self, details: bytes) -> None:
        """The details of the last heartbeat; too large ones are dropped, and so are those without room."""
        with self._store.lock:
            record = self._record
            if record is None:
                return
            spare, current = self._blobs
            if not details or len(details) > LARGEST_DETAILS:
                record.payload.write(_DETAILS.pack(0, 0, 0, len(details)))
                return
            if spare is None or not spare.holds(len(details)):
                if spare is not None:
                    self._store.free(spare)
                spare = self._store.reserve(len(details))
                self._blobs = (spare, current)
            if spare is None:
                record.payload.write(_DETAILS.pack(0, 0, 0, len(details)))
                return
            self._store.map[spare.offset : spare.offset + len(details)] = details
            record.payload.write(_DETAILS.pack(spare.offset, len(details), crc32(details), 0))
            self._blobs = (current, spare)

    def release(self) -> None:
        """Its completion was acknowledged. Again: nothing."""
        with self._store.lock:
            record, self._record = self._record, None
            if record is None:
                return
            record.release()
            for blob in self._blobs:
                if blob is not None:
                    self._store.free(blob)


class ExecutionEntry:
    """One cached execution in the black box. One thread at a time marks or releases it."""

    __slots__ = ("_record",)

    def __init__(self, record: Record | None) -> None:
        self._record = record

    def mark(
        self,
        *,
        state: ExecutionState,
        closed: bool,
        last_activity: float,
        history_events: int,
        replayed_events: int,
    ) -> None:
        """What it is now. In place, in about a microsecond."""
        record = self._record
        if record is not None:
            running = state is ExecutionState.RUNNING
            record.payload.write(
                _EXECUTION.pack(last_activity, history_events, replayed_events, running, closed)
            )

    def release(self) -> None:
        """It left the cache. Again: nothing."""
        record, self._record = self._record, None
        if record is not None:
            record.release()


def hold_activity(store: RecordStore, activity: HeldActivity) -> ActivityEntry | None:
    """None: it finds no room."""
    body = _encode(
        _ActivityBody(
            activity.workflow_id,
            activity.run_id,
            activity.workflow_type,
            activity.activity_id,
            activity.activity_type,
            activity.attempt,
            activity.task_token,
            activity.since,
            activity.expires,
        )
    )
    record = store.add(ACTIVITY, body, _DETAILS.pack(0, 0, 0, activity.details_dropped))
    if record is None:
        return None
    entry = ActivityEntry(store, record)
    if activity.details:
        entry.heartbeat(activity.details)
    return entry


def hold_execution(store: RecordStore, execution: CachedExecution) -> ExecutionEntry | None:
    """None: it finds no room."""
    body = _encode(
        _ExecutionBody(execution.workflow_id, execution.run_id, execution.workflow_type, execution.since)
    )
    payload = _EXECUTION.pack(
        execution.last_activity,
        execution.history_events,
        execution.replayed_events,
        execution.state is ExecutionState.RUNNING,
        execution.closed,
    )
    record = store.add(EXECUTION, body, payload)
    return ExecutionEntry(record) if record is not None else None


def read_activity(reader: RecordReader, stored: StoredRecord) -> HeldActivity | None:
    """None: a living entity released it meanwhile, or it says nothing of this layout."""
    body = _decoded(_decode_activity, stored)
    found = _details(reader, stored) if body is not None else None
    if body is None or found is None:
        return None
    details, dropped = found
    return HeldActivity(
        workflow_id=body.workflow_id,
        run_id=body.run_id,
        workflow_type=body.workflow_type,
        activity_id=body.activity_id,
        activity_type=body.activity_type,
        attempt=body.attempt,
        task_token=body.task_token,
        since=body.since,
        expires=body.expires,
        details=details,
        details_dropped=dropped,
    )


def _details(reader: RecordReader, stored: StoredRecord) -> tuple[bytes, int] | None:
    """The details, and how many bytes of them were dropped; None: a living entity released the activity."""
    now: StoredRecord | None = stored
    for _ in range(_READINGS):
        if now is None or now.body != stored.body:
            return None
        offset, length, check, dropped = _DETAILS.unpack(now.payload)
        if length > LARGEST_DETAILS:
            break
        details = reader.read(offset, length) if length else b""
        if crc32(details) == check:
            return details, dropped
        # A living entity wrote two heartbeats, or released it, since its payload was read.
        now = reader.again(stored.offset)
    # Something wrote over them that is not ours: the activity is worth more than its details.
    return b"", length


def read_execution(stored: StoredRecord) -> CachedExecution | None:
    """None: it says nothing of this layout."""
    body = _decoded(_decode_execution, stored)
    if body is None:
        return None
    last_activity, history_events, replayed_events, running, closed = _EXECUTION.unpack(stored.payload)
    return CachedExecution(
        workflow_id=body.workflow_id,
        run_id=body.run_id,
        workflow_type=body.workflow_type,
        since=body.since,
        state=ExecutionState.RUNNING if running else ExecutionState.BLOCKED,
        closed=closed,
        last_activity=last_activity,
        history_events=history_events,
        replayed_events=replayed_events,
    )


def _decoded(decode: Callable[[bytes], _Body], stored: StoredRecord) -> _Body | None:
    try:
        return decode(stored.body)
    # Text that is no UTF-8 is not reported as a DecodeError.
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
