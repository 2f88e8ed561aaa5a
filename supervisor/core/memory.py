"""The memory of each entity against the limits of its pool: evict, recycle, kill. How an eviction goes stands
in eviction, how a life is recycled in recycle and moves; what all entities together may use in budget.

A limit is passed when RSS is above it. Each works without the others:

    evict_above    so many blocked executions are evicted as bring it down to 0.9 of the limit
    recycle_above  replaced, start before stop; where an eviction is to be, whether that helps is seen first
    kill_above     killed at once, whatever it does; a crash like any other
"""

from temporal_fleet.supervisor.core import budget, events, eviction, recycle
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import Entity, MemoryLimits, Pressure, Strain
from temporal_fleet.supervisor.core.lives import kill_too_large
from temporal_fleet.supervisor.core.sizes import mebibytes
from temporal_fleet.supervisor.core.states import State


def measured(draft: Draft, event: events.Measured) -> None:
    present = []
    for reading in event.readings:
        entity = draft.life(reading.entity, reading.incarnation)
        if entity is None:
            continue
        entity = draft.set(entity, baseline=eviction.baseline(entity, reading))
        pool = draft.pools.get(entity.pool)
        if pool is not None and _is_over(reading.rss, pool.memory.kill_above):
            kill_too_large(draft, entity, _figures(reading.rss, "kill_above", pool.memory.kill_above))
            continue
        present.append(reading)
        if pool is not None and entity.state is State.READY:
            recycle.by_policy(draft, entity, pool.recycle, reading.tasks)
            _relieve(draft, draft.entities[entity.id], reading, pool.memory)
    budget.weigh(draft, present)


def _relieve(draft: Draft, entity: Entity, reading: events.Reading, limits: MemoryLimits) -> None:
    rss = reading.rss
    well_below = limits.evict_above is not None and rss <= eviction.AIM * limits.evict_above
    if well_below and draft.strain is Strain.WITHIN:
        entity = eviction.rest(draft, entity)
    if eviction.is_under_way(entity, draft.now):
        return
    evict = _is_over(rss, limits.evict_above) and eviction.may_begin(entity, reading, draft.now)
    was_evicted = entity.pressure is Pressure.EVICTED
    recyclable = was_evicted or not evict
    if _is_over(rss, limits.recycle_above) and recyclable and recycle.may_for_memory(draft, entity):
        figures = _figures(rss, "recycle_above", limits.recycle_above)
        recycle.for_memory(draft, entity, f"{figures}, and eviction did not help" if was_evicted else figures)
    elif evict and limits.evict_above is not None:
        needed = rss - int(eviction.AIM * limits.evict_above)
        why = _figures(rss, "evict_above", limits.evict_above)
        eviction.begin(draft, entity, reading, needed, why)


def _is_over(rss: int, limit: int | None) -> bool:
    return limit is not None and rss > limit


def _figures(rss: int, name: str, limit: int | None) -> str:
    return f"RSS {mebibytes(rss)} is over {name} ({mebibytes(limit or 0)})"
