"""Which of the blocked executions of a living entity are closed? A run that was terminated, or timed out,
stays in the SDK's cache: only the Cluster knows."""

import asyncio
from pathlib import Path

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)
from temporalio.service import RPCStatusCode

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.connection import ClusterTrouble
from temporal_fleet.protocol.blackbox import read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.helpers import ClosedFound, FindClosed
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState

_SECONDS = 1.0
"""For the whole search: memory is short meanwhile."""


async def find_closed(order: FindClosed, cluster: Cluster) -> ClosedFound:
    """As many as are found in the time that there is."""
    try:
        box = await asyncio.to_thread(read_blackbox, Path(order.blackbox))
    except (OSError, PeerRubbish):
        # It is gone, or about to be.
        return ClosedFound(entity=order.entity, incarnation=order.incarnation, run_ids=[])
    blocked = [held for held in box.holdings.executions if held.state is ExecutionState.BLOCKED]
    # Those of which we know come first, since they cost no request.
    blocked.sort(key=lambda held: (not held.closed, held.last_activity))
    looked_at = blocked[: order.at_most]
    found = [held.run_id for held in looked_at if held.closed]

    async def look(held: CachedExecution) -> None:
        if await _is_closed(held, cluster):
            found.append(held.run_id)

    looks = [asyncio.create_task(look(held)) for held in looked_at if not held.closed]
    if looks:
        _, late = await asyncio.wait(looks, timeout=_SECONDS)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    return ClosedFound(entity=order.entity, incarnation=order.incarnation, run_ids=found)


async def _is_closed(held: CachedExecution, cluster: Cluster) -> bool:
    request = DescribeWorkflowExecutionRequest(
        namespace=cluster.namespace,
        execution=WorkflowExecution(workflow_id=held.workflow_id, run_id=held.run_id),
    )
    try:
        described: DescribeWorkflowExecutionResponse = await cluster.ask(
            lambda service: service.describe_workflow_execution(request, timeout=PATIENCE)
        )
    except Declined as declined:
        # Closed for so long that it was deleted.
        return declined.error.status is RPCStatusCode.NOT_FOUND
    except ClusterTrouble:
        return False
    running = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    return described.workflow_execution_info.status != running
