"""What an entity holds, and would lose by its death: its activities in flight and its cached executions, as
its black box tells of them. Values only; where they stand in the file is in blackbox.

Times are seconds since the epoch.
"""

from enum import Enum

import msgspec


class HeldActivity(msgspec.Struct, frozen=True, kw_only=True):
    """One activity task, from the moment it left the SDK's poll until its completion was acknowledged."""

    workflow_id: str
    """Empty for a standalone activity."""
    run_id: str
    """Of the workflow; of the activity itself where that is standalone."""
    workflow_type: str
    activity_id: str
    activity_type: str
    attempt: int
    task_token: bytes
    since: float
    expires: float | None
    """When the Cluster gives up this attempt by itself; None: not known."""
    details: bytes = b""
    """Of the last heartbeat: a serialised `temporal.api.common.v1.Payloads`; empty: none, or too large."""
    details_dropped: int = 0
    """Bytes of the last heartbeat's details, where they were too large to keep."""


class ExecutionState(Enum):
    BLOCKED = "blocked"
    """It waits for an event from outside: it may be evicted."""
    RUNNING = "running"
    """A Workflow Task of it is in hand, a local activity in flight included."""


class CachedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One Workflow Execution, from the moment its first task left the SDK's poll until its eviction."""

    workflow_id: str
    run_id: str
    workflow_type: str
    since: float
    """When it came into this cache."""
    state: ExecutionState
    closed: bool
    """It completed, failed, was cancelled or continued as new here."""
    last_activity: float
    history_events: int
    """Length of its history at its last activation."""
    replayed_events: int
    """Events replayed when it came into this cache; 0: it began here."""


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    activities: list[HeldActivity]
    executions: list[CachedExecution]
    nexus_tasks: int
    """In hand: which they are, nobody needs to know, since the Cluster does what is to be done about them."""
    unrecorded: int
    """Activities and executions that found no room in the black box, over the whole life."""
