"""What an entity has in hand, seen where tasks enter and leave the SDK: between its Python and its core.

Stands around `Worker._bridge_worker`, which no public interface shows: an interceptor sees an activity too
late and loses sight of it too early, since payload codecs work on either side of it. It only records. What
becomes of a Workflow Task is in executions; how records stand in the file is in the black box.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from temporalio.api.common.v1 import Payloads
from temporalio.bridge.worker import PollShutdownError
from temporalio.worker import Worker

from temporal_fleet.entity.executions import Execution, Executions
from temporal_fleet.protocol.blackbox import ActivityEntry, BlackBoxWriter
from temporal_fleet.protocol.holdings import HeldActivity

_EVICTION = -1
"""In the place of an activation's number."""

_OF_LATE = 5.0
"""Seconds for which a taken activity is remembered, whatever became of it."""

_SO_MANY = 32
"""Tasks between two times that others are told how busy it is."""

_Attempt = tuple[str, str, int]
"""Run id, activity id, and which attempt."""

_logger = logging.getLogger(__name__)


class _Activity(NamedTuple):
    entry: ActivityEntry
    attempted: _Attempt
    ends: float | None
    """When its attempt, or the whole of it, is out of time; None: it has no limit, or its code has ended.
    Monotonic: the Cluster's clock may be another."""


class Recorder:
    """Follows each task from the SDK's poll until the Cluster acknowledged its completion. For the Worker's
    event loop alone."""

    def __init__(
        self, box: BlackBoxWriter, executions: Executions, busy: Callable[[], None] = lambda: None
    ) -> None:
        """`busy` is called with every so many activations and activities, whatever the time."""
        self.tasks = 0
        """Workflow, activity and Nexus tasks taken; the queries among them, and no local activities."""
        self._box = box
        self._executions = executions
        self._busy = busy
        self._activities: dict[bytes, _Activity] = {}
        self._taken_of_late: deque[tuple[float, _Attempt]] = deque()
        # By run id: the number of the activation in hand.
        self._activations: dict[str, int] = {}
        self._numbers = itertools.count()
        self._nexus_tasks: set[bytes] = set()
        # By run id: since when.
        self._evicting: dict[str, float] = {}
        self.activations_over = asyncio.Event()
        """There will be no more of them."""
        self.abandoned: list[Execution] = []
        """What was cached when they were over. In the black box until `abandoned_freed`."""
        self.harmless = _Harmless()

    @property
    def inflight_activities(self) -> int:
        return len(self._activities)

    def activations_for(self, seconds: float) -> list[float]:
        """For how long the code of activations runs, where that is longer, the longest first. While a payload
        codec is at work, or an answer is on its way, it does not.

        One that the SDK gave up, since its code did not yield, shows as an eviction that does not end."""
        now = time.monotonic()
        executions = map(self._executions.find, tuple(self._activations))
        runs = [each.runs_since for each in executions if each is not None and each.runs_since is not None]
        ages = [now - since for since in (*runs, *self._evicting.values())]
        return sorted((age for age in ages if age > seconds), reverse=True)

    def overdue_activities(self) -> list[float]:
        """By how many seconds activities that run are beyond the time of their attempt, the longest first."""
        now = time.monotonic()
        ends = [activity.ends for activity in self._activities.values() if activity.ends is not None]
        return sorted((now - end for end in ends if now > end), reverse=True)

    def install(self, worker: Worker) -> None:
        """See all that this Worker does. Before it runs."""
        worker._bridge_worker = RecordedBridge(worker._bridge_worker, self)

    def activity_taken(self, task: Any) -> None:
        """An activity task, or the cancellation of one, left the poll."""
        if not task.HasField("start") or task.start.is_local:
            return
        self.tasks += 1
        start = task.start
        execution = start.workflow_execution
        since = time.time()
        run_id = execution.run_id or start.run_id
        attempted = run_id, start.activity_id, start.attempt
        now = time.monotonic()
        self._taken_of_late.append((now, attempted))
        while self._taken_of_late[0][0] < now - _OF_LATE:
            self._taken_of_late.popleft()
        expires = _expiry(start)
        left = None if expires is None else expires - _seconds(start.started_time)
        entry = self._box.hold_activity(
            HeldActivity(
                workflow_id=execution.workflow_id,
                run_id=run_id,
                workflow_type=start.workflow_type,
                activity_id=start.activity_id,
                activity_type=start.activity_type,
                attempt=start.attempt,
                task_token=task.task_token,
                since=since,
                expires=expires,
                details=_serialised(start.heartbeat_details),
            )
        )
        self._activities[task.task_token] = _Activity(entry, attempted, None if left is None else now + left)
        if not self.tasks % _SO_MANY:
            self._busy()

    def took(self, run_id: str, activity_id: str, attempt: int) -> bool:
        """Whether this attempt is in hand, or came here in the last seconds in which any came; then it may be
        over."""
        attempted = run_id, activity_id, attempt
        return any(one.attempted == attempted for one in self._activities.values()) or any(
            taken == attempted for _, taken in self._taken_of_late
        )

    def has_in_hand(self, run_id: str) -> bool:
        """Whether an activation of this run was taken, and its answer was not."""
        return run_id in self._activations

    def activity_beat(self, heartbeat: Any) -> None:
        activity = self._activities.get(heartbeat.task_token)
        if activity is not None:
            activity.entry.heartbeat(_serialised(heartbeat.details))

    def activity_answered(self, task_token: bytes) -> None:
        """Its code has ended, and the Cluster is about to be told."""
        activity = self._activities.get(task_token)
        if activity is not None:
            self._activities[task_token] = activity._replace(ends=None)

    def activity_given_back(self, task_token: bytes) -> None:
        """Whatever came of it: done, failed, or to be completed by somebody else."""
        activity = self._activities.pop(task_token, None)
        if activity is not None:
            activity.entry.release()

    def nexus_task_taken(self, task: Any) -> None:
        """A Nexus task, or the cancellation of one, left the poll."""
        if task.HasField("task"):
            self.tasks += 1
            self._nexus_tasks.add(task.task.task_token)
            self._box.write_nexus_tasks(len(self._nexus_tasks))

    def nexus_task_given_back(self, task_token: bytes) -> None:
        if task_token in self._nexus_tasks:
            self._nexus_tasks.remove(task_token)
            self._box.write_nexus_tasks(len(self._nexus_tasks))

    def activation_taken(self, activation: Any) -> None:
        run_id: str = activation.run_id
        jobs = activation.jobs
        kind = jobs[0].WhichOneof("variant") if jobs else None
        if kind == "remove_from_cache":
            self._evicting[run_id] = time.monotonic()
            return
        self._activations[run_id] = number = next(self._numbers)
        self._executions.taken(activation)
        replayed = activation.is_replaying and kind != "query_workflow"
        self.tasks += not (replayed or (kind == "resolve_activity" and _only_local(jobs)))
        if not number % _SO_MANY:
            self._busy()

    def activation_answered(self, run_id: str) -> int | None:
        """Its answer is about to be given to the core. The number is for `activation_given_back`.

        An evicted run has left the SDK's memory by now. It is struck off before the core knows of it, since
        the core may hand out the same run anew before it returns.
        """
        if run_id in self._evicting:
            del self._evicting[run_id]
            self._activations.pop(run_id, None)
            self._executions.evicted(run_id)
            return _EVICTION
        return self._activations.get(run_id)

    def activation_given_back(self, run_id: str, number: int | None) -> None:
        if number == _EVICTION:
            self._executions.let_go()
        # The next activation of a run may be there before the answer to this one returns.
        elif number is not None and self._activations.get(run_id) == number:
            del self._activations[run_id]
            self._executions.given_back(run_id)

    def activations_ended(self) -> None:
        """There will be no more of them: the sticky queue is released, and each execution anybody's."""
        self.abandoned = self._executions.abandoned()
        # The core may have dropped tasks of theirs: where this process dies before it has looked for those,
        # its recovery does.
        self.activations_over.set()

    def abandoned_freed(self) -> None:
        """What was cached when they were over needs nobody any more."""
        for execution in self.abandoned:
            execution.release()


