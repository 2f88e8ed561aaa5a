"""The fleet as the core sees it: frozen values and what can be read off them. Nothing here decides.

All times are monotonic seconds, as the shell's clock gave them; all durations are seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core.estate import Life, Recovery, Suspect, SuspectKey
from temporal_fleet.supervisor.core.ledger import Ledger
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.states import LIVE, State

if TYPE_CHECKING:
    from temporal_fleet.supervisor.core.events import ChangeRequest


class HelperKind(Enum):
    FORK_SERVER = "fork server"
    AGENT = "cluster agent"
    DEV_SERVER = "dev server"
    WEB = "web server"


@dataclass(frozen=True, slots=True)
class HelperKey:
    """Names one helper process. `name` tells fork servers apart (revision and epoch), and web servers (the
    address that they are to serve at: another address, another process)."""

    kind: HelperKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}".strip()


AGENT = HelperKey(HelperKind.AGENT)
DEV_SERVER = HelperKey(HelperKind.DEV_SERVER)


def web_server(http: str) -> HelperKey:
    return HelperKey(HelperKind.WEB, http)


class HelperState(Enum):
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    REFUSED = "refused"
    """Trying again changes nothing: a program that does not import."""
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Helper:
    key: HelperKey
    state: HelperState
    since: float
    life: int
    """Of all helper lives, which: what one process said is not taken for the next one's."""
    deadline: float | None = None
    """starting: must be ready; backoff: next try; refused, stopping: killed, if it has a process still."""
    streak: int = 0
    program: str = ""
    """What a fork server imports."""
    code: str = ""
    """Of a fork server: the digest of the code that it imported last."""
    address: str = ""
    """Of a web server: where it serves; empty: nowhere (yet)."""
    reason: str = ""

    def __str__(self) -> str:
        return f"fork server of {self.program}" if self.program else self.key.kind.value

    @property
    def is_live(self) -> bool:
        """Whether it has a process. One that refused has, until that is reported dead."""
        refused = self.state is HelperState.REFUSED
        return self.deadline is not None if refused else self.state is not HelperState.BACKOFF


@dataclass(frozen=True, slots=True)
class Rollout:
    max_surge: int = 1
    max_unavailable: int = 0


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """`memory = {…}` of a pool: RSS of one entity, in bytes. None: no such limit."""

    evict_above: int | None = None
    recycle_above: int | None = None
    kill_above: int | None = None


@dataclass(frozen=True, slots=True)
class LivenessLimits:
    """`liveness = {…}` of a pool. Seconds; infinite: never."""

    polling: float = 30.0
    activation: float = 30.0
    activity: float = 60.0


@dataclass(frozen=True, slots=True)
class RecyclePolicy:
    """`recycle = {…}` of a pool. None: never for that reason."""

    max_age: float | None = None
    max_tasks: int | None = None


@dataclass(frozen=True, slots=True)
class Gpus:
    """`resources = { gpus = … }` of a pool."""

    each: int = 0
    """So many are one entity's own."""
    devices: tuple[int, ...] = ()
    """Of these: `[fleet] gpus`, or none where an entity needs none."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One `[pools.NAME]` as the core needs it."""

    name: str
    desired: int
    program: ProgramSpec
    revision: str
    """Pools of one revision (program, path, environment) share a fork server."""
    digest: str
    """Entities of another digest are outdated: replaced one by one."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    rollout: Rollout = field(default_factory=Rollout)
    drain: float = 30.0
    hang: float = 10.0
    liveness: LivenessLimits = LivenessLimits()
    boot: float = 60.0
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    recycle: RecyclePolicy = field(default_factory=RecyclePolicy)
    poison_after: int = 3
    gpus: Gpus = Gpus()
    epoch: int = 0
    """Grows when the program is to be imported anew though its settings are the same."""
    turn: int = 0
    """Grows when the entities are to be replaced though their settings are the same; whenever epoch does."""
    traits: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the digest is made of, as an operator may read it: config key -> value, a secret one's digest
    after an ellipsis."""

    @property
    def fork_server(self) -> HelperKey:
        return HelperKey(HelperKind.FORK_SERVER, f"{self.revision}.{self.epoch}")

    @property
    def version(self) -> str:
        """What an entity of this pool is made from now."""
        return f"{self.digest}.{self.turn}"


