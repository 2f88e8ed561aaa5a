"""A black box is right at any instant: its writer killed half-way, or alive and writing without end."""

import mmap
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import msgspec
import pytest

from temporal_fleet.protocol import blackbox, entries, mapped, records
from temporal_fleet.protocol.blackbox import HEADER, BlackBoxContents, BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.holdings import CachedExecution, HeldActivity
from tests.protocol.boxes import ACTIVITY, EXECUTION, Held, held, in_order, mark, marked, write
from tests.waiting import wait_until

WRITERS = {module.__file__ for module in (blackbox, entries, mapped, records)}


def instants(path: Path, call: Callable[[], object]) -> list[bytes]:
    """The file before a call and after each instruction of the writer that changed it."""
    seen = [path.read_bytes()]

    def look() -> None:
        now = path.read_bytes()
        if now != seen[-1]:
            seen.append(now)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WRITERS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            look()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    look()
    return seen


def torn(before: bytes, after: bytes, chance: random.Random) -> Iterator[bytes]:
    """What may stand in the file while the machine copies: so far from the begin or from the end, over zeros
    (struct.pack_into clears its place first), or any words of it."""
    before = before.ljust(len(after), b"\0")
    changed = [place for place in range(len(after)) if before[place] != after[place]]
    if not changed:
        return
    first, end = changed[0], changed[-1] + 1
    for cut in sorted(chance.sample(range(first, end), min(end - first, 64))):
        yield after[:cut] + before[cut:]
        yield before[:cut] + after[cut:]
        yield after[:cut] + bytes(end - cut) + before[end:]
    for _ in range(16):
        words = bytearray(before)
        for word in range(first - first % 8, end, 8):
            if chance.random() < 0.5:
                words[word : word + 8] = after[word : word + 8]
        yield bytes(words)


class Script:
    """Calls of a writer, one by one, and what its box says after each."""

    def __init__(self, box: BlackBoxWriter) -> None:
        self._box = box
        self._entries: dict[str, Any] = {}
        self.model: dict[str, Held] = {}

    def hold_activity(self, name: str, length: int) -> Callable[[], object]:
        activity = msgspec.structs.replace(ACTIVITY, run_id=name, workflow_id="a" * length)
        self.model[name] = activity
        return lambda: self._entries.update({name: self._box.hold_activity(activity)})

    def hold_execution(self, name: str, length: int) -> Callable[[], object]:
        execution = msgspec.structs.replace(EXECUTION, run_id=name, workflow_id="e" * length)
        self.model[name] = execution
        return lambda: self._entries.update({name: self._box.hold_execution(execution)})

    def heartbeat(self, name: str, details: bytes) -> Callable[[], object]:
        dropped = len(details) if len(details) > 2048 else 0
        self.model[name] = msgspec.structs.replace(
            self.model[name], details=b"" if dropped else details, details_dropped=dropped
        )
        return lambda: self._entries[name].heartbeat(details)

    def mark(self, name: str, turn: int) -> Callable[[], object]:
        execution = self.model[name]
        assert isinstance(execution, CachedExecution)
        self.model[name] = now = marked(execution, turn)
        return lambda: mark(self._entries[name], now)

    def release(self, name: str) -> Callable[[], object]:
        del self.model[name]
        release: Callable[[], object] = self._entries[name].release
        return release


STEPS: list[Callable[[Script], Callable[[], object]]] = [
    lambda script: script.hold_activity("a", 20),
    lambda script: script.hold_execution("e", 20),
    lambda script: script.heartbeat("a", b"first"),
    lambda script: script.mark("e", 255),
    lambda script: script.mark("e", 256),
    lambda script: script.heartbeat("a", b"y" * 2000),
    lambda script: script.hold_activity("b", 1000),
    lambda script: script.mark("e", 257),
    lambda script: script.heartbeat("a", b"z" * 1500),
    lambda script: script.heartbeat("b", b"1"),
    lambda script: script.heartbeat("a", b"too large" * 1000),
    lambda script: script.release("e"),
    lambda script: script.hold_execution("f", 0),
    lambda script: script.heartbeat("a", b"more"),
    lambda script: script.release("a"),
    # Where "a" was, and the details of its heartbeats.
    lambda script: script.hold_execution("g", 700),
    lambda script: script.mark("f", 2**31),
    lambda script: script.release("b"),
    lambda script: script.hold_activity("h", 10),
    lambda script: script.mark("g", 3),
    # Beyond what the file has at first.
    lambda script: script.hold_activity("1", 15_000),
    lambda script: script.hold_activity("2", 15_000),
    lambda script: script.hold_execution("3", 15_000),
    lambda script: script.hold_execution("4", 15_000),
    lambda script: script.hold_execution("5", 15_000),
    lambda script: script.heartbeat("h", b"w" * 1000),
    lambda script: script.release("2"),
    lambda script: script.hold_execution("6", 900),
]


