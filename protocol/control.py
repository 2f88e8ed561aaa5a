"""Messages between operators (the CLI) and the supervisor (ZeroMQ, `control.sock`), and the events on
`events.sock`.

A request has an id; every reply names it. A request gets any number of Progress, then exactly one of the
other replies.
"""

from typing import Annotated

import msgspec

from temporal_fleet.protocol.examination import Examination
from temporal_fleet.protocol.metrics import Family
from temporal_fleet.protocol.report import (
    ChangeReport,
    EventReport,
    EvictionReport,
    StatusReport,
    StepReport,
)

Name = Annotated[str, msgspec.Meta(max_length=256)]
"""Of a pool or an entity."""
Size = Annotated[int, msgspec.Meta(ge=0, le=1000)]
"""Entities in a pool."""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: str


class GetStatus(Request, frozen=True, kw_only=True, tag="status"):
    memory: bool = True
    """Read PSS too, which costs over a millisecond an entity."""


class GetMetrics(Request, frozen=True, kw_only=True, tag="metrics"):
    """What the supervisor has counted since it began."""


class ExamineCluster(Request, frozen=True, kw_only=True, tag="examine"):
    """Look at the Cluster as the fleet sees it: its version, its clock, the Task Queues of the pools, the
    dead Workers that it lists. Rejected while there is no agent to look."""


class GetPlan(Request, frozen=True, kw_only=True, tag="plan"):
    """What Reload would do now."""


class Change(Request, frozen=True, kw_only=True):
    """A request for a change of the fleet. Rejected: nothing was changed. Without `wait`, Accepted once it is
    in force (every program of it imports). With it, Progress until the fleet has converged, then Accepted; or
    Failed."""

    wait: bool = False


class Reload(Change, frozen=True, kw_only=True, tag="reload"):
    """Read the config file again and make the fleet follow it, and the code of its programs."""

    force: list[Name] = []
    """Pools to be rolled with newly imported code though nothing changed."""


class Scale(Change, frozen=True, kw_only=True, tag="scale"):
    """Under `run`, which has no file: change the sizes of pools."""

    pools: dict[Name, Size]


class Restart(Change, frozen=True, kw_only=True, tag="restart"):
    """Replace entities one by one, with newly imported code where that changed; clears `failed`."""

    target: Name | None = None
    """A pool, an entity, or None for the whole fleet."""


class DrainPool(Change, frozen=True, kw_only=True, tag="drain"):
    """Keep a pool at zero entities, whatever its config says, until it is resumed."""

    pool: Name


class ResumePool(Change, frozen=True, kw_only=True, tag="resume"):
    pool: Name


class QuietEntity(Change, frozen=True, kw_only=True, tag="quiet"):
    """Have an entity stop polling and go on with what it has; another takes its place at once."""

    entity: Name


class GetChanges(Request, frozen=True, kw_only=True, tag="changes"):
    """What was asked for, and what became of it."""

    change: int | None = None
    """Its id; None: the last ones, the newest first."""


class EvictExecutions(Request, frozen=True, kw_only=True, tag="evict"):
    """Evict blocked executions from the caches of a pool or an entity, each of them by these conditions."""

    target: Name
    run_ids: list[Annotated[str, msgspec.Meta(max_length=256)]] = []
    """These alone; empty: as many as the other conditions leave."""
    idle: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Seconds."""
    keep: Annotated[int, msgspec.Meta(ge=0)] = 0
    """In each entity."""


class Stop(Request, frozen=True, kw_only=True, tag="stop"):
    now: bool = False


class Upgrade(Request, frozen=True, kw_only=True, tag="upgrade"):
    """Go on, in the same process, as the code that is installed now. Accepted is the last that is said
    before; the next request is answered by that code."""


class DumpStacks(Request, frozen=True, kw_only=True, tag="dump"):
    """Ask an entity for the stacks of its threads; they are appended to a file."""

    entity: Name


ChangeRequest = Reload | Scale | Restart | DrainPool | ResumePool | QuietEntity

ControlRequest = (
    GetStatus
    | GetMetrics
    | ExamineCluster
    | GetPlan
    | GetChanges
    | ChangeRequest
    | EvictExecutions
    | Stop
    | Upgrade
    | DumpStacks
)


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: str


class Progress(Reply, frozen=True, kw_only=True, tag="progress"):
    message: str
    steps: list[StepReport] = []
    """What the change is about to do, where the message is their summary."""


class Accepted(Reply, frozen=True, kw_only=True, tag="accepted"):
    message: str
    generation: int
    change: int = 0
    """The id to ask for its outcome with; 0: it is no change."""


class Rejected(Reply, frozen=True, kw_only=True, tag="rejected"):
    """Nothing was changed. `problems`: each names the place and the remedy."""

    problems: list[str]


class Failed(Reply, frozen=True, kw_only=True, tag="failed"):
    """The change was in force, and could not be carried through. The problems say what became of it."""

    problems: list[str]
    change: int
    restored: bool = False
    """What was in force before it is in force again."""


class StatusReply(Reply, frozen=True, kw_only=True, tag="status"):
    report: StatusReport


class MetricsReply(Reply, frozen=True, kw_only=True, tag="metrics"):
    families: list[Family]


class ExaminationReply(Reply, frozen=True, kw_only=True, tag="examination"):
    examination: Examination


class PlanReply(Reply, frozen=True, kw_only=True, tag="plan"):
    steps: list[StepReport]


class StacksReply(Reply, frozen=True, kw_only=True, tag="stacks"):
    """Read `path` from `offset` on."""

    pid: int
    path: str
    offset: int


class EvictionReply(Reply, frozen=True, kw_only=True, tag="eviction"):
    entities: list[EvictionReport]


class ChangesReply(Reply, frozen=True, kw_only=True, tag="changes"):
    changes: list[ChangeReport]


ControlReply = (
    Progress
    | Accepted
    | Rejected
    | Failed
    | StatusReply
    | MetricsReply
    | ExaminationReply
    | PlanReply
    | ChangesReply
    | StacksReply
    | EvictionReply
)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="event"):
    report: EventReport