class Leaving(Enum):
    """Why an entity is draining."""

    ORDERED = "ordered"
    HUNG = "hung"
    STUCK = "hung on its way out"
    NO_SLOT_LEFT = "each slot taken by what does not end"
    BOOT_TIMEOUT = "not ready in time"
    TOO_LARGE = "over kill_above"
    ITSELF = "by itself"


class Fault(Enum):
    """What is wrong with an entity whose heart beats."""

    NOT_POLLING = "not polling"
    STUCK = "stuck"


class Standing(Enum):
    """What a place is to its pool."""

    MEMBER = "member"
    """One of those that the config asks for: whoever leaves it is followed by another."""
    STAND_IN = "stand-in"
    """Made while members are replaced; goes when they are."""
    RETIRED = "retired"
    """Is quiet, or leaves for good: nobody comes after it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an entity has in its hands, as it told last."""

    activities: int = 0
    cached: int = 0
    """Executions."""


class Pressure(Enum):
    """What is being done about the memory of an entity. Its transitions stand in eviction."""

    NONE = "none"
    ASKING = "asking"
    """Which of its executions are closed, says the Cluster? Then they are evicted."""
    EVICTING = "evicting"
    EVICTED = "evicted"
    """Evicted of late: given time to show its effect."""


@dataclass(frozen=True, slots=True)
class Relief:
    """What an eviction is to bring: the one under way, or the last one of this life."""

    bytes: int = 0
    executions: int = 0
    """How many that takes, as far as can be told."""
    futile: int = 0
    """So many in a row brought less than half of what they were to bring, or less than executions cost."""
    brought: float | None = None
    """Bytes that each execution brought at the last one; None: not known."""


class Strain(Enum):
    """How all entities together stand to the memory budget. What is done about it stands in budget."""

    WITHIN = "within"
    OVER = "over"
    HELPLESS = "helpless"
    """Over it, and nothing can be done about it any more."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a life ended. Code and signal both None: nobody could tell (not our child)."""

    at: float
    code: int | None
    signal: str | None
    cause: str
    meaning: Verdict


@dataclass(frozen=True, slots=True)
class Entity:
    """One place in the fleet, with its present or last life."""

    id: str
    pool: str
    ordinal: int
    state: State
    since: float
    standing: Standing = Standing.MEMBER
    incarnation: int = 0
    """Of the present or last life; 0 before the first."""
    pid: int | None = None
    version: str = ""
    fork_server: HelperKey | None = None
    """None too for an adopted life whose code was not compared yet."""
    code: str = ""
    """Digest of the code that its fork server had imported."""
    forked_at: float = 0.0
    """When the present or last life was asked for."""
    adopted: bool = False
    """This life was begun by an earlier supervisor: it is no child of ours, or not for sure."""
    drain: float | None = None
    """What this life gives its activities when it leaves, whatever its pool says by then; None: not known."""
    deadline: float | None = None
    """starting: must be ready; draining: killed; backoff: next try."""
    heartbeat: float = 0.0
    load: Load = Load()
    gpus: tuple[int, ...] = ()
    """Indices of those that are this life's own."""
    ready_at: float | None = None
    leaving: Leaving | None = None
    crashes: tuple[float, ...] = ()
    streak: int = 0
    unready: int = 0
    """Lives in a row that ended, of their own making, before they were ready."""
    restarts: int = 0
    """Lives begun after a death that nobody ordered."""
    recycle: str = ""
    """Why this life is to be replaced by another like it; empty: it is not."""
    fault: Fault | None = None
    """Where it is to be replaced for that."""
    pressure: Pressure = Pressure.NONE
    pressure_since: float = 0.0
    relief: Relief = Relief()
    baseline: int | None = None
    """RSS of this life without its cache, as far as that was seen; None: not measured yet."""
    recycled_at: float | None = None
    """When a life in this place was last told to go for its memory."""
    last_exit: Exit | None = None
    reason: str = ""

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster agent says. `reachable` None: not known (yet, or any more)."""

    reachable: bool | None = None
    refused: bool = False
    reason: str = ""
    since: float = 0.0
    """When the agent said so, or the supervisor last stood still."""

    @property
    def is_down(self) -> bool:
        return self.reachable is False or self.refused

    def hold(self, embedded: bool) -> str:
        """Why nothing is started for now on the Cluster's account; empty: nothing is in the way."""
        if self.is_down:
            return self.reason or "the Cluster cannot be reached"
        return "the embedded Cluster is not up yet" if embedded and self.reachable is None else ""


