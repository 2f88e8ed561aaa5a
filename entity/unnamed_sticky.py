"""A dead Worker whose sticky queue's name is not known: it died before it found that in its memory.

The name is made in the SDK's core. It stands in the history of an execution once a task of that was scheduled
on it: so those of the dead Worker are watched for a while, in which the events come that its death meets. To
tell an execution to forget the queue strands a task that comes at that moment: it is done when all is quiet.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    ResetStickyTaskQueueRequest,
)
from temporalio.service import WorkflowService

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.protocol.holdings import CachedExecution

R = TypeVar("R")

_TAIL = 10
"""Events: since the last task was scheduled, some may have come."""
_AT_ONCE = 8
_WATCHED = 256
"""Executions, the most recently active."""
_WATCHED_FOR = 1.0
_WATCH_PAUSE = 0.03
_TASK_EVENTS = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    }
)


class UnnamedStickyQueue:
    def __init__(self, cluster: Cluster, persistence: Persistence, identity: str, until: float) -> None:
        self._cluster = cluster
        self._persistence = persistence
        self._identity = identity
        self._until = until
        self._name = ""
        self._forgot: list[CachedExecution] = []

    async def find_or_forget(self, executions: list[CachedExecution]) -> str:
        """The queue's name, as soon as an execution has it. Else each of them has forgotten the queue, as far
        as there was time, and the name is empty. Raises Pointless."""
        quiet_at = min(time.time() + _WATCHED_FOR, self._until)
        while not self._name and time.time() < quiet_at:
            await self._each(executions[:_WATCHED], self._name_alone)
            await asyncio.sleep(_WATCH_PAUSE)
        await self._each(executions, self._name_or_forget)
        # A task that was scheduled just before its execution forgot the queue is the first to name it.
        await self._each(self._forgot, self._name_alone)
        return self._name

    async def _each(
        self, executions: Iterable[CachedExecution], step: Callable[[CachedExecution], Awaitable[None]]
    ) -> None:
        rest = iter(executions)

        async def work() -> None:
            for execution in rest:
                if self._name or time.time() > self._until:
                    return
                await step(execution)

        workers = [asyncio.create_task(work()) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _name_or_forget(self, execution: CachedExecution) -> None:
        tail = await self._tail(execution)
        name = sticky_queue_name(tail, self._identity)
        if name:
            self._name = name
        elif self._forgettable(tail):
            await self._forget(execution)

    async def _name_alone(self, execution: CachedExecution) -> None:
        name = sticky_queue_name(await self._tail(execution), self._identity)
        self._name = self._name or name or ""

    def _forgettable(self, tail: list[HistoryEvent]) -> bool:
        """A reset would strand a task that is on its way, and make another Worker, in whose cache it is by
        now, replay it for nothing."""
        last = next((event for event in tail if event.event_type in _TASK_EVENTS), None)
        return (
            last is not None
            and last.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
            and last.workflow_task_completed_event_attributes.identity == self._identity
        )

    async def _forget(self, execution: CachedExecution) -> None:
        request = ResetStickyTaskQueueRequest(
            namespace=self._cluster.namespace,
            execution=WorkflowExecution(workflow_id=execution.workflow_id, run_id=execution.run_id),
        )
        try:
            await self._ask(lambda service: service.reset_sticky_task_queue(request, timeout=PATIENCE))
        except Declined:
            return
        self._forgot.append(execution)

    async def _tail(self, execution: CachedExecution) -> list[HistoryEvent]:
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._cluster.namespace,
            execution=WorkflowExecution(workflow_id=execution.workflow_id, run_id=execution.run_id),
            maximum_page_size=_TAIL,
        )
        try:
            page: GetWorkflowExecutionHistoryReverseResponse = await self._ask(
                lambda service: service.get_workflow_execution_history_reverse(request, timeout=PATIENCE)
            )
        except Declined:
            return []
        return list(page.history.events)

    async def _ask(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        return await self._persistence.attempt(lambda: self._cluster.ask_in_search(request), self._until)


def sticky_queue_name(events: Iterable[HistoryEvent], identity: str) -> str | None:
    """The queue of the latest scheduled Workflow Task, if it is a sticky one of this identity. One before it
    may be of an earlier life: an identity has the PID in it, and no more. Latest event first."""
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            queue = event.workflow_task_scheduled_event_attributes.task_queue
            ours = queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY and queue.name.startswith(
                f"{identity}-"
            )
            return queue.name if ours else None
    return None
