"""Messages between the supervisor and its entities (ZeroMQ, `bus.sock`), each with entity id and
incarnation, so that what a former life said is never taken for the present one's.

DEALER (routing id `ID.N`) -> ROUTER: EntityMessage. ROUTER -> DEALER: SupervisorMessage.
"""

from typing import Annotated

import msgspec

from temporal_fleet.protocol.spec import LogFiles

Pid = Annotated[int, msgspec.Meta(gt=0, le=2**22)]
"""Up to the kernel's own limit, PID_MAX_LIMIT."""


Figure = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count or a number of bytes: sums and differences of them still fit every format."""


Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]


class FromEntity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    entity: str
    incarnation: int


class Hello(FromEntity, frozen=True, kw_only=True, tag="hello"):
    """The first message of a life, and again to each new supervisor; where it stands comes with it."""

    pid: Pid


class Ready(FromEntity, frozen=True, kw_only=True, tag="ready"):
    """Validated by the Cluster and polling."""

    quiet: bool = False
    """It was, and was told to poll no more."""


class Standstill(msgspec.Struct, frozen=True, kw_only=True):
    """Work of an entity that does not go on. What of it is a fault is the supervisor's to judge."""

    unpolled: str = ""
    """What it does not poll for, though it has a slot free for it, in words; empty: nothing."""
    unpolled_for: Seconds = 0.0
    activations: list[Seconds] = []
    """Those of Workflow Executions that are in hand for longer than a moment: for how long, the longest
    first, a thousand at most."""
    activities: list[Seconds] = []
    """Those that run on though the time of their attempt is over: by how much, the longest first, a thousand
    at most."""
    workflow_slots: Figure | None = None
    """How many there are, where none of them is free; None: some are, or the SDK does not say."""
    activity_slots: Figure | None = None


class Slots(msgspec.Struct, frozen=True, array_like=True):
    """Of one kind of tasks."""

    used: Figure
    free: Figure | None
    """None: they have no number, or their supplier does not tell it."""


class Heartbeat(FromEntity, frozen=True, kw_only=True, tag="heartbeat"):
    """Once a second from the entity's own event loop. Counters grow over one life; the rest are of now."""

    cached_executions: Figure
    blocked_executions: Figure
    evictions: Figure
    resurrections: Figure
    inflight_activities: Figure
    pollers: Figure
    metrics_dropped: Figure = 0
    tasks: Figure = 0
    """Workflow Tasks and activity tasks taken in this life."""
    unrecorded: Figure = 0
    """Activities and executions that its black box had no room for, in this life."""
    standstill: Standstill | None = None
    """None: all goes on."""
    workflow_slots: Slots | None = None
    """None: the SDK told nothing of them yet. So with activities."""
    activity_slots: Slots | None = None


class Draining(FromEntity, frozen=True, kw_only=True, tag="draining"):
    """It drains. `cause`: `signal`, `orphaned`, or `told`, which a later supervisor may not know."""

    cause: str


class Credentials(FromEntity, frozen=True, kw_only=True, tag="credentials"):
    """The files of its credentials changed, and were tried."""

    problem: str = ""
    """Why they are not used, and what to do; empty: they are in use."""


class Evicted(FromEntity, frozen=True, kw_only=True, tag="evicted"):
    """Answers Evict, once the memory was given back to the system."""

    request: str
    evicted: Figure
    passed_over: Figure
    """Chosen, and not evicted: they began to run, or are gone."""
    cached: Figure
    """Executions that remain in the cache."""
    pss_before: Figure
    """Bytes, as all of these."""
    pss_after: Figure
    rss_before: Figure
    rss_after: Figure


EntityMessage = Hello | Ready | Heartbeat | Draining | Credentials | Evicted


class ToEntity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    entity: str
    incarnation: int


class Welcome(ToEntity, frozen=True, kw_only=True, tag="welcome"):
    """Answers Hello: who the supervisor is now. The entity watches that process. One that was welcomed by
    another greets this one."""

    supervisor_pid: Pid
    term: str = ""
    """Tells supervisors apart: the next one may be the same process."""
    log_level: str = "info"
    """As of Settings, like `log_files`."""
    log_files: LogFiles | None = None


class Settings(ToEntity, frozen=True, kw_only=True, tag="settings"):
    """What may change in the middle of a life."""

    log_level: str
    """`debug`, `info`, `warning` or `error`."""
    log_files: LogFiles | None = None
    """None: the inherited streams."""


class Quiet(ToEntity, frozen=True, kw_only=True, tag="quiet"):
    """Stop polling and go on with what it has, without an end, until Drain. Repeating it changes nothing."""


class Drain(ToEntity, frozen=True, kw_only=True, tag="drain"):
    """Stop polling, finish what runs, exit. Repeating it changes nothing."""


class Evict(ToEntity, frozen=True, kw_only=True, tag="evict"):
    """Evict blocked executions: first `run_ids`, then those known to be closed, then the least recently
    active. Each condition narrows the choice."""

    request: str
    """Comes back in Evicted."""
    run_ids: list[str] = []
    only_these: bool = False
    """`run_ids` and no others."""
    at_most: int | None = None
    """None: as many as there are."""
    idle: float = 0.0
    """Seconds for which nothing must have happened to an execution. Does not hold for `run_ids`."""
    keep: int = 0
    """How many executions, the most recently active, stay."""


SupervisorMessage = Welcome | Settings | Quiet | Drain | Evict