class Phase(Enum):
    RUNNING = "running"
    DRAINING = "draining"
    """Told to stop: entities drain, and what the killed ones held is set free."""
    CLOSING = "closing"
    """No entity is left, and no recovery is waited for: helpers go, the dev server last."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that waits for its programs to be imported."""

    change: int
    """Its order in the ledger."""
    event: "ChangeRequest"
    pools: Mapping[str, Pool]
    message: str
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that was asked for while an earlier one is pending."""

    change: int
    event: "ChangeRequest"


@dataclass(frozen=True, slots=True)
class Fallback:
    """What was in force, and known to work, before the changes that are rolling."""

    pools: Mapping[str, Pool]
    budget: int | None
    generation: int
    drained: frozenset[str]
    places: frozenset[str]
    """Ids of the entities that there were."""
    kept_drained: frozenset[str] = frozenset()
    """Those of the drained pools that were not, and are to stay so whatever is taken back."""


@dataclass(frozen=True, slots=True)
class Roll:
    """A change that is in force, while the fleet is on its way there."""

    change: int
    """Its order in the ledger."""
    request: str
    fallback: Fallback
    touched: frozenset[str]
    """Pools that it looks at though their settings are those of the fallback."""
    renewed: frozenset[str]
    """Ids of single entities that are replaced."""
    due: Mapping[str, float] = field(default_factory=dict)
    """Of each new entity that was forked: when it must be ready; infinite once it was."""
    away_since: float | None = None
    """The Cluster is away: time stands still for who is due."""


@dataclass(frozen=True, slots=True)
class Fleet:
    embedded: bool
    pools: Mapping[str, Pool] = field(default_factory=dict)
    drained: frozenset[str] = frozenset()
    """Pools kept at zero until they are resumed, whatever the config says. They need not exist."""
    entities: Mapping[str, Entity] = field(default_factory=dict)
    helpers: Mapping[HelperKey, Helper] = field(default_factory=dict)
    incarnations: Mapping[str, int] = field(default_factory=dict)
    """The last incarnation of every entity id that ever was in this run directory."""
    least_incarnation: int = 0
    """None of an id that is not among them was above this."""
    helper_lives: int = 0
    """Helper processes that were ever started."""
    epoch: int = 0
    """The last epoch, or turn, that was given to a pool."""
    cluster: Cluster = Cluster()
    phase: Phase = Phase.RUNNING
    generation: int = 0
    """Of the config in force."""
    generations: int = 0
    """The last generation that was given to a config."""
    changes: Ledger = ()
    pending: Pending | None = None
    waiting: tuple[Waiting, ...] = ()
    roll: Roll | None = None
    recoveries: Mapping[Life, Recovery] = field(default_factory=dict)
    recover_by: float | None = None
    """The fleet stops and no entity is left: when it waits for recoveries no longer."""
    suspects: Mapping[SuspectKey, Suspect] = field(default_factory=dict)
    """The oldest first."""
    budget: int | None = None
    """`[fleet] memory_budget`: bytes (PSS) for all entities together."""
    strain: Strain = Strain.WITHIN
    http: str | None = None
    """`[fleet] http`: HOST:PORT."""

    def members(self, pool: str) -> list[Entity]:
        return members(self.entities, pool)


def effective(pool: Pool, drained: frozenset[str]) -> Pool:
    """The pool as it is to be: one that was drained is kept at zero."""
    return replace(pool, desired=0) if pool.name in drained and pool.desired else pool


def members(entities: Mapping[str, Entity], pool: str) -> list[Entity]:
    """The places of a pool, by ordinal."""
    return sorted((e for e in entities.values() if e.pool == pool), key=lambda e: e.ordinal)


def live(entities: Iterable[Entity]) -> list[Entity]:
    return [entity for entity in entities if entity.is_live]
