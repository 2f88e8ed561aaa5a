"""Everything the core can be told. Plain values; the shell makes them, `decide` takes them one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from temporal_fleet.supervisor.core.books import NO_BOOKS, Books
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life, Suspect
from temporal_fleet.supervisor.core.fleet import HelperKey, Pool


@dataclass(frozen=True, slots=True)
class Found:
    """An entity of an earlier supervisor lives on in our run directory."""

    entity: str
    incarnation: int
    pid: int
    gpus: tuple[int, ...] = ()
    """That are its own."""


@dataclass(frozen=True, slots=True)
class FoundDead:
    """An entity of an earlier supervisor died without one: its black box was found."""

    entity: str
    incarnation: int
    estate: Estate


@dataclass(frozen=True, slots=True)
class Started:
    """The supervisor begins with this config, and with what earlier supervisors left."""

    pools: Mapping[str, Pool]
    budget: int | None = None
    suspects: tuple[Suspect, ...] = ()
    """As persisted, the oldest first."""
    http: str | None = None
    books: Books = NO_BOOKS
    """Of the last supervisor; empty ones: there was none, or it stopped its fleet."""
    found: tuple[Found, ...] = ()
    """Of each entity one life."""
    dead: tuple[FoundDead, ...] = ()
    in_place: bool = False
    """The last supervisor was this very process: it was upgraded, and nobody asked for its entities to be."""


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    request: str
    pools: Mapping[str, Pool]
    budget: int | None = None
    forced: tuple[str, ...] = ()
    """Pools whose program is imported anew, and whose entities are replaced, without a change."""
    codes: Mapping[str, str] = field(default_factory=dict)
    """Of each fork server, by its name: the digest of its program's code as it stands on disk now."""
    edited: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each fork server, by its name: the files and distributions that are not as they were imported."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the fleet itself, those that the core has nothing to do with: by key, from what to what."""


@dataclass(frozen=True, slots=True)
class FileRefused:
    """A reload was asked for, and the config file says nothing that this fleet could follow."""

    request: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """Sizes for pools that exist, where there is no file to edit."""

    request: str
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """`target`: a pool, an entity, or None for all."""

    request: str
    target: str | None
    codes: Mapping[str, str] = field(default_factory=dict)
    """As of a reload: code that is the same is not imported anew."""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Keep a pool at zero, until it is resumed."""

    request: str
    pool: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    request: str
    pool: str


@dataclass(frozen=True, slots=True)
class QuietRequested:
    """Have an entity stop polling, and stay for a look; another takes its place at once."""

    request: str
    entity: str


ChangeRequest = (
    ReloadRequested | ScaleRequested | RestartRequested | DrainRequested | ResumeRequested | QuietRequested
)
"""Each is answered by Reject, or by Accept and, later, by Converged or Failed."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    now: bool


@dataclass(frozen=True, slots=True)
class HelperReady:
    key: HelperKey
    life: int
    code: str = ""
    """Of a fork server: the digest of its program's code as it was imported."""


@dataclass(frozen=True, slots=True)
class HelperRefused:
    """A program that does not import or validate."""

    key: HelperKey
    life: int
    reason: str


@dataclass(frozen=True, slots=True)
class HelperDied:
    key: HelperKey
    life: int
    reason: str


@dataclass(frozen=True, slots=True)
class HttpWanted:
    """The config in force has another `http` than before."""

    address: str | None


@dataclass(frozen=True, slots=True)
class HttpTold:
    """Where a web server serves, or why it does not."""

    key: HelperKey
    life: int
    address: str
    """Empty: nowhere."""
    problem: str


@dataclass(frozen=True, slots=True)
class Forked:
    entity: str
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkRefused:
    entity: str
    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Greeted:
    """Hello of an entity: the first message of its life, or the first to us."""

    entity: str
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class BecameReady:
    entity: str
    incarnation: int
    quiet: bool = False
    """It polls no more, since it was told so."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat."""

    entity: str
    incarnation: int
    activities: int = 0
    """In its hands."""
    cached: int = 0
    """Executions."""


@dataclass(frozen=True, slots=True)
class StoodStill:
    """A heartbeat that tells of work which stands still. Seconds, all of it."""

    entity: str
    incarnation: int
    unpolled: str = ""
    """What it does not poll for, though it could, in words; empty: nothing."""
    unpolled_for: float = 0.0
    activations: tuple[float, ...] = ()
    """For how long each has been in hand, the longest first."""
    activities: tuple[float, ...] = ()
    """By how much each is beyond the time of its attempt, the longest first."""
    workflow_slots: int | None = None
    """How many there are, where none of them is free; None: some are, or nobody knows."""
    activity_slots: int | None = None


@dataclass(frozen=True, slots=True)
class LeftByItself:
    """It drains: by itself, or since somebody told it to."""

    entity: str
    incarnation: int
    cause: str
    told: bool = False
    """By a supervisor, or since there was none."""


@dataclass(frozen=True, slots=True)
class Died:
    """waitpid or a pidfd says so. Code and signal both None: not our child, nobody can tell."""

    entity: str
    incarnation: int
    code: int | None
    signal: str | None
    last_words: str = ""
    estate: Estate = NOTHING
    wall: float = 0.0
    """When: seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a dead entity held is free, as far as it can be."""

    life: Life
    executions: int
    tasks_freed: int
    queries_answered: int
    activities_failed: int
    refused: int
    seconds: float
    problem: str


@dataclass(frozen=True, slots=True)
class RecoveryDelayed:
    life: Life
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The memory of one live entity, in bytes, and what it told of itself last."""

    entity: str
    incarnation: int
    rss: int
    pss: int | None
    """None: not read, since all RSS together are below the budget."""
    cached: int
    blocked: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Once a second, where any limit asks for it: every live entity."""

    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class ClosedFound:
    """Which of an entity's executions are closed, says the Cluster."""

    entity: str
    incarnation: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evicted:
    """An eviction that the core ordered is over. Bytes are RSS of the entity."""

    entity: str
    incarnation: int
    evicted: int
    cached: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class ClusterChanged:
    reachable: bool
    refused: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CredentialsTried:
    """Changed credentials were found, and tried, by an entity or (None) by the agent."""

    life: Life | None
    problem: str
    """Why they are not used; empty: they are in use."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The supervisor itself stood still for so many seconds: nobody's silence in that time counts."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


Event = (
    Started
    | FoundDead
    | ReloadRequested
    | FileRefused
    | ScaleRequested
    | RestartRequested
    | DrainRequested
    | ResumeRequested
    | QuietRequested
    | StopRequested
    | HelperReady
    | HelperRefused
    | HelperDied
    | HttpWanted
    | HttpTold
    | Forked
    | ForkRefused
    | Greeted
    | BecameReady
    | Heard
    | StoodStill
    | LeftByItself
    | Died
    | Recovered
    | RecoveryDelayed
    | Measured
    | ClosedFound
    | Evicted
    | ClusterChanged
    | CredentialsTried
    | Stalled
    | Tick
)
