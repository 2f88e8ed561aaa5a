"""The Workflow Tasks that a Worker had in hand, and nobody has: find them, and fail them by tokens made anew.

The Cluster waits for the answer to such a task until that times out, ten seconds. Its token died with the
process, in the SDK's core, but all that is in it can be asked for. The form of a token is the server's
private matter: this is a best effort, and [cluster] rebuild_task_tokens switches it off.
"""

from collections.abc import Callable
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingWorkflowTaskState, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    RespondWorkflowTaskFailedRequest,
)

from temporal_fleet.entity.cluster import PATIENCE, Asked, Declined
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.sticky_release import NOBODY
from temporal_fleet.entity.tally import Tally
from temporal_fleet.protocol.holdings import ExecutionState

_TAIL = 4
"""Events. As a rule a task that is started is the last event, the scheduled one before it."""
_CLOCKS_APART = 2.0
"""Seconds by which the Cluster's clock may differ from ours."""

_VARINT = 0
_LENGTH_DELIMITED = 2


def workflow_task_token(
    *, namespace_id: str, workflow_id: str, run_id: str, scheduled: int, attempt: int, started: int
) -> bytes:
    """A protobuf message, as the server makes it."""
    return b"".join(
        (
            _text(1, namespace_id),
            _text(2, workflow_id),
            _text(3, run_id),
            _number(4, scheduled),
            _number(5, attempt),
            _number(10, started),
        )
    )


def seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _text(field: int, text: str) -> bytes:
    data = text.encode()
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(number)


class Held(Protocol):
    """What has to be known of an execution; a CachedExecution is one."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def state(self) -> ExecutionState: ...
    @property
    def last_activity(self) -> float: ...


def _fits_its_last_activity(held: Held, pending: PendingWorkflowTaskInfo) -> bool:
    return seconds(pending.started_time) <= held.last_activity + _CLOCKS_APART


class TasksInHand:
    """Of a Worker that had this identity, and is dead or has let go of all."""

    def __init__(
        self,
        cluster: Asked,
        persistence: Persistence,
        tally: Tally,
        *,
        identity: str,
        until: float,
        fits: Callable[[Held, PendingWorkflowTaskInfo], bool] = _fits_its_last_activity,
    ) -> None:
        """`fits` judges the task of a running execution that no event tells of."""
        self._cluster = cluster
        self._persistence = persistence
        self._tally = tally
        # What the sticky queue's drain polled and could not answer is nobody else's either.
        self._identities = frozenset({identity, NOBODY})
        self._until = until
        self._fits = fits

    async def free(self, held: Held) -> None:
        """Fail the task of this execution, if it was in that Worker's hands. Raises Pointless."""
        execution = WorkflowExecution(workflow_id=held.workflow_id, run_id=held.run_id)
        try:
            task = await self._in_hand(held, execution)
            if task is None:
                return
            scheduled, attempt, started = task
            await self._fail(
                workflow_task_token(
                    namespace_id=await self._persistence.attempt(self._cluster.namespace_id, self._until),
                    workflow_id=held.workflow_id,
                    run_id=held.run_id,
                    scheduled=scheduled,
                    attempt=attempt,
                    started=started,
                )
            )
        except Declined:
            self._tally.refused += 1
        else:
            self._tally.task_freed(held.run_id)

    async def _in_hand(self, held: Held, execution: WorkflowExecution) -> tuple[int, int, int] | None:
        """Scheduled event, attempt and started event."""
        tail = await self._tail(execution)
        newest = tail[0]
        if newest.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            # As long as it runs, all other events are held back.
            started = newest.workflow_task_started_event_attributes
            if started.identity not in self._identities:
                return None
            for event in tail:
                if event.event_id == started.scheduled_event_id:
                    attempt = event.workflow_task_scheduled_event_attributes.attempt
                    return event.event_id, attempt, newest.event_id
            pending = await self._pending(execution)
            if pending.state != PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED:
                return None
            return started.scheduled_event_id, pending.attempt, newest.event_id
        if held.state is not ExecutionState.RUNNING:
            return None
        # A second attempt, and the task of an update, get their events only when they end: nothing names who
        # has it, but the execution was in its hands, and the time fits.
        pending = await self._pending(execution)
        if pending.state != PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED:
            return None
        if not self._fits(held, pending):
            return None
        return newest.event_id + 1, pending.attempt, newest.event_id + 2

    async def _tail(self, execution: WorkflowExecution) -> list[HistoryEvent]:
        """The newest events, newest first."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._cluster.namespace, execution=execution, maximum_page_size=_TAIL
        )
        page: GetWorkflowExecutionHistoryReverseResponse = await self._persistence.ask(
            lambda service: service.get_workflow_execution_history_reverse(request, timeout=PATIENCE),
            self._until,
        )
        return list(page.history.events)

    async def _pending(self, execution: WorkflowExecution) -> PendingWorkflowTaskInfo:
        request = DescribeWorkflowExecutionRequest(namespace=self._cluster.namespace, execution=execution)
        described: DescribeWorkflowExecutionResponse = await self._persistence.ask(
            lambda service: service.describe_workflow_execution(request, timeout=PATIENCE), self._until
        )
        return described.pending_workflow_task

    async def _fail(self, token: bytes) -> None:
        request = RespondWorkflowTaskFailedRequest(
            namespace=self._cluster.namespace,
            task_token=token,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
            identity=self._cluster.identity,
        )
        await self._persistence.ask(
            lambda service: service.respond_workflow_task_failed(request, timeout=PATIENCE), self._until
        )
