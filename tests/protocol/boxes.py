"""What stands in a black box, as plain values: to be compared with what is read from it."""

from pathlib import Path

import msgspec

from temporal_fleet.protocol.blackbox import BlackBoxWriter, ExecutionEntry, read_blackbox
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity
from temporal_fleet.protocol.process import ProcessIdentity

WRITER = ProcessIdentity(pid=42, start_time=4711, boot_id="0" * 36)

ACTIVITY = HeldActivity(
    workflow_id="order-1",
    run_id="1f0e6a0c-6a53-4b7a-9a62-0c46d0a3a0f1",
    workflow_type="Order",
    activity_id="5",
    activity_type="charge",
    attempt=1,
    task_token=b"\x0a\x24token",
    since=1_800_000_000.25,
    expires=None,
)
EXECUTION = CachedExecution(
    workflow_id="order-1",
    run_id="1f0e6a0c-6a53-4b7a-9a62-0c46d0a3a0f1",
    workflow_type="Order",
    since=1_800_000_000.25,
    state=ExecutionState.RUNNING,
    closed=False,
    last_activity=1_800_000_000.25,
    history_events=3,
    replayed_events=0,
)

Held = HeldActivity | CachedExecution


def write(path: Path) -> BlackBoxWriter:
    return BlackBoxWriter(path, "orders-1", 7, WRITER)


def held(path: Path) -> list[Held]:
    """All that a box says is held, in one order."""
    holdings = read_blackbox(path).holdings
    return in_order([*holdings.activities, *holdings.executions])


def in_order(all_held: list[Held]) -> list[Held]:
    return sorted(all_held, key=msgspec.json.encode)


def marked(execution: CachedExecution, number: int) -> CachedExecution:
    """The same execution after so many marks, each of which changes everything that it can."""
    return msgspec.structs.replace(
        execution,
        state=ExecutionState.BLOCKED if number % 3 else ExecutionState.RUNNING,
        closed=number % 2 == 1,
        last_activity=execution.since + number,
        history_events=number,
        replayed_events=number * 7 % 2**32,
    )


def mark(entry: ExecutionEntry, execution: CachedExecution) -> None:
    """Let the entry say what this execution says."""
    entry.mark(
        state=execution.state,
        closed=execution.closed,
        last_activity=execution.last_activity,
        history_events=execution.history_events,
        replayed_events=execution.replayed_events,
    )


def set_layout(box: Path, layout: int) -> None:
    """Have it say that it is written in that one."""
    with box.open("r+b") as file:
        file.seek(8)
        file.write(layout.to_bytes(4, "little"))
