"""The recoveries: which deaths need one, when the cluster agent is told to do it, and when the files of a
life may go. What becomes of each activity is poison's business; how a recovery is done, the agent's."""

from dataclasses import replace

from temporal_fleet.protocol.exits import Verdict, verdict
from temporal_fleet.supervisor.core import events, helpers
from temporal_fleet.supervisor.core.actions import Emit, Forget, Level, Recover
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.estate import (
    NOTHING,
    Estate,
    Life,
    Recovery,
    RecoveryState,
)
from temporal_fleet.supervisor.core.fleet import AGENT, Entity, Exit, HelperState
from temporal_fleet.supervisor.core.kinds import EventKind
from temporal_fleet.supervisor.core.poison import NO_EVIDENCE, Judgement

OVERDUE_AFTER = 60.0
"""Seconds without a word of the agent after which an operator is told, and the agent is killed."""
LAST_WAIT = 10.0
"""Seconds without a recovery done after which a fleet that stops waits for the others no longer."""

UNSEEN = "it died while no supervisor saw it"

_EXITS_OF_ITS_OWN = frozenset({Verdict.CLUSTER, Verdict.HOST, Verdict.PROGRAM})


def begin(draft: Draft, entity: Entity, outcome: Exit, estate: Estate, judgement: Judgement) -> None:
    """A life is over: what it held is to be set free, or there is nothing to recover."""
    life = Life(entity.id, entity.incarnation)
    if _is_needed(entity, outcome, estate):
        _add(draft, life, outcome.signal, outcome.cause, judgement)
    else:
        draft.act(Forget(life))


def found_dead(draft: Draft, event: events.FoundDead, known: Recovery | None = None) -> None:
    """Nobody saw it die, and a whole host may have died with it: that is no evidence against anything.
    `known`: what an earlier supervisor, which did see it, had decided."""
    life = Life(event.entity, event.incarnation)
    draft.incarnations[life.entity] = max(life.incarnation, draft.incarnations.get(life.entity, 0))
    if event.estate == NOTHING:
        draft.act(Forget(life))
        return
    if known is not None:
        _add(draft, life, known.signal, known.cause, Judgement(known.verdicts, known.left_alone))
        _emit(draft, life, "entity.found-dead", Level.INFO, "an earlier supervisor did not see it recovered")
        return
    _add(draft, life, None, UNSEEN)
    _emit(draft, life, "entity.found-dead", Level.WARNING, f"{UNSEEN}: what it held is set free")


def recovered(draft: Draft, event: events.Recovered) -> None:
    """Whichever agent says so: it is done."""
    if draft.recoveries.pop(event.life, None) is None:
        return
    told = (
        f"recovered in {event.seconds:.2f} s: released executions: {event.executions}, "
        f"Workflow Tasks freed: {event.tasks_freed}, queries answered: {event.queries_answered}, "
        f"activities failed: {event.activities_failed}, refused as too late: {event.refused}"
    )
    if event.problem:
        _emit(draft, event.life, "entity.recovered", Level.WARNING, f"{told}; {event.problem}")
    else:
        _emit(draft, event.life, "entity.recovered", Level.INFO, told)
    draft.act(Forget(event.life))
    if draft.recover_by is not None:
        draft.recover_by = draft.now + LAST_WAIT


def delayed(draft: Draft, event: events.RecoveryDelayed) -> None:
    if recovery := draft.recoveries.get(event.life):
        _delay(draft, recovery, event.reason)


def order(draft: Draft) -> None:
    """Tell the agent, as soon as there is one, and tell the next one when it died. Replacements are ordered
    before: a fork takes longer than a recovery, and what is set free needs somebody to take it."""
    agent = draft.helpers.get(AGENT)
    there = agent is not None and agent.state is HelperState.READY
    ready = there and not (draft.embedded and draft.cluster.reachable is None)
    for life, recovery in tuple(draft.recoveries.items()):
        if recovery.state is RecoveryState.ORDERED and not there:
            _pass(draft, recovery, RecoveryState.WAITING)
        elif recovery.state is RecoveryState.WAITING and ready:
            _pass(draft, recovery, RecoveryState.ORDERED)
            known = recovery.left_alone
            draft.act(Recover(life, recovery.signal, recovery.cause, recovery.verdicts, known))


