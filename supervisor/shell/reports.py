"""The fleet as `status` shows it: the core's values and what the shell measured, put side by side."""

import time
from dataclasses import dataclass

from temporal_fleet.protocol.messages import Slots
from temporal_fleet.protocol.report import (
    ChangeReport,
    ClusterReport,
    EntityReport,
    ExitReport,
    FleetReport,
    PoolReport,
    RecoveryReport,
    SlotsReport,
    StatusReport,
    SuspectReport,
)
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.core.estate import ActivityKey, Recovery, Suspect
from temporal_fleet.supervisor.core.fleet import Entity, Exit, Fleet, Pool, effective
from temporal_fleet.supervisor.core.ledger import Ledger
from temporal_fleet.supervisor.core.poison import is_acquitted
from temporal_fleet.supervisor.core.view import entity_reason, fleet_state, http, pool_reason, ready_count
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.journal import JournalPlace
from temporal_fleet.supervisor.shell.vitals import Vitals

LOSSES_LIMIT = 50
"""Suspects, and recoveries, in one report: it has to fit a frame, and ids may be long."""


@dataclass(frozen=True)
class Surroundings:
    """What the core does not know of the fleet."""

    name: str
    pid: int
    config: str | None
    run_dir: str
    address: str
    namespace: str
    ui: str | None
    started: float
    dropped: int
    log_dir: str | None
    journal: JournalPlace


def status(
    fleet: Fleet,
    surroundings: Surroundings,
    heartbeats: Heartbeats,
    vitals: Vitals,
    now: float,
    *,
    pss: bool,
) -> StatusReport:
    """`now`: the monotonic clock that the core was given."""
    state, reason = fleet_state(fleet)
    http_address, http_reason = http(fleet)
    own = vitals.read(surroundings.pid, pss=False)
    pools = [
        PoolReport(
            name=pool.name,
            program=pool.program.program,
            task_queue=pool.program.task_queue,
            desired=effective(pool, fleet.drained).desired,
            ready=ready_count(fleet, pool.name),
            reason=pool_reason(fleet, pool),
            drained=pool.name in fleet.drained,
            memory_limit_bytes=_memory_limit(pool),
            max_cached_executions=_max_cached(pool),
        )
        for pool in fleet.pools.values()
    ]
    # One death speaks against nobody: all that was in hand is a suspect then.
    wall = time.time()
    suspects = [one for one in fleet.suspects.values() if one.deaths > 1 and not is_acquitted(one, wall)]
    recoveries = tuple(fleet.recoveries.values())
    ordered = sorted(fleet.entities.values(), key=lambda entity: (entity.pool, entity.ordinal))
    return StatusReport(
        fleet=FleetReport(
            name=surroundings.name,
            pid=surroundings.pid,
            state=state.value,
            generation=fleet.generation,
            uptime_s=now - surroundings.started,
            run_dir=surroundings.run_dir,
            config=surroundings.config,
            reason=reason,
            rss_bytes=own.rss if own else 0,
            dropped_messages=surroundings.dropped,
            http=http_address,
            http_reason=http_reason,
            memory_budget_bytes=fleet.budget,
            version=__version__,
            log_dir=surroundings.log_dir,
            journal_unit=surroundings.journal.unit,
            journal_user=surroundings.journal.user,
        ),
        cluster=ClusterReport(
            address=surroundings.address,
            namespace=surroundings.namespace,
            reachable=fleet.cluster.reachable is True,
            reason=fleet.cluster.reason,
            ui=surroundings.ui,
        ),
        pools=pools,
        entities=[_entity(fleet, entity, heartbeats, vitals, now, pss) for entity in ordered],
        suspects=[_suspect(suspect) for suspect in suspects[-LOSSES_LIMIT:]],
        recoveries=[_recovery(recovery, now) for recovery in recoveries[:LOSSES_LIMIT]],
        suspects_total=len(suspects),
        recoveries_total=len(recoveries),
        last_change=next(iter(changes(fleet.changes[-1:], None, now)), None),
    )


def changes(ledger: Ledger, change: int | None, now: float) -> list[ChangeReport]:
    """The newest first; of one id, that one alone, if it is there (still)."""
    chosen = [order for order in reversed(ledger) if change is None or order.id == change]
    return [
        ChangeReport(
            id=order.id,
            command=order.command,
            state=order.state.value,
            message=order.message,
            asked_at=time.time() - (now - order.asked_at),
            seconds=(now if order.ended_at is None else order.ended_at) - order.asked_at,
        )
        for order in chosen
    ]


def _entity(
    fleet: Fleet, entity: Entity, heartbeats: Heartbeats, vitals: Vitals, now: float, pss: bool
) -> EntityReport:
    memory = vitals.read(entity.pid, pss=pss) if entity.pid is not None else None
    current = heartbeats.of(entity)
    return EntityReport(
        id=entity.id,
        pool=entity.pool,
        pid=entity.pid,
        state=entity.state.value,
        incarnation=entity.incarnation,
        restarts=entity.restarts,
        rss_bytes=memory.rss if memory else None,
        pss_bytes=memory.pss if memory else None,
        cached_executions=current.cached_executions if current else 0,
        blocked_executions=current.blocked_executions if current else 0,
        evictions=current.evictions if current else 0,
        resurrections=current.resurrections if current else 0,
        inflight_activities=current.inflight_activities if current else 0,
        uptime_s=now - entity.forked_at if entity.is_live else 0.0,
        last_exit=_exit(entity.last_exit, now),
        reason=entity_reason(fleet, entity),
        tasks=current.tasks if current else 0,
        unrecorded=current.unrecorded if current else 0,
        gpus=entity.gpus,
        pollers=current.pollers if current else 0,
        heartbeat_age_s=heartbeats.age(entity, now),
        adopted=entity.adopted,
        workflow_slots=_slots(current.workflow_slots) if current else None,
        activity_slots=_slots(current.activity_slots) if current else None,
    )


def _slots(told: Slots | None) -> SlotsReport | None:
    return None if told is None else SlotsReport(used=told.used, free=told.free)


def _memory_limit(pool: Pool) -> int | None:
    limits = pool.memory.evict_above, pool.memory.recycle_above, pool.memory.kill_above
    return max((limit for limit in limits if limit is not None), default=None)


def _max_cached(pool: Pool) -> int | None:
    given = pool.program.worker.get("max_cached_workflows")
    return given if isinstance(given, int) else None


def _suspect(suspect: Suspect) -> SuspectReport:
    key = suspect.key
    activity = key.activity_id if isinstance(key, ActivityKey) else None
    return SuspectReport(
        kind="workflow" if activity is None else "activity",
        workflow_id=key.workflow_id,
        run_id=key.run_id,
        activity_id=activity or "",
        type=suspect.type,
        deaths=suspect.deaths,
    )


def _recovery(recovery: Recovery, now: float) -> RecoveryReport:
    return RecoveryReport(
        entity=recovery.life.entity,
        incarnation=recovery.life.incarnation,
        since_s=now - recovery.since,
        reason=recovery.reason,
    )


def _exit(ended: Exit | None, now: float) -> ExitReport | None:
    if ended is None:
        return None
    return ExitReport(
        code=ended.code, signal=ended.signal, cause=ended.cause, time=time.time() - (now - ended.at)
    )
