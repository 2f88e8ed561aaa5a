"""Which activities are those that a dead Worker never read, by what a Cluster says: a scripted one, since no
server says so on demand."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from temporal_fleet.entity.connection import Unreachable
from temporal_fleet.entity.lost_activities import Retried
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.tally import Tally
from temporal_fleet.entity.unread_activities import UnreadActivities
from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.helpers import RecoverEntity
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState
from temporal_fleet.protocol.process import own_identity

DEAD, ALIVE = "shop/orders-1.1@host:42", "shop/orders-2.1@host:43"


class Script:
    """A Cluster with one execution, and one activity of it that a Worker started."""

    namespace = "default"
    identity = "agent"

    def __init__(self, started: float = 0.0, away: bool = False) -> None:
        """`away`: for the first failure; by the second the next attempt was started elsewhere."""
        self.worker = DEAD
        self.failed: list[str] = []
        self.asked = 0
        self._started = started
        self._away = away

    async def ask(self, request: Callable[[Any], Awaitable[Any]]) -> Any:
        return await request(self)

    async def describe_workflow_execution(self, _: object, timeout: object) -> object:
        self.asked += 1
        described = DescribeWorkflowExecutionResponse()
        described.workflow_execution_info.status = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
        pending = described.pending_activities.add(activity_id="1", last_worker_identity=self.worker)
        pending.state = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        pending.last_started_time.FromNanoseconds(int(self._started * 1e9))
        return described

    async def respond_activity_task_failed_by_id(self, _: object, timeout: object) -> None:
        if self._away:
            self._away = False
            self.worker = ALIVE
            raise Unreachable("away")
        self.failed.append(self.worker)


async def failed(script: Any, folder: Path, died_at: float) -> int:
    """So many activities of one that was active just before its death."""
    box = folder / "orders-1.1.blackbox"
    writer = BlackBoxWriter(box, "orders-1", 1, own_identity())
    writer.hold_execution(
        CachedExecution(
            workflow_id="order",
            run_id="run",
            workflow_type="Order",
            since=died_at,
            state=ExecutionState.BLOCKED,
            closed=False,
            last_activity=died_at,
            history_events=1,
            replayed_events=0,
        )
    )
    order = RecoverEntity(
        entity="orders-1", incarnation=1, blackbox=str(box), signal="SIGKILL", cause="", died_at=died_at
    )
    tally = Tally()
    persistence = Persistence(script, lambda _: None)
    unread = UnreadActivities(script, persistence, tally, order, identity=DEAD, retried=Retried())
    await unread.fail()
    return tally.activities_failed


async def test_one_that_it_was_handed_of_late_is_failed(tmp_path: Path) -> None:
    now = time.time()
    script = Script(started=now - 20)
    assert await failed(script, tmp_path, now) == 1
    assert script.failed == [DEAD]


async def test_one_of_long_before_was_read_and_is_somebody_elses_to_complete(tmp_path: Path) -> None:
    """As after `raise_complete_async`: the Cluster goes on to name the Worker that took it."""
    now = time.time()
    script = Script(started=now - 60)
    assert await failed(script, tmp_path, now) == 0
    assert script.asked == 1


async def test_a_failure_is_not_repeated_without_another_look(tmp_path: Path) -> None:
    now = time.time()
    script = Script(started=now, away=True)
    assert await failed(script, tmp_path, now) == 0
    assert script.asked == 2
    assert script.failed == []