class RecordedBridge:
    """The SDK's bridge worker, with a recorder that looks on. What is not named here passes through."""

    def __init__(self, bridge: Any, recorder: Recorder) -> None:
        self._bridge = bridge
        self._recorder = recorder
        self._harmless = recorder.harmless

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bridge, name)

    async def poll_activity_task(self) -> Any:
        task = await self._bridge.poll_activity_task()
        with self._harmless:
            self._recorder.activity_taken(task)
        return task

    def record_activity_heartbeat(self, comp: Any) -> None:
        self._bridge.record_activity_heartbeat(comp)
        with self._harmless:
            self._recorder.activity_beat(comp)

    async def complete_activity_task(self, comp: Any) -> None:
        with self._harmless:
            self._recorder.activity_answered(comp.task_token)
        try:
            await self._bridge.complete_activity_task(comp)
        finally:
            with self._harmless:
                self._recorder.activity_given_back(comp.task_token)

    async def poll_workflow_activation(self) -> Any:
        try:
            activation = await self._bridge.poll_workflow_activation()
        except PollShutdownError:
            with self._harmless:
                self._recorder.activations_ended()
            raise
        with self._harmless:
            self._recorder.activation_taken(activation)
        return activation

    async def complete_workflow_activation(self, comp: Any) -> None:
        number = None
        with self._harmless:
            number = self._recorder.activation_answered(comp.run_id)
        try:
            await self._bridge.complete_workflow_activation(comp)
        finally:
            with self._harmless:
                self._recorder.activation_given_back(comp.run_id, number)

    async def poll_nexus_task(self) -> Any:
        task = await self._bridge.poll_nexus_task()
        with self._harmless:
            self._recorder.nexus_task_taken(task)
        return task

    async def complete_nexus_task(self, comp: Any) -> None:
        try:
            await self._bridge.complete_nexus_task(comp)
        finally:
            with self._harmless:
                self._recorder.nexus_task_given_back(comp.task_token)


class _Harmless:
    """Lets no failure to record become the failure of a task, and says each kind of failure once."""

    def __init__(self) -> None:
        self._said: set[type[BaseException]] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        if kind not in self._said:
            self._said.add(kind)
            _logger.error(
                "what this entity has in hand could not be recorded: its work goes on, and by its death may "
                "be lost until its time-outs; please report this",
                exc_info=error,
            )
        return True


def _only_local(jobs: Any) -> bool:
    """Whether these are results of local activities alone: they belong to a task that is in hand already."""
    return all(job.HasField("resolve_activity") and job.resolve_activity.is_local for job in jobs)


def _serialised(details: Any) -> bytes:
    return Payloads(payloads=details).SerializeToString() if details else b""


def _expiry(start: Any) -> float | None:
    """When the attempt, or the whole activity, runs out of time. A duration of zero is no limit."""
    ends = [
        _seconds(begin) + _seconds(duration)
        for begin, duration in (
            (start.started_time, start.start_to_close_timeout),
            (start.scheduled_time, start.schedule_to_close_timeout),
        )
        if duration.seconds or duration.nanos
    ]
    return min(ends, default=None)


def _seconds(value: Any) -> float:
    """Of a protobuf's Timestamp or Duration."""
    return float(value.seconds + value.nanos / 1e9)
