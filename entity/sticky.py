"""The name of an entity's sticky queue, learnt while it lives, for those who release it after its death.

The SDK's core makes the name up and tells nobody; it stands in the history of an execution whose Workflow
Task went over that queue. Nothing is done with the queue here.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from temporal_fleet.protocol.blackbox import BlackBoxWriter

_TAIL = 10
"""Events: the task that made us look is among the last ones."""
_LOOKS = 2
"""At one history. The task of an update is not written there before it is done."""
_TIMEOUT = timedelta(seconds=5)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_GROWTH = 2.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """An execution whose history may tell, and how often it was asked in vain."""

    workflow_id: str
    run_id: str
    looks: int = 0


class StickyQueue:
    """Looks into one history after the other, until one tells. For the event loop alone."""

    def __init__(self, client: Client, box: BlackBoxWriter) -> None:
        self.wanted = True
        """Whether there still is a name to be learnt: there is one in a Worker's life."""
        self._client = client
        self._box = box
        self._latest: _Seen | None = None
        self._search: asyncio.Task[None] | None = None
        self._pause = _FIRST_PAUSE

    def sticky_task_seen(self, workflow_id: str, run_id: str) -> None:
        """A task of this execution most likely came over the sticky queue. Returns at once."""
        if not self.wanted:
            return
        self._latest = _Seen(workflow_id, run_id)
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        try:
            while self.wanted and (seen := self._latest) is not None:
                self._latest = None
                again = await self._look_at(seen)
                if self.wanted:
                    await asyncio.sleep(self._pause)
                    self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
                self._latest = self._latest or again
        except Exception:
            self.wanted = False
            _logger.exception(
                "the sticky queue's name cannot be learnt: after its death the executions of this entity may "
                "stall for the sticky time-out; please report this"
            )

    async def _look_at(self, seen: _Seen) -> _Seen | None:
        """Return what is worth another look, if this was in vain and nothing newer comes."""
        try:
            answer = await self._client.workflow_service.get_workflow_execution_history_reverse(
                GetWorkflowExecutionHistoryReverseRequest(
                    namespace=self._client.namespace,
                    execution=WorkflowExecution(workflow_id=seen.workflow_id, run_id=seen.run_id),
                    maximum_page_size=_TAIL,
                ),
                timeout=_TIMEOUT,
            )
        except RPCError as error:
            _logger.debug("the sticky queue's name is not known yet: %s", error)
            return None if error.status is RPCStatusCode.NOT_FOUND else seen
        name = sticky_queue_name(answer.history.events, self._client.identity)
        if name is not None:
            self._box.write_sticky_queue(name)
            self.wanted = False
        return replace(seen, looks=seen.looks + 1) if seen.looks + 1 < _LOOKS else None


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
