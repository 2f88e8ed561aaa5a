"""Replacing a life by another like it: one that is well, because it grew old, worked much, or grew large, and
one that lives and does no work. When, and that it is marked. How it is replaced, start before stop, stands in
moves: a marked life is outdated."""

from collections.abc import Mapping

from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import Entity, Fault, RecyclePolicy
from temporal_fleet.supervisor.core.kinds import EventKind
from temporal_fleet.supervisor.core.moves import is_outdated
from temporal_fleet.supervisor.core.restart import fraction
from temporal_fleet.supervisor.core.states import State

_FAULTS: Mapping[Fault, EventKind] = {Fault.NOT_POLLING: "entity.not-polling", Fault.STUCK: "entity.stuck"}
"""The event that tells of it."""
JITTER = 0.1
"""Part of a limit by which it is more or less for each life: what began together does not end together."""
PAUSE = 60.0
"""Seconds between two lives of one place that are recycled for their memory: where a new life is as large as
the old one, recycling it over and over helps nobody."""


def by_policy(draft: Draft, entity: Entity, policy: RecyclePolicy, tasks: int) -> None:
    reason = due(policy, draft.now - entity.forked_at, tasks, f"{entity.id}.{entity.incarnation}")
    if reason and _may(draft, entity):
        draft.emit("entity.recycle", Level.INFO, f"is recycled: {reason}", entity)
        draft.set(entity, recycle=reason)


def due(policy: RecyclePolicy, age: float, tasks: int, salt: str) -> str:
    """Why a life of such an age, after so many tasks, is to be replaced; empty: it is not."""
    factor = 1 - JITTER + 2 * JITTER * fraction(salt)
    if policy.max_tasks is not None and tasks >= policy.max_tasks * factor:
        return f"{tasks} tasks taken (max_tasks = {policy.max_tasks})"
    if policy.max_age is not None and age >= policy.max_age * factor:
        return f"{age:.0f} s old (max_age = {policy.max_age:.0f} s)"
    return ""


def may_for_memory(draft: Draft, entity: Entity) -> bool:
    """Whether it can be recycled, and a recycled life in its place is no reason to wait."""
    rested = entity.recycled_at is None or draft.now - entity.recycled_at >= PAUSE
    return rested and _may(draft, entity)


def for_memory(draft: Draft, entity: Entity, figures: str) -> None:
    draft.emit("memory.recycle", Level.WARNING, f"is recycled: {figures}", entity)
    draft.set(entity, recycle=f"memory: {figures}", recycled_at=draft.now)


def for_fault(draft: Draft, entity: Entity, fault: Fault, figures: str) -> bool:
    """Whether it is recycled now; else it was marked before, or cannot be."""
    if not _may(draft, entity):
        return False
    told = f"{fault.value}: {figures}"
    draft.emit(_FAULTS[fault], Level.ERROR, f"{told}: is replaced", entity)
    draft.set(entity, recycle=told, fault=fault)
    return True


def _may(draft: Draft, entity: Entity) -> bool:
    pool = draft.pools.get(entity.pool)
    return pool is not None and entity.state is State.READY and not is_outdated(pool, entity)
