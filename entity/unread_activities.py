"""The activities that a dead Worker had taken from the Cluster, and never wrote down: they were in the SDK's
core, or in the socket, when it died. On a busy machine that is no rare thing, and each would wait for its
start-to-close time-out.

No black box tells of them, but the Cluster says of a pending activity which Worker started it. Asked are
those executions that may well have one: active of late in any cache of the fleet, or with an activity that a
recovery had tried again. A standalone activity has no execution, and is not found.
"""

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState, WorkflowExecutionStatus
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    RespondActivityTaskFailedByIdRequest,
)

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.lost_activities import Retried, activity_failure
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.tally import Tally
from temporal_fleet.entity.task_tokens import seconds
from temporal_fleet.protocol.blackbox import read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.helpers import ActivityVerdict, RecoverEntity
from temporal_fleet.protocol.holdings import HeldActivity

_OF_LATE = 10.0
"""Seconds before the death in which an execution was active."""
_ASKED = 128
"""Executions at most, the most recently active."""
_AT_ONCE = 8
_WORTH = 30.0
"""Seconds after the death for which the Cluster is waited for."""
_UNREAD_FOR = 30.0
"""Seconds before the death in which what was never read was handed out: while a process hangs, its core takes
tasks. What was started before that was read, and is somebody else's to complete."""


class UnreadActivities:
    def __init__(
        self,
        cluster: Cluster,
        persistence: Persistence,
        tally: Tally,
        order: RecoverEntity,
        *,
        identity: str,
        retried: Retried,
    ) -> None:
        self._cluster = cluster
        self._persistence = persistence
        self._tally = tally
        self._order = order
        self._identity = identity
        self._retried = retried
        self._until = order.died_at + _WORTH

    async def fail(self) -> None:
        """Find them and have them tried again. Raises Pointless."""
        since = self._order.died_at - _OF_LATE
        active = await asyncio.to_thread(recently_active, Path(self._order.blackbox).parent, since)
        asked = iter(dict.fromkeys([*active, *self._retried.executions()]))

        async def ask() -> None:
            for execution in asked:
                if time.time() > self._until:
                    return
                await self._look_at(*execution)

        await asyncio.gather(*(ask() for _ in range(_AT_ONCE)))

    async def _look_at(self, workflow_id: str, run_id: str) -> None:
        # What fails an activity by its id fails whatever attempt is under way: it is not sent again without
        # another look.
        await self._persistence.attempt(lambda: self._look_once(workflow_id, run_id), self._until)

    async def _look_once(self, workflow_id: str, run_id: str) -> None:
        """Raises ClusterTrouble."""
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=self._cluster.namespace, execution=execution)
        try:
            described: DescribeWorkflowExecutionResponse = await self._cluster.ask(
                lambda service: service.describe_workflow_execution(request, timeout=PATIENCE)
            )
        except Declined:
            # Closed and forgotten meanwhile.
            return
        # A closed one goes on to show what was pending.
        status = described.workflow_execution_info.status
        if status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
            return
        for pending in described.pending_activities:
            if self._is_lost(pending):
                workflow_type = described.workflow_execution_info.type.name
                await self._fail(_held(execution, workflow_type, pending))

    def _is_lost(self, pending: PendingActivityInfo) -> bool:
        started = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        of_late = seconds(pending.last_started_time) >= self._order.died_at - _UNREAD_FOR
        return started and of_late and pending.last_worker_identity == self._identity

    async def _fail(self, activity: HeldActivity) -> None:
        request = RespondActivityTaskFailedByIdRequest(
            namespace=self._cluster.namespace,
            workflow_id=activity.workflow_id,
            run_id=activity.run_id,
            activity_id=activity.activity_id,
            identity=self._cluster.identity,
            failure=activity_failure(self._order, activity, ActivityVerdict(task_token=b"")),
        )
        try:
            await self._cluster.ask(
                lambda service: service.respond_activity_task_failed_by_id(request, timeout=PATIENCE)
            )
        except Declined:
            self._tally.refused += 1
        else:
            self._retried.note(activity)
            self._tally.activities_failed += 1


def recently_active(folder: Path, since: float) -> Iterable[tuple[str, str]]:
    """Workflow and run ids of the executions that any black box there says were active since then, the last
    first."""
    found: dict[tuple[str, str], float] = {}
    for path in folder.glob("*.blackbox"):
        try:
            executions = read_blackbox(path).holdings.executions
        except (OSError, PeerRubbish):
            continue
        for one in executions:
            if one.last_activity >= since:
                key = one.workflow_id, one.run_id
                found[key] = max(one.last_activity, found.get(key, 0.0))
    return islice(sorted(found, key=lambda key: -found[key]), _ASKED)


def _held(execution: WorkflowExecution, workflow_type: str, pending: PendingActivityInfo) -> HeldActivity:
    return HeldActivity(
        workflow_id=execution.workflow_id,
        run_id=execution.run_id,
        workflow_type=workflow_type,
        activity_id=pending.activity_id,
        activity_type=pending.activity_type.name,
        attempt=pending.attempt,
        task_token=b"",
        since=seconds(pending.last_started_time),
        expires=None,
    )
