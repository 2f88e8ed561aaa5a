"""Who kills entities: what was in hand at deaths that nobody ordered is counted, and what is singled out is
condemned. Judges only; who dies of what is in deaths, what the agent is told in recoveries.

The evidence is who was there. One that was at `poison_after` deaths, and is alone at the last, did it. So did
one that was at as many where nothing else stands out: no other that was there is known for a second death. As
long as several are, they are retried apart, so that the next death tells more. With a culprit found, the
deaths it explains speak against nobody else.

Workflow Runs count like activities, so that none is condemned for what a run did; but a run cannot be failed
from here, and is only reported.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core.actions import Level, SaveSuspects
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.estate import (
    ActivityKey,
    ActivityVerdict,
    Estate,
    Life,
    Suspect,
    SuspectKey,
)
from temporal_fleet.supervisor.core.fleet import Entity, Exit, Leaving, Phase

KEPT = 1000
"""Suspects that are remembered: those that were in hand last."""
LIVES_KEPT = 32
WINDOW = 24 * 3600.0
"""Seconds after its last death in which one is a suspect: a long activity outlives many that have nothing to
do with each other."""
SOON = 600.0
"""Seconds from its start in which an activity that is not alone has killed, if it has: whatever runs for many
hours is at the deaths of a day, whoever is to blame for them."""
CACHED_AT_MOST = 100
"""Executions of an entity that grew too large, for its activity to be to blame."""
STEP = 1.0
"""Seconds between the retries of suspects at their second death together; doubled at each further one."""
LATEST = 60.0
"""Seconds after which the last of them is retried."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdicts: tuple[ActivityVerdict, ...] = ()
    known: tuple[str, ...] = ()
    """Ids of the runs in hand that are known for such deaths. Those say nothing about the pool then; and what
    kills each that takes it is not to be handed to the next at once."""


NO_EVIDENCE = Judgement()


def remember(draft: Draft, suspects: Iterable[Suspect]) -> None:
    """What an earlier supervisor knew."""
    draft.suspects = {suspect.key: suspect for suspect in suspects}


def judge(draft: Draft, entity: Entity, outcome: Exit, estate: Estate, wall: float) -> Judgement:
    """Count a death against what was in hand, and say what becomes of it. `wall`: seconds since the epoch."""
    pool = draft.pools.get(entity.pool)
    if pool is None or pool.poison_after < 1 or not _is_evidence(draft, entity, outcome, estate):
        return NO_EVIDENCE
    life = str(Life(entity.id, entity.incarnation))
    held = tuple(dict.fromkeys(activity.key for activity in estate.activities))
    types: dict[SuspectKey, str] = {a.key: a.type for a in estate.activities}
    types.update((run.key, run.type) for run in estate.runs)
    if not types:
        return NO_EVIDENCE
    _acquit_the_old(draft, wall)
    for key, type_name in types.items():
        _count(draft, key, type_name, life, wall)
    # A Nexus task has no name that it keeps when it is tried again: it is no suspect, and may be to blame.
    soon = {activity.key for activity in estate.activities if wall - activity.since <= SOON}
    culprit = None if estate.nexus_tasks else _singled_out(draft, held, types, soon, pool.poison_after)
    evidence = ""
    if culprit is not None:
        evidence = _condemn(draft, entity, culprit, outcome.cause)
    known = []
    for run in estate.runs:
        suspect = draft.suspects.get(run.key)
        # Not where the culprit explains this death.
        speaks = suspect is not None and life in suspect.lives
        if suspect is not None and speaks and suspect.deaths >= pool.poison_after:
            known.append(run.key.run_id)
            _report(draft, entity, suspect, outcome.cause)
    delays = _delays(draft, held, types)
    for oldest in tuple(draft.suspects)[:-KEPT]:
        del draft.suspects[oldest]
    draft.act(SaveSuspects(tuple(draft.suspects.values())))
    verdicts = tuple(
        ActivityVerdict(activity.task_token, poison=evidence)
        if culprit is not None and activity.key == culprit.key
        else ActivityVerdict(activity.task_token, retry_after=delays[activity.key])
        for activity in estate.activities
        if activity.key in delays or (culprit is not None and activity.key == culprit.key)
    )
    return Judgement(verdicts, tuple(known))


def _is_evidence(draft: Draft, entity: Entity, outcome: Exit, estate: Estate) -> bool:
    """Whether this death speaks against what was in hand. One that was ordered does not."""
    if draft.phase is not Phase.RUNNING or outcome.meaning is not Verdict.CRASH:
        return False
    match entity.leaving:
        case None:
            return True
        case Leaving.ITSELF:
            # SIGKILL came from us then, for its drain took too long; or, of no child of ours, may have.
            return outcome.signal != "SIGKILL" and (outcome.signal, outcome.code) != (None, None)
        # The process as a whole was at fault: of several activities each may be innocent.
        case Leaving.HUNG:
            return _is_alone(estate)
        case Leaving.TOO_LARGE:
            # Its cache may be all that was too large.
            return _is_alone(estate) and estate.cached <= CACHED_AT_MOST
        case _:
            return False


