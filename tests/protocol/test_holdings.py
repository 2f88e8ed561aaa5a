"""What an entity holds is in its black box as it was written: any calls, many of them, by many threads."""

import os
import random
import resource
import shutil
import struct
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from temporal_fleet.protocol import entries
from temporal_fleet.protocol.blackbox import (
    HEADER,
    LARGEST,
    ActivityEntry,
    BlackBoxWriter,
    read_blackbox,
)
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity
from tests.faults.limits import fill, small_disk
from tests.protocol.boxes import ACTIVITY, EXECUTION, Held, held, in_order, mark, marked, write
from tests.waiting import wait_until

LARGEST_DETAILS = 2048
TOO_LARGE = "x" * 20_000


def test_what_is_held_is_read(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.hold_activity(ACTIVITY)
    box.hold_execution(EXECUTION)
    holdings = read_blackbox(tmp_path / "box").holdings
    assert (holdings.activities, holdings.executions, holdings.unrecorded) == ([ACTIVITY], [EXECUTION], 0)


def test_details_over_the_bound_are_dropped_and_counted(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    entry = box.hold_activity(ACTIVITY)
    for details, kept in (
        (b"x" * LARGEST_DETAILS, True),
        (b"x" * (LARGEST_DETAILS + 1), False),
        (b"1", True),
    ):
        entry.heartbeat(details)
        (activity,) = read_blackbox(tmp_path / "box").holdings.activities
        assert activity.details == (details if kept else b"")
        assert activity.details_dropped == (0 if kept else len(details))


def test_of_a_run_that_is_held_twice_the_later_is_read(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    place = box.hold_activity(ACTIVITY)
    box.hold_execution(EXECUTION)
    place.release()
    box.hold_execution(marked(EXECUTION, 5))
    assert held(tmp_path / "box") == [marked(EXECUTION, 5)]


Text = st.one_of(st.text(max_size=12), st.text(min_size=900, max_size=1000))
Seconds = st.floats(allow_nan=False)
Count = st.integers(0, 2**32 - 1)
Details = st.one_of(st.binary(max_size=LARGEST_DETAILS), st.integers(1, 5000).map(bytes))
States = st.sampled_from(ExecutionState)

Activities = st.builds(
    HeldActivity,
    workflow_id=Text,
    run_id=Text,
    workflow_type=Text,
    activity_id=Text,
    activity_type=Text,
    attempt=st.integers(1, 2**31 - 1),
    task_token=st.binary(max_size=300),
    since=Seconds,
    expires=st.none() | Seconds,
)
Executions = st.builds(
    CachedExecution,
    workflow_id=Text,
    run_id=Text,
    workflow_type=Text,
    since=Seconds,
    state=States,
    closed=st.booleans(),
    last_activity=Seconds,
    history_events=Count,
    replayed_events=Count,
)


class Calls(RuleBasedStateMachine):
    """Any calls in any order; after each, the file says what it should."""

    activities: Bundle[int] = Bundle("activities")
    executions: Bundle[int] = Bundle("executions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.box = write(self.folder / "box")
        self.entries: list[Any] = []
        self.model: dict[int, Held] = {}
        self.unrecorded = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _held(self, entry: object, value: Held) -> int:
        self.entries.append(entry)
        number = len(self.entries) - 1
        self.model[number] = value
        return number

    @rule(target=activities, activity=Activities)
    def hold_activity(self, activity: HeldActivity) -> int:
        return self._held(self.box.hold_activity(activity), activity)

    @rule(target=executions, execution=Executions)
    def hold_execution(self, execution: CachedExecution) -> int:
        # One run is in the cache but once.
        execution = msgspec.structs.replace(execution, run_id=f"{len(self.entries)} {execution.run_id}")
        return self._held(self.box.hold_execution(execution), execution)

    @rule(target=activities, activity=Activities)
    def hold_too_large_an_activity(self, activity: HeldActivity) -> int:
        number = len(self.entries)
        too_large = msgspec.structs.replace(activity, task_token=TOO_LARGE.encode())
        self.entries.append(self.box.hold_activity(too_large))
        self.unrecorded += 1
        return number

    @rule(target=executions, execution=Executions)
    def hold_too_large_an_execution(self, execution: CachedExecution) -> int:
        number = len(self.entries)
        too_large = msgspec.structs.replace(execution, workflow_id=TOO_LARGE)
        self.entries.append(self.box.hold_execution(too_large))
        self.unrecorded += 1
        return number

    @rule(number=activities, details=Details)
    def heartbeat(self, number: int, details: bytes) -> None:
        self.entries[number].heartbeat(details)
        if number in self.model:
            dropped = len(details) > LARGEST_DETAILS
            self.model[number] = msgspec.structs.replace(
                self.model[number],
                details=b"" if dropped else details,
                details_dropped=len(details) if dropped else 0,
            )

    @rule(number=executions, state=States, closed=st.booleans(), last=Seconds, history=Count, replayed=Count)
    def mark(
        self, number: int, state: ExecutionState, closed: bool, last: float, history: int, replayed: int
    ) -> None:
        change = {
            "state": state,
            "closed": closed,
            "last_activity": last,
            "history_events": history,
            "replayed_events": replayed,
        }
        self.entries[number].mark(**change)
        if number in self.model:
            self.model[number] = msgspec.structs.replace(self.model[number], **change)

    # Not consumed: a second release is one of the calls.
    @rule(number=st.one_of(activities, executions))
    def release(self, number: int) -> None:
        self.entries[number].release()
        self.model.pop(number, None)

    @rule(name=st.text(max_size=200))
    def write_texts(self, name: str) -> None:
        self.box.write_sticky_queue(name)
        self.box.write_last_words(name)

    @invariant()
    def the_file_says_it(self) -> None:
        assert held(self.folder / "box") == in_order(list(self.model.values()))
        assert read_blackbox(self.folder / "box").holdings.unrecorded == self.unrecorded
        assert self.box.unrecorded == self.unrecorded


TestCalls = Calls.TestCase
# How long the details may be has its bound tested here, so many examples are large.
TestCalls.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.data_too_large],
)


def test_a_box_grows_as_it_must_and_takes_what_was_released_again(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    small = (tmp_path / "box").stat().st_size
    executions = [msgspec.structs.replace(EXECUTION, run_id=f"run-{n}") for n in range(3000)]
    entries = [box.hold_execution(execution) for execution in executions]
    grown = (tmp_path / "box").stat().st_size
    assert grown > small
    assert held(tmp_path / "box") == in_order([*executions])
    # What was held before the file grew can be changed after it.
    mark(entries[0], marked(executions[0], 5))
    assert marked(executions[0], 5) in read_blackbox(tmp_path / "box").holdings.executions
    random.Random(3).shuffle(entries)
    for entry in entries:
        entry.release()
    assert held(tmp_path / "box") == []
    for execution in executions:
        box.hold_execution(execution)
    assert (tmp_path / "box").stat().st_size == grown
    assert held(tmp_path / "box") == in_order([*executions])
    assert box.unrecorded == 0


def test_details_that_grow_leave_nothing_behind(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    before = (tmp_path / "box").stat().st_size
    for _ in range(100):
        entry = box.hold_activity(ACTIVITY)
        for length in range(100, LARGEST_DETAILS, 100):
            entry.heartbeat(bytes(length))
        entry.release()
    assert (tmp_path / "box").stat().st_size == before


def until_full(box: BlackBoxWriter, length: int = 10_000) -> list[tuple[ActivityEntry, HeldActivity]]:
    """Hold activities until one finds no room; those that found some."""
    recorded: list[tuple[ActivityEntry, HeldActivity]] = []
    before = box.unrecorded
    while True:
        name = f"{length}-{len(recorded)}"
        large = msgspec.structs.replace(ACTIVITY, activity_id=name, task_token=bytes(length))
        entry = box.hold_activity(large)
        if box.unrecorded > before:
            return recorded
        recorded.append((entry, large))


def test_a_full_box_counts_what_it_cannot_take_and_goes_on(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    recorded = until_full(box)
    assert (tmp_path / "box").stat().st_size <= LARGEST < (tmp_path / "box").stat().st_size + 70_000
    small = box.hold_execution(EXECUTION)
    small.release()
    before = held(tmp_path / "box")
    assert before == in_order([activity for _, activity in recorded])
    nowhere = box.hold_activity(recorded[0][1])
    nowhere.heartbeat(b"details")
    nowhere.release()
    nowhere.release()
    assert held(tmp_path / "box") == before
    assert read_blackbox(tmp_path / "box").holdings.unrecorded == box.unrecorded == 2
    entry, activity = recorded[17]
    entry.release()
    box.hold_activity(activity)
    assert held(tmp_path / "box") == before
    assert box.unrecorded == 2


def test_details_without_room_are_dropped_and_counted(tmp_path: Path) -> None:
    def told() -> tuple[bytes, int]:
        activities = read_blackbox(tmp_path / "box").holdings.activities
        (mine,) = [activity for activity in activities if activity.activity_id == ACTIVITY.activity_id]
        return mine.details, mine.details_dropped

    box = write(tmp_path / "box")
    entry = box.hold_activity(ACTIVITY)
    entry.heartbeat(b"before")
    recorded = [taken for length in (10_000, 1_000, 0) for taken in until_full(box, length)]
    entry.heartbeat(b"x" * 2000)
    assert told() == (b"", 2000)
    for taken, _ in recorded[:2]:
        taken.release()
    entry.heartbeat(b"x" * 2000)
    assert told() == (b"x" * 2000, 0)


def test_a_full_disk_counts_what_it_cannot_take_and_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256):
        box = write(tmp_path / "disk" / "box")
        filler = fill(tmp_path / "disk")
        recorded = until_full(box)
        assert recorded
        assert held(tmp_path / "disk" / "box") == in_order([activity for _, activity in recorded])
        assert read_blackbox(tmp_path / "disk" / "box").holdings.unrecorded == 1
        filler.unlink()

        def has_room() -> bool:
            before = box.unrecorded
            box.hold_activity(recorded[0][1])
            return box.unrecorded == before

        wait_until(has_room, what="the box grows again")
        assert len(held(tmp_path / "disk" / "box")) == len(recorded) + 1


def test_a_box_with_room_for_its_header_alone_counts_all(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16):
        box = write(tmp_path / "disk" / "box")
        assert (tmp_path / "disk" / "box").stat().st_size == HEADER
        box.hold_execution(EXECUTION).release()
        box.hold_activity(ACTIVITY).heartbeat(b"1")
        read = read_blackbox(tmp_path / "disk" / "box")
        assert (read.entity, read.holdings.activities, read.holdings.executions) == ("orders-1", [], [])
        assert read.holdings.unrecorded == 2


def test_a_limit_of_the_size_of_files_is_as_a_full_disk(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        box = write(tmp_path / "box")
        recorded = until_full(box)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert recorded
    assert held(tmp_path / "box") == in_order([activity for _, activity in recorded])


def test_threads_write_at_once(tmp_path: Path) -> None:
    box = write(tmp_path / "box")

    def work(number: int) -> list[Held]:
        """Calls at random; what is held at their end."""
        chance = random.Random(number)
        mine: dict[str, tuple[Any, Held]] = {}
        begin.wait()
        for step in range(1500):
            name = f"{number}-{chance.randrange(60)}"
            if name not in mine:
                size = chance.choice((10, 100, 1000))
                if chance.random() < 0.5:
                    activity = msgspec.structs.replace(ACTIVITY, run_id=name, workflow_id="ü" * size)
                    mine[name] = box.hold_activity(activity), activity
                else:
                    execution = msgspec.structs.replace(EXECUTION, run_id=name, workflow_id="ü" * size)
                    mine[name] = box.hold_execution(execution), execution
                continue
            entry, value = mine[name]
            if chance.random() < 0.4:
                entry.release()
                del mine[name]
            elif isinstance(value, HeldActivity):
                details = name.encode() * chance.randrange(1, 300)
                entry.heartbeat(details)
                mine[name] = entry, msgspec.structs.replace(value, details=details)
            else:
                value = marked(value, step)
                mark(entry, value)
                mine[name] = entry, value
        return [value for _, value in mine.values()]

    begin = threading.Barrier(6)
    with ThreadPoolExecutor(6) as threads:
        expected = [value for done in threads.map(work, range(6)) for value in done]
    assert expected
    assert held(tmp_path / "box") == in_order(expected)


@pytest.mark.parametrize("kind", [entries.ACTIVITY, entries.EXECUTION])
@pytest.mark.parametrize("body", [b"\x94\xa2\xff\xfe", b"", b"\xc0", b"\x99" + b"\xa1\xff" * 9])
def test_a_record_that_says_nothing_costs_no_other(tmp_path: Path, kind: int, body: bytes) -> None:
    """Its checksum is right: what wrote it is at fault, not the disk."""
    box = write(tmp_path / "box")
    box.hold_activity(ACTIVITY)
    box._store.add(kind, body, bytes(20))
    box.hold_execution(EXECUTION)
    assert held(tmp_path / "box") == in_order([ACTIVITY, EXECUTION])


@pytest.mark.parametrize("length", [LARGEST_DETAILS + 1, 2**32 - 1])
def test_details_of_an_absurd_length_are_dropped(tmp_path: Path, length: int) -> None:
    box = write(tmp_path / "box")
    body = msgspec.msgpack.encode(
        ["order-1", ACTIVITY.run_id, "Order", "5", "charge", 1, ACTIVITY.task_token, ACTIVITY.since, None]
    )
    # The bytes it points to are in the file, and their checksum is right.
    there = (tmp_path / "box").read_bytes()[:length]
    box._store.add(entries.ACTIVITY, body, struct.pack("<IIIQ", 0, length, zlib.crc32(there), 0))
    (activity,) = read_blackbox(tmp_path / "box").holdings.activities
    assert activity == msgspec.structs.replace(ACTIVITY, details_dropped=length)


def test_a_file_larger_than_any_box_is_none(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.hold_activity(ACTIVITY)
    os.truncate(tmp_path / "box", LARGEST)
    assert held(tmp_path / "box") == [ACTIVITY]
    os.truncate(tmp_path / "box", 1 << 40)
    with pytest.raises(PeerRubbish, match=f"{1 << 40} bytes, over"):
        read_blackbox(tmp_path / "box")
