"""What a black box tells of a dead entity, in the words of the core. What becomes of it is decided there."""

from temporal_fleet.protocol.blackbox import BlackBoxContents
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity
from temporal_fleet.supervisor.core.estate import (
    NOTHING,
    ActivityInHand,
    ActivityKey,
    Estate,
    RunInHand,
    RunKey,
)

UNREAD = Estate(connected=True)
"""Of a black box that cannot be read now: the cluster agent reads it again for the recovery."""


def estate(box: BlackBoxContents) -> Estate:
    """Without an identity the Cluster gave it nothing yet, or it took leave of the Cluster: what it had
    cached then is nobody's any more."""
    if not box.identity:
        return NOTHING
    executions = box.holdings.executions
    return Estate(
        activities=tuple(_activity(held) for held in box.holdings.activities),
        runs=tuple(_run(held) for held in executions if held.state is ExecutionState.RUNNING),
        nexus_tasks=box.holdings.nexus_tasks,
        cached=len(executions),
        connected=True,
    )


def _activity(held: HeldActivity) -> ActivityInHand:
    return ActivityInHand(
        ActivityKey(held.workflow_id, held.run_id, held.activity_id),
        held.activity_type,
        held.attempt,
        held.task_token,
        held.since,
    )


def _run(held: CachedExecution) -> RunInHand:
    return RunInHand(RunKey(held.workflow_id, held.run_id), held.workflow_type)
