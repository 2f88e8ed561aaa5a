"""A dead Worker whose sticky queue's name is not known: it died before it could learn it.

The name is made in the SDK's core. It stands in the history of an execution once a task of that was scheduled
on it. As long as none was, each execution can be told to forget the queue.
"""

import asyncio

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    ResetStickyTaskQueueRequest,
)

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.sticky import sticky_queue_name
from temporal_fleet.protocol.holdings import CachedExecution

_TAIL = 10
"""Events: since the last task was scheduled, some may have come."""
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

    async def find_or_forget(self, executions: list[CachedExecution]) -> str:
        """The queue's name, if an execution has it. Else each of them has forgotten the queue, but for what
        came in the same instant, and the name is empty. Raises Pointless."""
        name = await self._find(executions)
        if name:
            return name
        await asyncio.gather(*(self._forget(execution) for execution in executions))
        # A task that was scheduled just before its execution forgot the queue is the first to name it.
        return await self._find(executions)

    async def _find(self, executions: list[CachedExecution]) -> str:
        for name in await asyncio.gather(*(self._name_in(execution) for execution in executions)):
            if name:
                return name
        return ""

    async def _name_in(self, execution: CachedExecution) -> str:
        return sticky_queue_name(await self._tail(execution), self._identity) or ""

    async def _forget(self, execution: CachedExecution) -> None:
        last = next((e for e in await self._tail(execution) if e.event_type in _TASK_EVENTS), None)
        # A reset would strand a task that is on its way; one that had the queue's name would have told it.
        if last is None or last.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return
        request = ResetStickyTaskQueueRequest(
            namespace=self._cluster.namespace,
            execution=WorkflowExecution(workflow_id=execution.workflow_id, run_id=execution.run_id),
        )
        try:
            await self._persistence.ask(
                lambda service: service.reset_sticky_task_queue(request, timeout=PATIENCE), self._until
            )
        except Declined:
            return

    async def _tail(self, execution: CachedExecution) -> list[HistoryEvent]:
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._cluster.namespace,
            execution=WorkflowExecution(workflow_id=execution.workflow_id, run_id=execution.run_id),
            maximum_page_size=_TAIL,
        )
        try:
            page: GetWorkflowExecutionHistoryReverseResponse = await self._persistence.ask(
                lambda service: service.get_workflow_execution_history_reverse(request, timeout=PATIENCE),
                self._until,
            )
        except Declined:
            return []
        return list(page.history.events)