def _is_alone(estate: Estate) -> bool:
    """Whether no more than one activity was in hand, and no Nexus task."""
    return not estate.nexus_tasks and len({activity.key for activity in estate.activities}) <= 1


def is_acquitted(suspect: Suspect, wall: float) -> bool:
    """Whether it is none any more."""
    # A clock that was set back says as little of a death as one of long ago.
    return abs(wall - suspect.last) >= WINDOW


def _acquit_the_old(draft: Draft, wall: float) -> None:
    draft.suspects = {key: s for key, s in draft.suspects.items() if not is_acquitted(s, wall)}


def _count(draft: Draft, key: SuspectKey, type_name: str, life: str, wall: float) -> None:
    before = draft.suspects.pop(key, None) or Suspect(key, type_name, 0)
    lives = (*before.lives, life)[-LIVES_KEPT:]
    draft.suspects[key] = replace(before, deaths=before.deaths + 1, lives=lives, last=wall)


def _singled_out(
    draft: Draft,
    held: Iterable[ActivityKey],
    types: Iterable[SuspectKey],
    soon: Container[ActivityKey],
    limit: int,
) -> Suspect | None:
    """The activity that was at so many deaths, and is alone now; or that was at so many without any other
    that is known for more than one, at more than whatever else is in hand, and at this one soon after it
    began."""
    suspect = max((draft.suspects[key] for key in held), key=lambda s: s.deaths, default=None)
    if suspect is None or suspect.deaths < limit:
        return None
    others = [draft.suspects[key] for key in types if key != suspect.key]
    if not others:
        return suspect
    if suspect.key not in soon or any(other.deaths >= suspect.deaths for other in others):
        return None
    rivals = (other for other in draft.suspects.values() if other.key != suspect.key and other.deaths > 1)
    shared = {life for rival in rivals for life in rival.lives}
    return suspect if sum(life not in shared for life in suspect.lives) >= min(limit, LIVES_KEPT) else None


def _condemn(draft: Draft, entity: Entity, culprit: Suspect, cause: str) -> str:
    """It is failed for good, and no longer a suspect; the deaths that it explains are nobody else's."""
    evidence = (
        f"{culprit.deaths} entities died while it was in their hands "
        f"({', '.join(culprit.lives)}); the last: {cause}"
    )
    draft.emit("activity.poisoned", Level.ERROR, f"{_named(culprit)} is failed for good: {evidence}", entity)
    del draft.suspects[culprit.key]
    for other in tuple(draft.suspects.values()):
        lives = tuple(life for life in other.lives if life not in culprit.lives)
        deaths = other.deaths - (len(other.lives) - len(lives))
        if deaths < 1:
            del draft.suspects[other.key]
        elif deaths < other.deaths:
            draft.suspects[other.key] = replace(other, deaths=deaths, lives=lives)
    return evidence


def _report(draft: Draft, entity: Entity, suspect: Suspect, cause: str) -> None:
    told = (
        f"{_named(suspect)} was active at {suspect.deaths} deaths, the last: {cause}; it may only have been "
        "there, but if its code ends the process: mend it, or terminate this run"
    )
    draft.emit("workflow.suspect", Level.ERROR, told, entity)


def _delays(
    draft: Draft, held: Iterable[ActivityKey], types: Iterable[SuspectKey]
) -> dict[ActivityKey, float]:
    """Who is retried later than at once, and by how much: the likeliest first, so that it is alone when it
    kills again. A run cannot be told to wait: it comes before all of them."""
    known = {key: s for key in types if (s := draft.suspects.get(key)) is not None and s.deaths > 1}
    apart = sorted((key for key in held if key in known), key=lambda key: -known[key].deaths)
    first = 1 if len(apart) < len(known) else 0
    last = first + len(apart) - 1
    if last < 1:
        return {}
    worst = max(suspect.deaths for suspect in known.values())
    step = min(STEP * 2.0 ** min(worst - 2, 16), LATEST / last)
    return {key: place * step for place, key in enumerate(apart, first) if place > 0}


def _named(suspect: Suspect) -> str:
    key = suspect.key
    if not isinstance(key, ActivityKey):
        return f"workflow {key.workflow_id} ({suspect.type}, run {key.run_id})"
    owner = f" of workflow {key.workflow_id}" if key.workflow_id else ""
    return f"activity {key.activity_id} ({suspect.type}, run {key.run_id}){owner}"
