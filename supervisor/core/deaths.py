"""What the end of each life means for its place: another life, now or later, or none any more."""

from temporal_fleet.protocol.exits import Verdict, verdict
from temporal_fleet.supervisor.core import events, poison, recoveries
from temporal_fleet.supervisor.core.actions import Forget, Level
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.estate import NOTHING, Life
from temporal_fleet.supervisor.core.fleet import Entity, Exit, Leaving, Phase, Pool, Standing
from temporal_fleet.supervisor.core.kinds import EventKind
from temporal_fleet.supervisor.core.restart import (
    HEALTHY_AFTER,
    RestartPolicy,
    delay,
    in_window,
    may_restart,
    next_try,
    slow_delay,
    too_many,
)
from temporal_fleet.supervisor.core.states import Change, State

_ORDERED = frozenset({Leaving.ORDERED, Leaving.STUCK})


def died(draft: Draft, event: events.Died) -> None:
    entity = draft.life(event.entity, event.incarnation)
    if entity is None:
        return
    if _never_began(entity, event):
        draft.emit("entity.never-was", Level.DEBUG, "it ended before it began to work", entity)
        draft.act(Forget(Life(entity.id, entity.incarnation)))
        begin_anew(draft, entity)
        return
    outcome = Exit(draft.now, event.code, event.signal, _cause(entity, event), _meaning(draft, entity, event))
    entity = draft.set(entity, last_exit=outcome)
    judgement = poison.judge(draft, entity, outcome, event.estate, event.wall)
    recoveries.begin(draft, entity, outcome, event.estate, judgement)
    pool = _pool_of_version(draft, entity)
    if entity.leaving in _ORDERED or draft.phase is not Phase.RUNNING:
        draft.emit("entity.stopped", Level.INFO, outcome.cause, entity)
        begin_anew(draft, entity)
    elif entity.standing is Standing.RETIRED:
        draft.emit(*_kind(outcome), f"{outcome.cause}; nobody comes after it", entity)
        begin_anew(draft, entity)
    elif pool is None:
        draft.emit(*_kind(outcome), f"{outcome.cause}; it was outdated", entity)
        begin_anew(draft, entity)
    elif outcome.meaning in {Verdict.CLUSTER, Verdict.HOST}:
        wait = slow_delay(pool.restart, _salt(entity))
        kind: EventKind = "entity.cluster" if outcome.meaning is Verdict.CLUSTER else "entity.host"
        _say_once(draft, entity, kind, outcome.cause)
        draft.change(
            entity,
            Change.RETRY_LATER,
            restarts=entity.restarts + 1,
            deadline=draft.now + wait,
            reason=outcome.cause,
        )
    elif outcome.meaning is Verdict.PROGRAM:
        draft.change(entity, Change.GIVE_UP, reason=outcome.cause)
        draft.emit("entity.failed", Level.ERROR, outcome.cause, entity)
    elif may_restart(pool.restart, outcome.meaning):
        _restart(draft, entity, outcome, pool.restart, explained=bool(judgement.known))
    else:
        draft.emit(*_kind(outcome), f"{outcome.cause}; restart policy: {pool.restart.policy.value}", entity)
        draft.change(entity, Change.END, reason=outcome.cause)


def fork_refused(draft: Draft, event: events.ForkRefused) -> None:
    """The host is out of processes or memory: not the entity's fault, so nothing is counted."""
    entity = draft.life(event.entity, event.incarnation)
    if entity is None or entity.pid is not None:
        return
    draft.act(Forget(Life(entity.id, entity.incarnation)))
    pool = _pool_of_version(draft, entity)
    if entity.state is State.DRAINING or pool is None:
        begin_anew(draft, entity)
        return
    reason = f"fork refused: {event.reason}"
    streak = entity.streak + 1
    wait = max(pool.restart.backoff, delay(pool.restart, streak, _salt(entity)))
    _say_once(draft, entity, "entity.fork-refused", reason)
    draft.change(entity, Change.RETRY_LATER, streak=streak, deadline=draft.now + wait, reason=reason)


def begin_anew(draft: Draft, entity: Entity) -> None:
    """A place whose life is over may get another at once: nothing that was counted speaks against it."""
    if entity.state is State.WAITING:
        draft.set(entity, streak=0, crashes=(), unready=0, reason="")
    else:
        draft.change(entity, Change.RETRY_NOW, streak=0, crashes=(), unready=0, reason="")


def cluster_is_up(draft: Draft) -> None:
    """Who waits for the Cluster waits no longer."""
    for entity in tuple(draft.entities.values()):
        ended = entity.last_exit
        if entity.state is not State.BACKOFF or ended is None or ended.meaning is not Verdict.CLUSTER:
            continue
        # A refused fork waits too, with an older exit behind it.
        if ended.at == entity.since:
            draft.change(entity, Change.RETRY_NOW)


