"""What the SDK's core dropped while its Worker shut down, looked for and set free before the entity leaves.

The core (1.35) ends its stream of Workflow Tasks while its pollers still receive: what the Cluster hands out
in those milliseconds, activities too, nobody has, and each would wait for its start-to-close time-out. That
is a best effort: a Cluster that is away ends it, and it never keeps an entity for longer than it has. How a
Worker shuts down is in departure; what dead ones had in hand is the agent's matter.

Needed where the polls could not be ended before (last_polls). That a Cluster ends them while the core shuts
down is no cure: the core's stream ends before its pollers do all the same.

Not found: the task of an execution that this entity never had in its cache, and a standalone activity.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    PendingActivityState,
    PendingWorkflowTaskState,
    WorkflowExecutionStatus,
)
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    RespondActivityTaskFailedByIdRequest,
)

from temporal_fleet.entity.cluster import Declined
from temporal_fleet.entity.grace import shutdown_failure
from temporal_fleet.entity.own_cluster import PATIENCE, OwnCluster
from temporal_fleet.entity.persistence import Persistence, Pointless
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.tally import Tally
from temporal_fleet.entity.task_tokens import Held, TasksInHand, seconds
from temporal_fleet.entity.unread_activities import recently_active
from temporal_fleet.protocol.holdings import ExecutionState
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.spec import EntitySpec

_ASKED = 1000
"""Executions at most, the most recently active."""
_AT_ONCE = 8
_OF_LATE = 10.0
"""Seconds before the shutdown in which an execution of another entity was active."""
_AGAIN = 0.5
"""Seconds after the first look: what came late is pending by then."""
_APART = 0.4
"""Seconds for which a task stays as it is that nobody works at."""
_BEFORE, _AFTER = 0.2, 0.3
"""Seconds around the shutdown in which what history does not name was handed out, at most."""
_CLOCKS_APART = 2.0
"""Seconds before it, for activities: what came here is known one by one."""
_AT_MOST = 3.0
_BEYOND_THE_WORKER = 2.0
"""Seconds, after its end."""
_ONCE = 0.0
"""An instant long gone: a Cluster that is away is not asked again."""
_AT_ONCE_RETRIED = 1
"""Nanoseconds: the Cluster takes a delay of zero for "never again"."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _LookedAt:
    workflow_id: str
    run_id: str
    last_activity: float
    state: ExecutionState
    """Running: it was in our cache, and a task that history does not name may have been handed to us."""


@dataclass(frozen=True)
class _Suspect:
    """What may have been dropped, and is known for that if it stays as it is."""

    activity_id: str
    """Empty for the Workflow Task."""
    attempt: int
    started: float


