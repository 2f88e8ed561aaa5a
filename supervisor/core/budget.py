"""`[fleet] memory_budget`: all entities together, by PSS. Over it, blocked executions of the fattest are
evicted first, as many as bring it down to 0.9 of the budget; where that is not enough the fattest entity that
grew is recycled, one at a time in the whole fleet; where that brings nothing either, it is said, once."""

from collections.abc import Sequence

from temporal_fleet.supervisor.core import eviction, recycle
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.events import Reading
from temporal_fleet.supervisor.core.fleet import Strain, effective, live
from temporal_fleet.supervisor.core.sizes import mebibytes
from temporal_fleet.supervisor.core.states import State

GROWN = 0.1
"""Part of its baseline by which a life must have grown, or recycling it brings nothing."""


def weigh(draft: Draft, readings: Sequence[Reading]) -> None:
    """Judge the readings of all live entities."""
    if draft.budget is None:
        return
    # Those without PSS count by RSS, which is never less; without any, all RSS together are below the budget.
    known = any(reading.pss is not None for reading in readings)
    total = sum(_weight(reading) for reading in readings) if known else 0
    if total > draft.budget:
        _over(draft, readings, total, draft.budget)
    elif draft.strain is not Strain.WITHIN and total <= eviction.AIM * draft.budget:
        draft.strain = Strain.WITHIN
        draft.emit("memory.budget", Level.INFO, "all entities together are well within memory_budget again")


def _over(draft: Draft, readings: Sequence[Reading], total: int, budget: int) -> None:
    figures = f"PSS {mebibytes(total)} of all entities together is over memory_budget ({mebibytes(budget)})"
    if draft.strain is Strain.WITHIN:
        draft.strain = Strain.OVER
        draft.emit("memory.budget", Level.WARNING, figures)
    fattest = sorted(readings, key=_weight, reverse=True)
    entities = live(draft.entities.values())
    under_way = [e for e in entities if eviction.is_under_way(e, draft.now)]
    needed = total - int(eviction.AIM * budget) - sum(e.relief.bytes for e in under_way)
    for reading in fattest:
        entity = draft.entities[reading.entity]
        if needed <= 0:
            return
        if entity.state is State.READY and eviction.may_begin(entity, reading, draft.now):
            share = min(needed, max(1, int(reading.blocked * eviction.cost(entity, reading))))
            eviction.begin(draft, entity, reading, share, f"{figures}, of which it uses {_own(reading)}")
            under_way.append(entity)
            needed -= share
    if not under_way and not _is_replacing(draft):
        _recycle(draft, fattest, figures)


def _recycle(draft: Draft, fattest: Sequence[Reading], figures: str) -> None:
    grown = [r for r in fattest if r.rss > (1 + GROWN) * (draft.entities[r.entity].baseline or 0)]
    for reading in grown:
        entity = draft.entities[reading.entity]
        if recycle.may_for_memory(draft, entity):
            recycle.for_memory(draft, entity, f"{figures}, of which it uses {_own(reading)}, the most")
            return
    if not grown and draft.strain is Strain.OVER:
        draft.strain = Strain.HELPLESS
        advice = "nothing can be evicted or recycled: allow more, or run fewer entities"
        draft.emit("memory.budget", Level.ERROR, f"{figures}; {advice}")


def _is_replacing(draft: Draft) -> bool:
    """Whether an entity is being replaced anywhere: meanwhile there are more of them than there will be."""
    lives = [entity for entity in live(draft.entities.values()) if entity.state is not State.QUIET]
    wanted = sum(effective(pool, draft.drained).desired for pool in draft.pools.values())
    return len(lives) > wanted or any(entity.recycle for entity in lives)


def _weight(reading: Reading) -> int:
    return reading.rss if reading.pss is None else reading.pss


def _own(reading: Reading) -> str:
    return mebibytes(_weight(reading))
