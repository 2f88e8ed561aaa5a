"""The name of an entity's sticky queue, learnt while it lives, for those who release it after its death.

The SDK's core makes the name up and tells nobody; it stands in the history of an execution whose Workflow
Task went over that queue. Nothing is done with the queue here.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.service import RPCError

from temporal_fleet.protocol.blackbox import BlackBoxWriter

_TAIL = 10
"""Events: the task that made us look is among the last ones."""
_TIMEOUT = timedelta(seconds=5)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_GROWTH = 2.0

_logger = logging.getLogger(__name__)


class StickyQueue:
    """Looks into one history after the other, until one tells. For the event loop alone."""

    def __init__(self, client: Client, box: BlackBoxWriter) -> None:
        self.wanted = True
        """Whether there still is a name to be learnt: there is one in a Worker's life."""
        self._client = client
        self._box = box
        self._look: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._pause = _FIRST_PAUSE

    def sticky_task_seen(self, workflow_id: str, run_id: str) -> None:
        """A task of this execution most likely came over the sticky queue. Returns at once."""
        now = asyncio.get_running_loop().time()
        if not self.wanted or now < self._next_look or (self._look is not None and not self._look.done()):
            return
        self._next_look = now + self._pause
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
        self._look = asyncio.create_task(self._learn(workflow_id, run_id))

    async def _learn(self, workflow_id: str, run_id: str) -> None:
        try:
            answer = await self._client.workflow_service.get_workflow_execution_history_reverse(
                GetWorkflowExecutionHistoryReverseRequest(
                    namespace=self._client.namespace,
                    execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                    maximum_page_size=_TAIL,
                ),
                timeout=_TIMEOUT,
            )
            name = _name_in(answer.history.events, self._client.identity)
            if name is not None:
                self._box.write_sticky_queue(name)
                self.wanted = False
        except RPCError as error:
            # The Cluster is away, or the execution is gone: another one will tell.
            _logger.debug("the sticky queue's name is not known yet: %s", error)
        except Exception:
            self.wanted = False
            _logger.exception(
                "the sticky queue's name cannot be learnt: after its death the executions of this entity may "
                "stall for the sticky time-out; please report this"
            )


def _name_in(events: Iterable[HistoryEvent], identity: str) -> str | None:
    """From the latest scheduled Workflow Task alone: an earlier one may be of an earlier life under the same
    identity, which has the PID in it and no more. Latest event first."""
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            queue = event.workflow_task_scheduled_event_attributes.task_queue
            ours = queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY and queue.name.startswith(
                f"{identity}-"
            )
            return queue.name if ours else None
    return None
