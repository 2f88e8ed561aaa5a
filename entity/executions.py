"""The Workflow Executions in one entity's cache: which there are, what each is at, how many came and went.

The table alone. Who sees the tasks is in recorder, who sees the activations in tracking; which executions
have to go is in evictor.
"""

from collections import deque
from time import monotonic, time
from typing import Any

from temporal_fleet.protocol.blackbox import BlackBoxWriter, ExecutionEntry
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState

_RUNNING, _BLOCKED = ExecutionState.RUNNING, ExecutionState.BLOCKED
_RESURRECTED = 10_000
_CLOSINGS = {
    "complete_workflow_execution",
    "continue_as_new_workflow_execution",
    "fail_workflow_execution",
    "cancel_workflow_execution",
}


class Execution:
    """One cached execution. What an activation changes of it is written in that activation's thread, of which
    there is one at a time; the rest, and the black box, on the event loop."""

    __slots__ = (
        "_box",
        "_catching_up",
        "_coming_since",
        "closed",
        "history_events",
        "last_activity",
        "local_activities",
        "replayed_events",
        "run_id",
        "runs_since",
        "workflow_id",
        "workflow_type",
    )

    def __init__(
        self, run_id: str, workflow_id: str, workflow_type: str, box: BlackBoxWriter, *, replays: bool = False
    ) -> None:
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.last_activity = time()
        self.closed = False
        self.history_events = 0
        self.replayed_events = 0
        self._catching_up = True
        self._coming_since = monotonic() if replays else None
        self.runs_since: float | None = None
        """By the monotonic clock, its code; None: it does not."""
        self.local_activities: set[int] = set()
        """In flight: its Workflow Task stays in hand."""
        self._box: ExecutionEntry = box.hold_execution(
            CachedExecution(
                workflow_id=workflow_id,
                run_id=run_id,
                workflow_type=workflow_type,
                since=self.last_activity,
                state=ExecutionState.RUNNING,
                closed=False,
                last_activity=self.last_activity,
                history_events=0,
                replayed_events=0,
            )
        )

    def activated(self, activation: Any, completion: Any) -> None:
        """Learn from what the SDK's instance was given, and what it answered (protobufs of the bridge)."""
        self.history_events = activation.history_length
        # A query to a cached execution replays too, by its word.
        if self._catching_up:
            if activation.is_replaying:
                self.replayed_events = activation.history_length
            else:
                self._catching_up = False
        if self.local_activities:
            for job in activation.jobs:
                if job.HasField("resolve_activity") and job.resolve_activity.is_local:
                    self.local_activities.discard(job.resolve_activity.seq)
        for command in completion.successful.commands:
            kind = command.WhichOneof("variant")
            if kind == "schedule_local_activity":
                self.local_activities.add(command.schedule_local_activity.seq)
            elif kind in _CLOSINGS:
                self.closed = True
                self.local_activities.clear()

    def came_back_in(self) -> float | None:
        """Seconds that its resurrection took, told once: when it is at the end of its history again. None: it
        is not, it began here, or it was told."""
        if self._coming_since is None or self._catching_up:
            return None
        took = monotonic() - self._coming_since
        self._coming_since = None
        return took

    def mark(self, state: ExecutionState) -> None:
        """Something happened to it just now."""
        self.last_activity = now = time()
        self._box.mark(
            state=state,
            closed=self.closed,
            last_activity=now,
            history_events=self.history_events,
            replayed_events=self.replayed_events,
        )

    def release(self) -> None:
        """It left the cache, and the black box."""
        self._box.release()


class Executions:
    """The table, kept in the black box as well. For the event loop alone, but `find`."""

    def __init__(self, box: BlackBoxWriter) -> None:
        self.evictions = 0
        """Executions that left the cache before they were closed."""
        self.resurrections = 0
        """Executions that came into the cache with a history."""
        self.resurrected: deque[float] = deque(maxlen=_RESURRECTED)
        """Seconds that each took, until somebody takes them out."""
        self._box = box
        self._cached: dict[str, Execution] = {}
        self._running: set[str] = set()
        self.leaving = 0
        """Executions that were evicted, and that the SDK is about to let go of: their memory is in use."""

    @property
    def cached(self) -> int:
        return len(self._cached)

    @property
    def blocked(self) -> int:
        return len(self._cached) - len(self._running)

    def taken(self, activation: Any) -> None:
        """An activation left the SDK's poll; not for those that evict."""
        run_id: str = activation.run_id
        execution = self._cached.get(run_id)
        if execution is None:
            for job in activation.jobs:
                if job.HasField("initialize_workflow"):
                    start = job.initialize_workflow
                    break
            else:
                # The SDK will refuse it: there is nothing that it could run.
                return
            self._cached[run_id] = Execution(
                run_id, start.workflow_id, start.workflow_type, self._box, replays=activation.is_replaying
            )
            self.resurrections += activation.is_replaying
        elif run_id not in self._running:
            execution.mark(_RUNNING)
        self._running.add(run_id)

    def given_back(self, run_id: str) -> None:
        """The SDK has taken the answer to an activation."""
        execution = self._cached.get(run_id)
        if execution is None:
            return
        if (took := execution.came_back_in()) is not None:
            self.resurrected.append(took)
        if execution.local_activities:
            execution.mark(_RUNNING)
        else:
            self._running.discard(run_id)
            execution.mark(_BLOCKED)

    def evicted(self, run_id: str) -> None:
        """The SDK has torn it down, and is about to say so to its core. `let_go` follows."""
        self.leaving += 1
        execution = self._cached.pop(run_id, None)
        if execution is None:
            return
        self._running.discard(run_id)
        self.evictions += not execution.closed
        execution.release()

    def let_go(self) -> None:
        """The SDK is done with an execution that was evicted."""
        self.leaving -= 1

    def abandoned(self) -> list[Execution]:
        """What was cached: the SDK's core let it all go, at the end of its Worker, and told nobody. The black
        box has it until it is released."""
        abandoned = self.everything()
        for execution in abandoned:
            self.evictions += not execution.closed
        self._cached.clear()
        self._running.clear()
        return abandoned

    def find(self, run_id: str) -> Execution | None:
        return self._cached.get(run_id)

    def everything(self) -> list[Execution]:
        return list(self._cached.values())

    def holds(self, execution: Execution) -> bool:
        """Whether that very one is cached: its run may have left and come back."""
        return self._cached.get(execution.run_id) is execution

    def is_blocked(self, execution: Execution) -> bool:
        """Whether it is cached, and no Workflow Task of it is in hand."""
        return self.holds(execution) and execution.run_id not in self._running
