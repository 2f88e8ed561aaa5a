"""What a dead entity leaves, and what becomes of it: values, as the black box and the agent tell them. Who
decides about them stands in recoveries and poison."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Life:
    """One life of one entity id."""

    entity: str
    incarnation: int

    @property
    def pool(self) -> str:
        return self.entity.rpartition("-")[0]

    @property
    def ordinal(self) -> int:
        """0 where the id, which somebody else left, has none."""
        ordinal = self.entity.rpartition("-")[2]
        return int(ordinal) if ordinal.isdecimal() else 0

    def __str__(self) -> str:
        return f"{self.entity}.{self.incarnation}"


@dataclass(frozen=True, slots=True)
class ActivityKey:
    """Names an activity across its attempts. Standalone: no workflow id, and its own run id."""

    workflow_id: str
    run_id: str
    activity_id: str


@dataclass(frozen=True, slots=True)
class RunKey:
    """Names one Workflow Run."""

    workflow_id: str
    run_id: str


SuspectKey = ActivityKey | RunKey


@dataclass(frozen=True, slots=True)
class Suspect:
    """What was in the hands of entities when they died of what nobody ordered."""

    key: SuspectKey
    type: str
    """Of the activity or the workflow."""
    deaths: int
    lives: tuple[str, ...] = ()
    """The last lives that ended so: what one that is condemned killed is no evidence against another."""
    last: float = 0.0
    """When the last of these deaths was: seconds since the epoch, which outlive the host."""


@dataclass(frozen=True, slots=True)
class ActivityInHand:
    key: ActivityKey
    type: str
    attempt: int
    task_token: bytes
    since: float = 0.0
    """When this attempt was taken: seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class RunInHand:
    """A Workflow Run with a Workflow Task in hand."""

    key: RunKey
    type: str


@dataclass(frozen=True, slots=True)
class Estate:
    """What a dead entity leaves, as its black box tells."""

    activities: tuple[ActivityInHand, ...] = ()
    runs: tuple[RunInHand, ...] = ()
    nexus_tasks: int = 0
    cached: int = 0
    connected: bool = False
    """It got so far that the Cluster may know it as a worker."""


NOTHING = Estate()


class RecoveryState(Enum):
    WAITING = "waiting"
    """For an agent."""
    ORDERED = "ordered"
    """The present agent has it in hand."""


@dataclass(frozen=True, slots=True)
class ActivityVerdict:
    """What becomes of one activity of a dead entity, where it is not simply retried at once."""

    task_token: bytes
    retry_after: float = 0.0
    """Seconds."""
    poison: str = ""
    """The evidence for which it is failed for good; empty: it is retried."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """A dead entity whose work is not free yet. Its black box stays until it is."""

    life: Life
    state: RecoveryState
    since: float
    due: float
    """When its state has lasted for too long, if nothing is heard of it."""
    signal: str | None
    cause: str
    verdicts: tuple[ActivityVerdict, ...] = ()
    left_alone: tuple[str, ...] = ()
    """Run ids of executions whose Workflow Tasks in hand are not freed: they are known from other deaths."""
    reason: str = ""
    """Why it takes so long."""