def test_a_call_that_is_cut_off_anywhere_has_happened_or_has_not(tmp_path: Path) -> None:
    """What is changed is there as before or as after; all else is there as it was."""
    chance = random.Random(5)
    script = Script(write(tmp_path / "box"))
    for number, step in enumerate(STEPS):
        before = in_order([*script.model.values()])
        call = step(script)
        after = in_order([*script.model.values()])
        found = []
        for earlier, later in pairwise(instants(tmp_path / "box", call)):
            for content in [*torn(earlier, later, chance), later]:
                (tmp_path / "torn").write_bytes(content)
                found.append(held(tmp_path / "torn"))
        assert before in found, f"step {number}: no instant was before it"
        assert found[-1] == after
        assert all(there in (before, after) for there in found), f"step {number}"


def test_what_was_half_read_before_changes_and_half_after_them_is_read_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A living writer changed much while its file was read: what it left alone is there, the rest as it was
    at one of these times."""
    chance = random.Random(11)
    path, now = tmp_path / "box", tmp_path / "now"
    script = Script(write(path))
    states: list[tuple[bytes, dict[str, Held]]] = []
    for number in range(400):
        random_step(script, chance, number)()
        states.append((path.read_bytes(), dict(script.model)))
    pread = os.pread
    half_read = b""

    def reading(descriptor: int, length: int, offset: int) -> bytes:
        is_whole = offset == 0 and length > HEADER
        return half_read if is_whole else pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", reading)
    for _ in range(1500):
        first = chance.randrange(len(states) - 20)
        during = states[first : first + chance.randrange(2, 20)]
        (earlier, _), (later, _) = during[0], during[-1]
        cut = chance.randrange(HEADER, HEADER + 20_000)
        half_read = earlier[:cut] + later[cut:]
        now.write_bytes(later)
        found = held(now)
        names = {value.run_id: value for value in found}
        assert len(names) == len(found)
        for name in {name for _, model in during for name in model} | set(names):
            assert names.get(name) in [model.get(name) for _, model in during]


@pytest.mark.parametrize("begin", [255, 256])
def test_a_mark_that_is_half_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int
) -> None:
    """What it said before the reading began is nothing that it said during it."""
    path = tmp_path / "box"
    entry = write(path).hold_execution(EXECUTION)
    for turn in range(begin, 258):
        mark(entry, marked(EXECUTION, turn))
    earlier = path.read_bytes()
    for turn in (258, 259):
        mark(entry, marked(EXECUTION, turn))
    later = path.read_bytes()
    pread = os.pread
    changed = [place for place in range(len(later)) if earlier[place] != later[place]]
    for cut in range(changed[0], changed[-1] + 1):
        half_read = earlier[:cut] + later[cut:]

        def reading(descriptor: int, length: int, offset: int, half_read: bytes = half_read) -> bytes:
            is_whole = offset == 0 and length > HEADER
            return half_read if is_whole else pread(descriptor, length, offset)

        monkeypatch.setattr(os, "pread", reading)
        assert held(path) in [[marked(EXECUTION, turn)] for turn in (257, 258, 259)]


def random_step(script: Script, chance: random.Random, number: int) -> Callable[[], object]:
    length = chance.choice((0, 40, 400, 1000))
    name = chance.choice(sorted(script.model)) if script.model else ""
    if len(script.model) < 20 or chance.random() < 0.2:
        # An execution may come again, an activity task never does.
        again = str(chance.randrange(40))
        if again not in script.model:
            return script.hold_execution(again, length)
        return script.hold_activity(f"activity-{number}", length)
    if chance.random() < 0.3:
        return script.release(name)
    if isinstance(script.model[name], HeldActivity):
        return script.heartbeat(name, chance.randbytes(chance.choice((1, 70, 1000))))
    return script.mark(name, chance.randrange(1000))


STABLE = 40
CHANGING = 8
"""Executions that are marked, and activities that heartbeat, without end."""


def stable(number: int) -> list[Held]:
    name = f"stable-{number}"
    activity = msgspec.structs.replace(ACTIVITY, run_id=name, details=name.encode() * 20)
    execution = msgspec.structs.replace(EXECUTION, run_id=name, workflow_id="w" * (number * 20))
    return [activity, execution]


def changing_execution(number: int, turn: int) -> CachedExecution:
    return marked(msgspec.structs.replace(EXECUTION, run_id=f"changing-{number}"), turn)


def changing_activity(number: int, turn: int) -> HeldActivity:
    details = turn.to_bytes(8, "little") * (turn * 7 % 256) + turn.to_bytes(8, "little")
    return msgspec.structs.replace(ACTIVITY, run_id=f"changing-{number}", details=details)


def passing(turn: int) -> Held:
    """What is held for a moment only. All of it follows from its turn."""
    kind: Held = ACTIVITY if turn % 2 else EXECUTION
    return msgspec.structs.replace(
        kind, run_id=f"passing-{turn}", workflow_id="p" * (turn * 31 % 900), since=float(turn)
    )


def _write_for_ever(path: Path, progress: memoryview) -> NoReturn:
    box = write(path)
    kept = []
    for number in range(STABLE):
        activity, execution = stable(number)
        assert isinstance(activity, HeldActivity)
        assert isinstance(execution, CachedExecution)
        kept += [box.hold_activity(activity), box.hold_execution(execution)]
    executions = [box.hold_execution(changing_execution(n, 0)) for n in range(CHANGING)]
    activities = [box.hold_activity(changing_activity(n, 0)) for n in range(CHANGING)]

    def mark_all() -> None:
        turn = 0
        while True:
            turn += 1
            for number, entry in enumerate(executions):
                mark(entry, changing_execution(number, turn))
                progress[number] = turn

    def beat_all() -> None:
        turn = 0
        while True:
            turn += 1
            for number, entry in enumerate(activities):
                entry.heartbeat(changing_activity(number, turn).details)
                progress[CHANGING + number] = turn

    def pass_by() -> None:
        turn = 0
        here: list[Any] = []
        while True:
            turn += 1
            value = passing(turn)
            hold = box.hold_activity if isinstance(value, HeldActivity) else box.hold_execution
            here.append(hold(value))  # type: ignore[arg-type]
            # Hundreds at times, so that the file grows, and few at others.
            while len(here) > turn % 2000 // 4:
                here.pop(turn * 7 % len(here)).release()
            progress[2 * CHANGING] = turn

    threads = [threading.Thread(target=target, daemon=True) for target in (mark_all, beat_all, pass_by)]
    for thread in threads:
        thread.start()
    threads[0].join()
    os._exit(1)


@contextmanager
def busy_writer(path: Path) -> Iterator[tuple[int, memoryview]]:
    """A process whose threads change its black box all the time."""
    progress = memoryview(mmap.mmap(-1, (2 * CHANGING + 1) * 8)).cast("Q")
    pid = os.fork()
    if pid == 0:
        try:
            _write_for_ever(path, progress)
        finally:
            os._exit(1)
    try:
        wait_until(lambda: all(progress), what="every thread of the writer changed something")
        yield pid, progress
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def check(contents: BlackBoxContents, least: list[int], most: list[int]) -> None:
    """All that stays is there as it is, all that changes at one of its turns; nothing is lost or invented."""
    activities: dict[str, HeldActivity] = {a.run_id: a for a in contents.holdings.activities}
    executions: dict[str, CachedExecution] = {e.run_id: e for e in contents.holdings.executions}
    assert len(activities) == len(contents.holdings.activities), "an activity stands there twice"
    assert len(executions) == len(contents.holdings.executions), "an execution stands there twice"
    for number in range(STABLE):
        name = f"stable-{number}"
        assert [activities.pop(name), executions.pop(name)] == stable(number)
    for number in range(CHANGING):
        execution = executions.pop(f"changing-{number}")
        turn = execution.history_events
        assert execution == changing_execution(number, turn)
        assert least[number] <= turn <= most[number] + 1
        activity = activities.pop(f"changing-{number}")
        turn = int.from_bytes(activity.details[:8], "little")
        assert activity == changing_activity(number, turn)
        assert least[CHANGING + number] <= turn <= most[CHANGING + number] + 1
    passed: list[HeldActivity | CachedExecution] = [*activities.values(), *executions.values()]
    for value in passed:
        assert value == passing(int(value.since))
        assert value.since <= most[2 * CHANGING] + 1
    assert contents.holdings.unrecorded == 0


def test_a_living_writer_that_never_rests_is_read_rightly(tmp_path: Path) -> None:
    with busy_writer(tmp_path / "box") as (_, progress):
        begun = progress[0]
        for _ in range(300):
            least = list(progress)
            contents = read_blackbox(tmp_path / "box")
            check(contents, least, list(progress))
        assert progress[0] > begun


@pytest.mark.parametrize("series", range(4))
def test_a_writer_killed_at_a_random_instant_leaves_all_that_it_held(tmp_path: Path, series: int) -> None:
    chance = random.Random(series)
    for number in range(20):
        path = tmp_path / f"box-{number}"
        with busy_writer(path) as (_, progress):
            # The one sleep of a random length: the instant of the kill is what is tested.
            time.sleep(chance.random() * 0.05)
        told = list(progress)
        check(read_blackbox(path), told, told)
        path.unlink()