def expire(draft: Draft) -> None:
    for recovery in tuple(draft.recoveries.values()):
        overdue = deadline(recovery)
        if overdue is not None and draft.now >= overdue:
            ordered = recovery.state is RecoveryState.ORDERED
            trouble = "does not answer" if ordered else "is not there"
            _delay(draft, recovery, f"the cluster agent {trouble} for {OVERDUE_AFTER:.0f} s")
            if ordered:
                # Once for each recovery: one that takes so long must not be begun again for ever.
                helpers.kill_silent(draft, AGENT, f"no word of a recovery for {OVERDUE_AFTER:.0f} s")


def deadline(recovery: Recovery) -> float | None:
    """When `expire` has something to do with it, if nothing else happens."""
    return None if recovery.reason else recovery.due


def forgive(draft: Draft, until: float) -> None:
    """The supervisor itself heard nothing for a while: an agent's silence until then counts for nothing."""
    for life, recovery in tuple(draft.recoveries.items()):
        draft.recoveries[life] = replace(recovery, due=max(recovery.due, until))


def are_over(draft: Draft) -> bool:
    """Of a fleet that stops and has no entity left: whether its agent may go. It waits as long as
    recoveries get done, and a little longer."""
    if draft.recoveries and draft.recover_by is None:
        draft.recover_by = draft.now + LAST_WAIT
    if draft.recoveries and draft.recover_by is not None and draft.now < draft.recover_by:
        return False
    if draft.recoveries:
        lives = ", ".join(str(life) for life in draft.recoveries)
        told = f"not recovered within {LAST_WAIT:.0f} s: {lives}; their black boxes stay"
        draft.emit("fleet.unrecovered", Level.WARNING, f"{told}, and the next start recovers them")
        draft.recoveries.clear()
    draft.recover_by = None
    return True


def _is_needed(entity: Entity, outcome: Exit, estate: Estate) -> bool:
    """Whether the Cluster may still count on this life. One that drained took leave of it, and leaves
    nothing."""
    if outcome.signal is None and verdict(outcome.code) in _EXITS_OF_ITS_OWN and entity.ready_at is None:
        # It is connected as soon as it tries to, and left before its Worker ran.
        return bool(estate.activities or estate.runs or estate.cached)
    return estate != NOTHING


def _add(
    draft: Draft, life: Life, signal: str | None, cause: str, judgement: Judgement = NO_EVIDENCE
) -> None:
    draft.recoveries[life] = Recovery(
        life,
        RecoveryState.WAITING,
        draft.now,
        draft.now + OVERDUE_AFTER,
        signal,
        cause,
        judgement.verdicts,
        judgement.known,
    )


def _pass(draft: Draft, recovery: Recovery, state: RecoveryState) -> None:
    draft.recoveries[recovery.life] = replace(recovery, state=state, due=draft.now + OVERDUE_AFTER)


def _delay(draft: Draft, recovery: Recovery, reason: str) -> None:
    """One clear line for an outage, not one for each death in it."""
    known = any(other.reason == reason for other in draft.recoveries.values())
    level = Level.DEBUG if known or recovery.reason else Level.WARNING
    draft.recoveries[recovery.life] = replace(recovery, reason=reason)
    _emit(draft, recovery.life, "entity.recovery-delayed", level, f"its recovery is delayed: {reason}")


def _emit(draft: Draft, life: Life, kind: EventKind, level: Level, message: str) -> None:
    draft.act(Emit(kind, level, message, life.pool, life.entity, life.incarnation))
