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


class ExitReport(msgspec.Struct, frozen=True, kw_only=True):
    code: int | None
    signal: str | None
    cause: str
    """One line: what ended it."""
    time: float


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


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    fleet: FleetReport
    cluster: ClusterReport
    pools: list[PoolReport]
    entities: list[EntityReport]


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
