"""One eviction, from the wish to be rid of so many bytes to the effect it showed: its states, the only table
of transitions between them, and how many executions so many bytes are. Who is to be relieved, and of how
much, is decided in memory and budget.

    none      nothing is done
    asking    the Cluster is asked which of the cached executions are closed: they cost memory and serve
              nobody, so they go first. After ASK_LIMIT it goes on without them
    evicting  the entity has the order. After ANSWER_LIMIT it counts as one that brought nothing
    evicted   given time to show its effect; longer, the more evictions in a row brought next to nothing

An entity on its way out has no eviction.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from math import ceil
from typing import Any

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Evict, FindClosed, Level
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import AGENT, Entity, HelperState, Pressure
from temporal_fleet.supervisor.core.sizes import mebibytes
from temporal_fleet.supervisor.core.transitions import following

AIM = 0.9
"""Part of a limit down to which it is relieved: so that it is not over it again at once."""
ASK_LIMIT = 2.0
"""Seconds for the Cluster to tell which executions are closed."""
ASK_AT_MOST = 500
"""Executions that the Cluster is asked about: each is an RPC."""
ANSWER_LIMIT = 30.0
"""Seconds for an entity to evict. It takes about 2 s for 2,000 executions; more while it computes."""
SETTLE = 5.0
"""Seconds before the effect of an eviction is judged."""
PATIENCE = 60.0
"""Seconds between evictions of one entity that bring nothing, at most."""
_LAPSE = 5.0
"""Seconds in which what an eviction brought is judged, once it is time."""
LEAST_COST = 50 * 1024
"""Bytes that a cached execution costs, whatever it holds."""


class Step(Enum):
    """What may happen to an eviction."""

    ASK = "ask the Cluster"
    ORDER = "order"
    END = "end"
    """The entity answered, or did not in time."""
    REST = "rest"


TRANSITIONS: Mapping[tuple[Pressure, Step], Pressure] = {
    (Pressure.NONE, Step.ASK): Pressure.ASKING,
    (Pressure.NONE, Step.ORDER): Pressure.EVICTING,
    (Pressure.ASKING, Step.ORDER): Pressure.EVICTING,
    (Pressure.EVICTING, Step.END): Pressure.EVICTED,
    (Pressure.EVICTED, Step.ASK): Pressure.ASKING,
    (Pressure.EVICTED, Step.ORDER): Pressure.EVICTING,
    (Pressure.EVICTED, Step.REST): Pressure.NONE,
}


def begin(draft: Draft, entity: Entity, reading: events.Reading, needed: int, why: str) -> None:
    """Relieve an entity of so many bytes, as far as its blocked executions go."""
    count = executions(entity, reading, needed)
    told = f"{why}: evicts {count} of {reading.blocked} blocked executions"
    draft.emit("memory.evict", Level.INFO, told, entity)
    relief = replace(entity.relief, bytes=needed, executions=count)
    if count < reading.blocked and _can_ask(draft):
        _take(draft, entity, Step.ASK, relief=relief)
        draft.act(FindClosed(_life(entity), min(reading.blocked, ASK_AT_MOST)))
    else:
        # Where all go, it makes no difference which are closed.
        _order(draft, draft.set(entity, relief=relief), ())


def closed_found(draft: Draft, event: events.ClosedFound) -> None:
    entity = draft.life(event.entity, event.incarnation)
    if entity is not None and entity.pressure is Pressure.ASKING:
        _order(draft, entity, event.run_ids)


def evicted(draft: Draft, event: events.Evicted) -> None:
    entity = draft.life(event.entity, event.incarnation)
    if entity is None or entity.pressure is not Pressure.EVICTING:
        return
    brought = event.before - event.after
    told = (
        f"evicted {event.evicted} executions: RSS {mebibytes(event.before)} before, "
        f"{mebibytes(event.after)} after; {event.cached} remain cached"
    )
    draft.emit("memory.evicted", Level.INFO, told, entity)
    if event.evicted > 0:
        entity = draft.set(entity, relief=replace(entity.relief, brought=brought / event.evicted))
    # One that brought what executions cost was too small, and the next one is not.
    worth = brought >= max(1, event.evicted) * LEAST_COST and event.cached > 0
    _end(draft, entity, helped=2 * brought >= entity.relief.bytes or worth)


def expire(draft: Draft) -> None:
    """Every eviction whose time is up."""
    for entity in tuple(draft.entities.values()):
        due = deadline(entity)
        if due is None or draft.now < due:
            continue
        if entity.pressure is Pressure.ASKING:
            _order(draft, entity, ())
        elif entity.pressure is Pressure.EVICTING:
            took = draft.now - entity.pressure_since
            told = f"did not say within {took:.0f} s what it evicted"
            draft.emit("memory.evicted", Level.WARNING, told, entity)
            _end(draft, entity, helped=False)
        else:
            _take(draft, entity, Step.REST)


def deadline(entity: Entity) -> float | None:
    """When `expire` has something to do with this entity, if nothing else happens."""
    match entity.pressure:
        case Pressure.NONE:
            return None
        case Pressure.ASKING:
            return entity.pressure_since + ASK_LIMIT
        case Pressure.EVICTING:
            return entity.pressure_since + ANSWER_LIMIT
        case Pressure.EVICTED:
            return entity.pressure_since + _patience(entity) + _LAPSE


def is_under_way(entity: Entity, now: float) -> bool:
    """Whether an eviction has yet to show what it brings."""
    if entity.pressure is Pressure.EVICTED:
        return now < entity.pressure_since + SETTLE
    return entity.pressure is not Pressure.NONE


def may_begin(entity: Entity, reading: events.Reading, now: float) -> bool:
    """Whether there is anything to evict, and the last eviction is no reason to wait."""
    if entity.pressure is Pressure.EVICTED:
        return reading.blocked > 0 and now >= entity.pressure_since + _patience(entity)
    return reading.blocked > 0 and entity.pressure is Pressure.NONE


def rest(draft: Draft, entity: Entity) -> Entity:
    """It is well below its limit: the last eviction is no reason to wait with the next."""
    if entity.pressure is not Pressure.EVICTED:
        return entity
    return _take(draft, entity, Step.REST, relief=replace(entity.relief, futile=0))


def baseline(entity: Entity, reading: events.Reading) -> int:
    """What the entity needs without its cache: the least that it was ever seen to, since a cache that is
    full already when it is first measured tells little."""
    seen = max(0, reading.rss - reading.cached * LEAST_COST)
    return seen if entity.baseline is None else min(seen, entity.baseline)


def cost(entity: Entity, reading: events.Reading) -> float:
    """Bytes that a cached execution of this entity costs, as far as can be told: memory that a program took
    after it was first measured looks like its executions', until some of those were evicted."""
    held = (reading.rss - (entity.baseline or 0)) / max(1, reading.cached)
    seen = entity.relief.brought
    return max(LEAST_COST, held if seen is None else min(held, seen))


