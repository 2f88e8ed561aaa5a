"""What is wrong with a fleet that runs, and with what a dead one left: its own report in, findings out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from temporal_fleet.protocol.report import EntityReport, StatusReport
from temporal_fleet.supervisor.core.findings import Finding, ok, problem, warning
from temporal_fleet.supervisor.core.names import listed

_SILENT = 5.0
"""Seconds without a heartbeat, of which there is one a second, from which on that is worth a word."""
_YOUNG = 10.0
"""Seconds of a life in which it need not poll yet."""
_AT_REST = ("running", "degraded")
"""States of a fleet in which nothing is on its way."""
_MOST = 5
"""Names in one finding."""


@dataclass(frozen=True)
class Leftover:
    """An entity of which a file in the run directory tells, and the supervisor, if there is one, does not."""

    entity: str
    pid: int
    alive: bool
    held: int
    """Activities and executions in its hands."""


def fleet_findings(report: StatusReport) -> Iterator[Finding]:
    fleet = report.fleet
    yield _state(report)
    yield from _pools(report)
    yield from _entities(report.entities)
    yield from _polls(report)
    if report.recoveries_total:
        oldest = max((recovery.since_s for recovery in report.recoveries), default=0.0)
        reason = next((recovery.reason for recovery in report.recoveries if recovery.reason), "")
        yield warning(
            "recoveries",
            f"the work of {report.recoveries_total} dead entities is not free yet, for {oldest:.0f} s at most"
            + (f": {reason}" if reason else ""),
            "it goes on by itself once the Cluster answers; look with: temporal-fleet status",
        )
    if report.suspects_total:
        yield warning(
            "poison",
            f"{report.suspects_total} activities or runs were in hand at more than one death",
            "look which with: temporal-fleet status; mend the code, or terminate the workflow",
        )
    if fleet.dropped_messages:
        yield warning(
            "messages",
            f"the supervisor dropped {fleet.dropped_messages} messages",
            "its log says which; are all processes of one version?",
        )
    if fleet.http_reason:
        yield problem("web server", fleet.http_reason, "correct [fleet] http, then: temporal-fleet reload")
    last = report.last_change
    if last is not None and last.state == "failed":
        yield warning(
            "last change",
            f"{last.command} failed: {last.message}",
            f"mend it, then try again; look with: temporal-fleet changes {last.id}",
        )


def leftover_findings(leftovers: Sequence[Leftover], *, supervised: bool, start: str) -> Iterator[Finding]:
    """`supervised`: whether a supervisor runs in that directory; it deals with the dead itself. `start`: the
    command that starts one."""
    strays = [each for each in leftovers if each.alive]
    dead = [] if supervised else [each for each in leftovers if not each.alive]
    if strays and supervised:
        pids = " ".join(str(each.pid) for each in strays)
        yield problem(
            "strays",
            f"{_listed([each.entity for each in strays])} run, and the supervisor does not know them",
            f"they poll beside the fleet; end them with: kill {pids}",
        )
    elif strays:
        yield problem(
            "supervisor",
            f"it is gone, and left {_listed([each.entity for each in strays])}",
            f"start it again within [fleet] orphan, and it adopts them: {start}",
        )
    if dead:
        held = sum(each.held for each in dead)
        yield warning(
            "black boxes",
            f"of {_listed([each.entity for each in dead])}, dead, with {held} executions and activities",
            f"what they held is set free at the next start: {start}",
        )


def _state(report: StatusReport) -> Finding:
    fleet = report.fleet
    figure = f"{fleet.state}, PID {fleet.pid}" + (f": {fleet.reason}" if fleet.reason else "")
    match fleet.state:
        case "running":
            return ok("fleet", figure)
        case "degraded":
            return problem("fleet", figure, "see the findings below it, and: temporal-fleet status")
        case _:
            return warning("fleet", figure, "it is on its way; look again when it is done")


def _pools(report: StatusReport) -> Iterator[Finding]:
    for pool in report.pools:
        figure = f"{pool.ready} of {pool.desired} ready"
        if pool.drained:
            remedy = f"temporal-fleet resume {pool.name}"
            yield warning(f"pool {pool.name}", "drained: it is kept at zero", remedy)
        elif pool.ready == 0 < pool.desired and report.fleet.state in _AT_REST:
            because = f": {pool.reason}" if pool.reason else ""
            yield problem(
                f"pool {pool.name}", figure + because, "nobody works on its queue; see its entities"
            )
        elif pool.ready < pool.desired:
            because = f": {pool.reason}" if pool.reason else ""
            yield warning(
                f"pool {pool.name}", figure + because, "look again when it is done; see its entities"
            )
        else:
            yield ok(f"pool {pool.name}", figure)


def _entities(entities: Sequence[EntityReport]) -> Iterator[Finding]:
    for entity in entities:
        if entity.state == "failed":
            yield problem(
                entity.id,
                f"failed: {entity.reason}",
                f"mend its program, then: temporal-fleet restart {entity.pool}",
            )
        elif entity.state == "backoff":
            yield warning(entity.id, f"died, and is to be started again: {entity.reason}", "see its log")
    silent = [e for e in entities if e.pid is not None and (e.heartbeat_age_s or 0.0) > _SILENT]
    if silent:
        longest = max(entity.heartbeat_age_s or 0.0 for entity in silent)
        yield warning(
            "heartbeats",
            f"none from {_listed([entity.id for entity in silent])} for {longest:.0f} s",
            f"it hangs, and is killed after `hang`; see where: temporal-fleet dump {silent[0].id}",
        )
    full = [entity for entity in entities if entity.unrecorded]
    if full:
        yield warning(
            "black boxes",
            f"no room for {sum(e.unrecorded for e in full)} of what {_listed([e.id for e in full])} hold",
            "what is not recorded is not recovered: a larger disk, or fewer worker.max_cached_workflows",
        )
    quiet = [entity for entity in entities if entity.state == "quiet"]
    if quiet:
        yield warning(
            "quiet",
            f"{_listed([entity.id for entity in quiet])} polls no more, and stays for a look",
            f"when you are done: temporal-fleet restart {quiet[0].id}",
        )


def _polls(report: StatusReport) -> Iterator[Finding]:
    """One look: how long it has been so the supervisor knows. While the Cluster is away nobody polls."""
    entities = report.entities
    unpolling = [e for e in entities if e.state == "ready" and e.uptime_s > _YOUNG and e.pollers == 0]
    busy = [entity for entity in unpolling if entity.is_full]
    idle = [entity for entity in unpolling if not entity.is_full]
    if busy:
        yield warning(
            "slots",
            f"{_listed([entity.id for entity in busy])} polls no more: every slot is taken",
            "more entities, or more slots in `worker`; by what, tells: temporal-fleet executions",
        )
    if idle and report.cluster.reachable:
        yield warning(
            "polling",
            f"{_listed([entity.id for entity in idle])} ready, and without an open poll just now",
            "look again; if it stays so it is replaced after liveness.polling, and its stacks are logged",
        )


def _listed(names: Sequence[str]) -> str:
    return listed(names, _MOST)
