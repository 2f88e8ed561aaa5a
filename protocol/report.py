"""What `status --json`, `events --json` and `plan --json` print. Users' scripts hold to these names: add,
never rename.

Bytes are bytes, `*_s` are seconds, times are seconds since the epoch.
"""

import msgspec


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    pid: int
    state: str
    generation: int
    uptime_s: float
    run_dir: str
    config: str | None
    """The config file; null under `run`, which has none."""
    reason: str
    """Why the fleet is not simply running; else empty."""
    rss_bytes: int
    dropped_messages: int
    http: str | None = None
    """HOST:PORT where metrics, health and the status page are served; null: nowhere."""
    http_reason: str = ""
    """Why nowhere, where the config asks for it."""
    memory_budget_bytes: int | None = None
    version: str = ""
    """Of the supervisor's own code."""
    log_dir: str | None = None
    """Null: its processes log to the streams of the supervisor."""
    journal_unit: str = ""
    """The unit of systemd under which these streams go into the journal; empty: they go elsewhere."""
    journal_user: bool = False
    """It is a unit of the user's own service manager."""


class ClusterReport(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    namespace: str
    reachable: bool
    reason: str
    ui: str | None
    """The address of the embedded Cluster's web UI."""


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    program: str
    task_queue: str
    desired: int
    ready: int
    reason: str
    drained: bool = False
    """Kept at zero until it is resumed, whatever its config says."""
    memory_limit_bytes: int | None = None
    """Of one entity: the highest of its `memory` limits; null: it has none."""
    max_cached_executions: int | None = None
    """Of one entity, where the pool's `worker` says it."""


class ExitReport(msgspec.Struct, frozen=True, kw_only=True):
    code: int | None
    signal: str | None
    cause: str
    """One line: what ended it."""
    time: float


class SlotsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of tasks, of one entity."""

    used: int
    free: int | None
    """Null: they have no number, or their supplier does not tell it."""


class EntityReport(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    pool: str
    pid: int | None
    state: str
    incarnation: int
    restarts: int
    rss_bytes: int | None
    pss_bytes: int | None
    cached_executions: int
    blocked_executions: int
    evictions: int
    resurrections: int
    inflight_activities: int
    uptime_s: float
    last_exit: ExitReport | None
    reason: str
    tasks: int = 0
    unrecorded: int = 0
    """Activities and executions that its black box had no room for."""
    gpus: tuple[int, ...] = ()
    """Indices of those that are its own."""
    pollers: int = 0
    """Polls of its Task Queue that are open, as it told last."""
    heartbeat_age_s: float | None = None
    """Since its last heartbeat; null: there was none yet."""
    adopted: bool = False
    """It was begun by an earlier supervisor."""
    workflow_slots: SlotsReport | None = None
    """As it told last; null: it told nothing of them yet. So with activities."""
    activity_slots: SlotsReport | None = None

    @property
    def is_full(self) -> bool:
        """Each of its slots is taken: then it polls nothing, and is well."""
        told = [slots for slots in (self.workflow_slots, self.activity_slots) if slots is not None]
        return bool(told) and all(slots.free == 0 for slots in told)


class SuspectReport(msgspec.Struct, frozen=True, kw_only=True):
    """An activity or a workflow run that was in the hands of so many entities when they died."""

    kind: str
    """`activity` or `workflow`."""
    workflow_id: str
    """Empty for a standalone activity."""
    run_id: str
    activity_id: str
    """Empty for a workflow run."""
    type: str
    deaths: int


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A dead entity whose work is not free yet."""

    entity: str
    incarnation: int
    since_s: float
    reason: str


class ChangeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `changes`: a command that changes the fleet, and what became of it."""

    id: int
    command: str
    """`reload`, `scale orders=4`, `restart orders`, …"""
    state: str
    """`importing`, `rolling`, `done`, `failed`, `rejected` or `superseded`."""
    message: str
    """What it does; of one that failed, why, and what became of it."""
    asked_at: float
    seconds: float
    """From then until its end, or until now."""


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    fleet: FleetReport
    cluster: ClusterReport
    pools: list[PoolReport]
    entities: list[EntityReport]
    suspects: list[SuspectReport] = []
    """Of more than one death, those that were in hand last: as many as a reply has room for."""
    recoveries: list[RecoveryReport] = []
    """The oldest ones: as many as a reply has room for."""
    suspects_total: int = 0
    """Of more than one death."""
    recoveries_total: int = 0
    last_change: ChangeReport | None = None
    """The newest one; null: nothing was asked of this fleet yet."""


class ExecutionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `executions`."""

    entity: str
    pool: str
    workflow_id: str
    run_id: str
    workflow_type: str
    state: str
    """`blocked` or `running`."""
    closed: bool
    idle_s: float
    age_s: float
    """Since it came into this cache."""
    history_events: int
    replayed_events: int
    """Events replayed when it came into this cache; 0: it began here."""


class EvictionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `evict` did to one entity."""

    entity: str
    evicted: int
    passed_over: int
    """Chosen, and not evicted: they began to run, or are gone."""
    cached: int
    """Executions that remain."""
    freed_bytes: int
    """PSS before, less PSS after."""
    pss_bytes: int
    problem: str = ""
    """Why there is no answer of this entity; empty: there is."""


class EventReport(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `events`."""

    time: float
    kind: str
    level: str
    """`debug`, `info`, `warning` or `error`."""
    message: str
    pool: str | None = None
    entity: str | None = None
    incarnation: int | None = None


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan."""

    action: str
    """`start`, `stop`, `replace`, `change` or `keep`."""
    target: str
    reason: str