def _restart(draft: Draft, entity: Entity, outcome: Exit, policy: RestartPolicy, *, explained: bool) -> None:
    """A life ended of its own making: count it, and see whether and when another may begin. A death that is
    explained by what was in hand lengthens the backoff, and is no crash of the pool's own."""
    healthy = entity.ready_at is not None and draft.now - entity.ready_at >= HEALTHY_AFTER
    streak = 1 if healthy else entity.streak + 1
    crashes = in_window(entity.crashes, policy, draft.now)
    if not explained:
        crashes = (*crashes, draft.now)
    if not explained and too_many(crashes, policy):
        reason = (
            f"crash loop: {len(crashes)} deaths within {policy.within:g} s, the last: {outcome.cause}; "
            f"mend it, then: temporal-fleet restart {entity.pool}"
        )
        draft.change(entity, Change.GIVE_UP, reason=reason, crashes=(), streak=0)
        draft.emit("entity.failed", Level.ERROR, reason, entity)
        return
    wait = delay(policy, streak, _salt(entity))
    draft.emit(*_kind(outcome), f"{outcome.cause}; {next_try(wait)}", entity)
    counted = {
        "streak": streak,
        "crashes": crashes,
        "unready": entity.unready + 1 if entity.ready_at is None else 0,
        "restarts": entity.restarts + 1,
        "reason": outcome.cause,
    }
    if wait == 0.0:
        draft.change(entity, Change.RETRY_NOW, **counted)
    else:
        draft.change(entity, Change.RETRY_LATER, deadline=draft.now + wait, **counted)


def _never_began(entity: Entity, event: events.Died) -> bool:
    """Its fork server died before it forked; or, while one supervisor followed another, it saw that it has
    another supervisor than the one that ordered it, and left."""
    if event.code is not None or event.signal is not None:
        return False
    is_trace = event.estate != NOTHING or event.last_words != ""
    return entity.pid is None or (entity.state is State.STARTING and entity.adopted and not is_trace)


def _meaning(draft: Draft, entity: Entity, event: events.Died) -> Verdict:
    own = Verdict.CRASH if event.signal is not None or _broke_off(event) else verdict(event.code)
    late = entity.leaving is Leaving.BOOT_TIMEOUT
    if event.code is None and event.signal is None:
        # Not our child: its black box alone tells. One that took leave of the Cluster left it empty.
        if entity.ready_at is not None or entity.leaving is not None:
            own = Verdict.LEFT if event.estate == NOTHING else Verdict.CRASH
        late = late or entity.ready_at is None
    if late and draft.cluster.is_down and own is not Verdict.PROGRAM:
        return Verdict.CLUSTER
    return own


def _broke_off(event: events.Died) -> bool:
    """The exit status is that of one that drained, and it did not: user code ended the process."""
    return verdict(event.code) is Verdict.LEFT and event.estate != NOTHING


def _cause(entity: Entity, event: events.Died) -> str:
    if event.signal is not None:
        how = f"killed by {event.signal}"
    elif event.code is None:
        how = "exit status not known: not our child"
    elif _broke_off(event):
        how = f"exit status {event.code} without a drain"
    else:
        how = f"exit status {event.code}"
    if entity.leaving in {Leaving.TOO_LARGE, Leaving.NO_SLOT_LEFT}:
        return f"{entity.reason}: {how}"
    if entity.leaving in {Leaving.HUNG, Leaving.STUCK, Leaving.BOOT_TIMEOUT}:
        return f"{entity.leaving.value}: {how}"
    if entity.recycle and entity.leaving is Leaving.ORDERED:
        return f"{entity.recycle}: {how}"
    return f"{event.last_words} ({how})" if event.last_words else how


def _kind(outcome: Exit) -> tuple[EventKind, Level]:
    """Kind and level of the event that tells of a death nobody ordered."""
    if outcome.meaning is Verdict.LEFT:
        return "entity.stopped", Level.WARNING
    return "entity.died", Level.ERROR


def _say_once(draft: Draft, entity: Entity, kind: EventKind, message: str) -> None:
    """One clear line for a pool, not one for each entity and try."""
    known = any(e.reason == message for e in draft.entities.values() if e.pool == entity.pool)
    draft.emit(kind, Level.DEBUG if known else Level.ERROR, message, entity)


def _pool_of_version(draft: Draft, entity: Entity) -> Pool | None:
    """The pool that this life was made for, if it is still as it was."""
    pool = draft.pools.get(entity.pool)
    return pool if pool is not None and pool.version == entity.version else None


def _salt(entity: Entity) -> str:
    return f"{entity.id}.{entity.incarnation}"
