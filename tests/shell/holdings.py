"""What an entity may hold, for the tests of who reads it."""

from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity


def held_activity(activity_type: str) -> HeldActivity:
    return HeldActivity(
        workflow_id="order-1",
        run_id="run-1",
        workflow_type="Order",
        activity_id="1",
        activity_type=activity_type,
        attempt=3,
        task_token=b"token",
        since=1.0,
        expires=None,
    )


def cached_execution(workflow_id: str, state: ExecutionState) -> CachedExecution:
    return CachedExecution(
        workflow_id=workflow_id,
        run_id=f"run of {workflow_id}",
        workflow_type="Order",
        since=1.0,
        state=state,
        closed=False,
        last_activity=1.0,
        history_events=3,
        replayed_events=0,
    )
