"""How a fleet stands, in words: what a change still waits for, what the fleet lacks, what still drains.

The fleet goes on by itself whether anyone waits or not: nothing here commands it.
"""

from dataclasses import dataclass

from temporal_fleet.protocol.report import EntityReport, PoolReport, StatusReport
from temporal_fleet.supervisor.cli.client import Supervisor, SupervisorGone
from temporal_fleet.supervisor.cli.failure import Interrupted, say
from temporal_fleet.supervisor.cli.human import count
from temporal_fleet.supervisor.core.names import listed

_ASK_EVERY = 0.3

_ON_THE_WAY = ("waiting", "starting", "draining", "backoff")
_AT_REST = ("ready", "stopped", "failed")


@dataclass(frozen=True)
class Pending:
    """What the fleet is still at, in words."""

    what: str


@dataclass(frozen=True)
class Settled:
    """Nothing moves any more. `shortfalls`: where that is not what the config asks for."""

    shortfalls: tuple[str, ...]


def progress_of(report: StatusReport) -> Pending | Settled:
    """Whether the fleet has converged on its config."""
    moving = [entity for entity in report.entities if entity.state in _ON_THE_WAY]
    missing = [pool for pool in report.pools if _at_rest(pool, report.entities) < pool.desired]
    if moving or missing:
        words = [_entity(entity) for entity in moving] or [
            f"{pool.name} {pool.ready}/{pool.desired}" for pool in missing
        ]
        return Pending(_cluster(report) + listed(words))
    if report.last_change is not None and report.last_change.state == "importing":
        return Pending("its programs to be imported")
    if report.fleet.state == "reloading":
        return Pending("the reload to end")
    shortfalls = tuple(words for pool in report.pools for words in _shortfalls(pool, report.entities))
    if not shortfalls and report.fleet.state == "degraded":
        shortfalls = (report.fleet.reason or "the fleet is degraded",)
    return Settled(shortfalls)


class Meanwhile:
    """Tells what a change still waits for, while nothing else is told of it."""

    def __init__(self) -> None:
        self._tell = _Teller("waiting for ")

    def __call__(self, report: StatusReport) -> None:
        now = progress_of(report)
        if isinstance(now, Pending):
            self._tell(now.what)


def conclude(supervisor: Supervisor) -> None:
    """Says how the fleet stands after a change that was carried through, and what it lacks all the same."""
    report = supervisor.status()
    total = sum(pool.ready for pool in report.pools)
    say(
        f"{report.fleet.name}: generation {report.fleet.generation}, {count(len(report.pools), 'pool')}, "
        f"{count(total, 'entity', 'entities')} ready"
    )
    now = progress_of(report)
    if isinstance(now, Settled) and now.shortfalls:
        say("the change is made; what the fleet lacks has other reasons:")
        for line in (*now.shortfalls, *_remedies(supervisor, report)):
            say(f"  {line}")


def until_ended(supervisor: Supervisor) -> None:
    """Returns when the supervisor is gone. Raises Interrupted on Ctrl-C: the fleet drains on."""
    tell = _Teller("draining: ")
    try:
        while not supervisor.ended_within(_ASK_EVERY):
            try:
                left = [entity for entity in supervisor.status().entities if entity.pid is not None]
            except SupervisorGone:
                return
            if left:
                tell(listed([_entity(entity) for entity in left]))
    except KeyboardInterrupt:
        say(
            f"\nthe fleet goes on draining; look at it with: {supervisor.place.command('status')}\n"
            f"or end it at once with: {supervisor.place.command('stop --now')}"
        )
        raise Interrupted from None


class _Teller:
    """Says a thing when it differs from what was said last."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._last = ""

    def __call__(self, what: str) -> None:
        if what != self._last:
            self._last = what
            say(self._prefix + what)


def _at_rest(pool: PoolReport, entities: list[EntityReport]) -> int:
    return sum(entity.pool == pool.name and entity.state in _AT_REST for entity in entities)


def _entity(entity: EntityReport) -> str:
    words = f"{entity.id} {entity.state}"
    if entity.state == "draining" and entity.inflight_activities:
        words += f" ({count(entity.inflight_activities, 'activity', 'activities')})"
    if entity.state == "backoff" and entity.reason:
        words += f" ({entity.reason})"
    return words


def _cluster(report: StatusReport) -> str:
    if report.cluster.reachable:
        return ""
    reason = f" ({report.cluster.reason})" if report.cluster.reason else ""
    return f"the Cluster at {report.cluster.address}{reason}; "


def _shortfalls(pool: PoolReport, entities: list[EntityReport]) -> list[str]:
    if pool.ready < pool.desired:
        return [f"pool {pool.name}: {pool.ready} of {pool.desired} ready{_because(pool, entities)}"]
    # A new entity that fails while old ones are replaced keeps them running: the pool lacks none.
    return [
        f"{_resting(entity)}; the old entities run on"
        for entity in entities
        if entity.pool == pool.name and entity.state == "failed"
    ]


def _remedies(supervisor: Supervisor, report: StatusReport) -> list[str]:
    failed = sorted({entity.pool for entity in report.entities if entity.state == "failed"})
    if not failed:
        return []
    restarts = [f"mend it, then: {supervisor.place.command(f'restart {pool}')}" for pool in failed]
    if report.fleet.config is not None:
        reload = supervisor.place.command("reload")
        restarts.append(f"or mend what {report.fleet.config} says of its program, then: {reload}")
    return restarts


def _because(pool: PoolReport, entities: list[EntityReport]) -> str:
    reasons = [pool.reason] if pool.reason else []
    reasons += [
        _resting(entity)
        for entity in entities
        if entity.pool == pool.name and entity.state in ("failed", "stopped")
    ]
    return f": {'; '.join(reasons)}" if reasons else ""


def _resting(entity: EntityReport) -> str:
    return f"{entity.id} {entity.state}{': ' + entity.reason if entity.reason else ''}"