class DroppedTasks:
    """Of one Worker, around its shutdown. For its event loop."""

    def __init__(self, cluster: OwnCluster, recorder: Recorder, spec: EntitySpec) -> None:
        self._cluster = cluster
        self._persistence = Persistence(self._cluster, self._say_away)
        self._tally = Tally()
        self._tasks = TasksInHand(
            self._cluster,
            self._persistence,
            self._tally,
            identity=cluster.identity,
            until=_ONCE,
            fits=self._stayed,
        )
        self._recorder = recorder
        self._rebuilds_task_tokens = spec.rebuild_task_tokens
        self._task_queue = spec.program.task_queue
        self._folder = RunDirectory(spec.run_dir).entities
        self._suspects: dict[str, dict[_Suspect, float]] = {}
        """By run id; since when, by the monotonic clock."""
        self._began = self._ended = 0.0
        self._search: asyncio.Task[None] | None = None

    def shutdown_began(self, *, since: float, polls_workflows: bool) -> None:
        """The Worker is about to stop to poll, and may have lost tasks by it since then. Look once it has."""
        self.give_up()
        self._began = since
        self._search = asyncio.create_task(self._find(polls_workflows=polls_workflows))

    async def looked(self) -> None:
        """Return when all was looked at, or need not be: until then the black box has what was cached."""
        await self._recorder.activations_over.wait()
        if self._search is not None:
            await asyncio.wait([self._search])
        self._recorder.abandoned_freed()

    async def finish(self, within: float) -> None:
        """The Worker has ended: return when all was looked at, or so many seconds later."""
        if self._search is not None:
            self._ended = time.time()
            await asyncio.wait([self._search], timeout=max(0.0, min(within, _BEYOND_THE_WORKER)))
            self.give_up()

    def give_up(self) -> None:
        if self._search is not None:
            self._search.cancel()

    async def _find(self, *, polls_workflows: bool) -> None:
        if polls_workflows:
            await self._recorder.activations_over.wait()
        try:
            async with asyncio.timeout(_AT_MOST):
                await self._look_again_and_again()
        except TimeoutError:
            _logger.info("not all was looked at that the Cluster may have handed it while it stopped to poll")
        # Its tasks wait for their time-outs, and the entity leaves all the same.
        except Exception as error:
            _logger.error(
                "what its Worker dropped could not be looked for; please report this", exc_info=error
            )
        finally:
            self._tell()

    async def _look_again_and_again(self) -> None:
        executions = await self._executions()
        if not executions:
            return
        began = time.monotonic()
        try:
            await self._look_at(executions)
            await asyncio.sleep(max(0.0, began + _AGAIN - time.monotonic()))
            await self._look_at(executions)
            if self._suspects:
                await asyncio.sleep(_APART)
                await self._look_at([one for one in executions if one.run_id in self._suspects])
        except* Pointless:
            # Said by then. A Cluster that is away hands nothing out, either.
            pass

    async def _executions(self) -> list[_LookedAt]:
        ours = sorted(self._recorder.abandoned, key=lambda each: each.last_activity, reverse=True)
        found = {
            each.run_id: _LookedAt(each.workflow_id, each.run_id, each.last_activity, ExecutionState.RUNNING)
            for each in ours
        }
        since = self._began - _OF_LATE
        for workflow_id, run_id in await asyncio.to_thread(recently_active, self._folder, since):
            found.setdefault(run_id, _LookedAt(workflow_id, run_id, since, ExecutionState.BLOCKED))
        # Stable: those of others, of late, stand behind ours of late, and before our idle ones.
        latest = sorted(found.values(), key=lambda each: each.last_activity, reverse=True)
        return latest[:_ASKED]

    async def _look_at(self, executions: Iterable[_LookedAt]) -> None:
        rest = iter(executions)

        async def look() -> None:
            for execution in rest:
                await self._look_at_one(execution)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(look())

    async def _look_at_one(self, looked_at: _LookedAt) -> None:
        execution = WorkflowExecution(workflow_id=looked_at.workflow_id, run_id=looked_at.run_id)
        request = DescribeWorkflowExecutionRequest(namespace=self._cluster.namespace, execution=execution)
        try:
            described: DescribeWorkflowExecutionResponse = await self._persistence.ask(
                lambda service: service.describe_workflow_execution(request, timeout=PATIENCE), _ONCE
            )
        except Declined:
            # Closed and forgotten meanwhile.
            described = DescribeWorkflowExecutionResponse()
        status = described.workflow_execution_info.status
        if status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
            self._suspects.pop(looked_at.run_id, None)
            return
        task = described.pending_workflow_task
        has_task = self._may_be_dropped(looked_at, task)
        activities = [
            _of_activity(pending)
            for pending in described.pending_activities
            if self._is_unread(looked_at.run_id, pending)
        ]
        self._suspect(looked_at.run_id, [*activities, *([_of_task(task)] if has_task else [])])
        if has_task:
            await self._tasks.free(looked_at)
        for suspect in activities:
            if self._has_stayed(looked_at.run_id, suspect):
                await self._fail(looked_at, suspect)

    def _may_be_dropped(self, looked_at: Held, pending: PendingWorkflowTaskInfo) -> bool:
        return (
            self._rebuilds_task_tokens
            and pending.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
            and not self._recorder.has_in_hand(looked_at.run_id)
        )

    def _is_unread(self, run_id: str, pending: PendingActivityInfo) -> bool:
        """One that came here is in hand, or was given to somebody else to be completed."""
        return (
            pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
            and pending.last_worker_identity == self._cluster.identity
            # Of another, the program may run a Worker of its own, over the same connection.
            and pending.activity_options.task_queue.name in ("", self._task_queue)
            and seconds(pending.last_started_time) >= self._began - _CLOCKS_APART
            and not self._recorder.took(run_id, pending.activity_id, pending.attempt)
        )

    def _suspect(self, run_id: str, suspects: list[_Suspect]) -> None:
        known, now = self._suspects.pop(run_id, {}), time.monotonic()
        if suspects:
            self._suspects[run_id] = {each: known.get(each, now) for each in suspects}

    def _has_stayed(self, run_id: str, suspect: _Suspect) -> bool:
        since = self._suspects.get(run_id, {}).get(suspect)
        return since is not None and time.monotonic() - since >= _APART

    def _stayed(self, held: Held, pending: PendingWorkflowTaskInfo) -> bool:
        """Of a task that history does not name: handed out around the shutdown, and nobody answered it."""
        ended = self._ended or time.time()
        in_time = self._began - _BEFORE <= seconds(pending.started_time) <= ended + _AFTER
        return in_time and self._has_stayed(held.run_id, _of_task(pending))

    async def _fail(self, looked_at: _LookedAt, activity: _Suspect) -> None:
        failure = shutdown_failure("the Worker shut down just when the Cluster handed it this activity")
        failure.application_failure_info.next_retry_delay.FromNanoseconds(_AT_ONCE_RETRIED)
        request = RespondActivityTaskFailedByIdRequest(
            namespace=self._cluster.namespace,
            workflow_id=looked_at.workflow_id,
            run_id=looked_at.run_id,
            activity_id=activity.activity_id,
            identity=self._cluster.identity,
            failure=failure,
        )
        try:
            await self._persistence.ask(
                lambda service: service.respond_activity_task_failed_by_id(request, timeout=PATIENCE), _ONCE
            )
        except Declined:
            self._tally.refused += 1
        else:
            self._tally.activities_failed += 1

    def _say_away(self, reason: str) -> None:
        _logger.info("what its Worker may have dropped is not looked for: %s", reason)

    def _tell(self) -> None:
        freed, failed = self._tally.tasks_freed, self._tally.activities_failed
        if freed or failed:
            _logger.info(
                "dropped by its Worker as it stopped to poll, and set free: %d Workflow Tasks, %d activities",
                freed,
                failed,
            )


def _of_task(pending: PendingWorkflowTaskInfo) -> _Suspect:
    return _Suspect("", pending.attempt, seconds(pending.started_time))


def _of_activity(pending: PendingActivityInfo) -> _Suspect:
    return _Suspect(pending.activity_id, pending.attempt, seconds(pending.last_started_time))