def executions(entity: Entity, reading: events.Reading, needed: int) -> int:
    """How many have to go for so many bytes: at least one, at most all that are blocked."""
    return max(1, min(reading.blocked, ceil(needed / cost(entity, reading))))


def _order(draft: Draft, entity: Entity, closed: tuple[str, ...]) -> None:
    _take(draft, entity, Step.ORDER)
    # Those that are closed go all, though fewer would do: they are of no use to anybody.
    draft.act(Evict(_life(entity), max(entity.relief.executions, len(closed)), closed))


def _end(draft: Draft, entity: Entity, helped: bool) -> None:
    futile = 0 if helped else entity.relief.futile + 1
    _take(draft, entity, Step.END, relief=replace(entity.relief, futile=futile))


def _take(draft: Draft, entity: Entity, step: Step, **fields: Any) -> Entity:
    pressure = following(TRANSITIONS, entity.pressure, step)
    return draft.set(entity, pressure=pressure, pressure_since=draft.now, **fields)


def _patience(entity: Entity) -> float:
    return min(PATIENCE, SETTLE * 2.0 ** min(entity.relief.futile, 8))


def _can_ask(draft: Draft) -> bool:
    agent = draft.helpers.get(AGENT)
    return agent is not None and agent.state is HelperState.READY and not draft.cluster.is_down


def _life(entity: Entity) -> Life:
    return Life(entity.id, entity.incarnation)
