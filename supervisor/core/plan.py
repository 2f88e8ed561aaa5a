"""What runs + what is wanted -> what to do next. `moves` for one pool, at any moment, from any state;
`reload_steps` for the operator, before a reload.

`moves` keeps no memory of a roll under way: it looks at the places as they are. So a roll that was
interrupted, by a death or by the next reload, goes on to the newest wish from wherever it stands.

The wanted places are 1..desired. A surge place has an ordinal above; it comes while places are outdated,
and goes when all that are wanted are new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core.fleet import Entity, Pool, members
from temporal_fleet.supervisor.core.states import State

_ON_ITS_WAY = frozenset({State.WAITING, State.STARTING, State.DRAINING, State.BACKOFF})


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do in one pool now."""

    add: tuple[int, ...] = ()
    """Ordinals of places to make."""
    remove: tuple[str, ...] = ()
    """Places without a process that are not wanted."""
    leave: tuple[str, ...] = ()
    """Entities to drain."""
    start: tuple[str, ...] = ()
    """Waiting places that may get a process, as far as the pool goes."""


def moves(pool: Pool, places: Sequence[Entity]) -> Moves:
    """The next moves in a pool. Its places, by ordinal, in any state."""
    rolling = sum(e.ordinal <= pool.desired and is_outdated(pool, e) for e in places)
    last = pool.desired + min(pool.rollout.max_surge, rolling)
    running = sum(e.is_live for e in places)
    room = max(0, pool.desired + pool.rollout.max_surge - running)
    waiting = [e.id for e in places if e.state is State.WAITING and e.ordinal <= last]
    present = {e.ordinal for e in places}
    return Moves(
        add=tuple(n for n in range(1, last + 1) if n not in present),
        remove=tuple(e.id for e in places if not e.is_live and e.ordinal > last),
        leave=_leave(pool, [e for e in places if e.is_live or e.ordinal <= last], rolling > 0),
        start=tuple(waiting[:room]),
    )


def is_outdated(pool: Pool, entity: Entity) -> bool:
    """Whether it is to be replaced, and nobody told it yet."""
    return entity.is_live and entity.state is not State.DRAINING and why_outdated(pool, entity) != ""


def why_outdated(pool: Pool, entity: Entity) -> str:
    """What another life in its place would be better for; empty: nothing."""
    return "outdated" if entity.version != pool.version else entity.recycle


def _leave(pool: Pool, places: Sequence[Entity], rolling: bool) -> tuple[str, ...]:
    """Who is to drain, without ever taking the pool below what it must keep ready.

    Surplus entities go before the wanted ones, and new surplus stands in until the roll is over.
    """
    outdated = [e for e in places if is_outdated(pool, e)]
    candidates = sorted(outdated, key=lambda e: (e.ordinal <= pool.desired, e.ordinal))
    if not rolling:
        surplus = (e for e in places if e.ordinal > pool.desired and not why_outdated(pool, e))
        staying = [e for e in surplus if e.is_live and e.state is not State.DRAINING]
        candidates += sorted(staying, key=lambda e: -e.ordinal)
    coming = any(e.state in _ON_ITS_WAY for e in places if e.ordinal <= pool.desired)
    settled = not rolling and not coming
    spare = sum(_stands(e) for e in places) - (pool.desired - pool.rollout.max_unavailable)
    leave = []
    for entity in candidates:
        if entity.state is not State.READY:
            leave.append(entity.id)
        elif spare > 0:
            spare -= 1
            leave.append(entity.id)
        elif settled and entity.ordinal > pool.desired:
            leave.append(entity.id)
    return tuple(leave)


def _stands(entity: Entity) -> bool:
    """Whether a roll may go on, as far as this place goes. One that ended in order, and that its restart
    policy leaves at that, holds nothing up; one that crashed does."""
    ended = entity.last_exit
    left = entity.state is State.STOPPED and ended is not None and ended.meaning is Verdict.LEFT
    return left or entity.state is State.READY


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `plan`. `action`: start, stop, replace, change or keep."""

    action: str
    target: str
    reason: str


def reload_steps(
    current: Mapping[str, Pool],
    entities: Mapping[str, Entity],
    wanted: Mapping[str, Pool],
    *,
    budget: tuple[int | None, int | None] = (None, None),
) -> tuple[Step, ...]:
    """What a reload to `wanted` would do to this fleet. `budget`: for its memory, now and then."""
    steps: list[Step] = []
    kept = 0
    for name in sorted({*current, *wanted}):
        places = members(entities, name)
        pool = wanted.get(name)
        if pool is None:
            steps += [Step("stop", e.id, f"pool {name} is not in the config") for e in places]
            continue
        known = {e.ordinal for e in places}
        more = "more entities" if name in current else "new pool"
        steps += [Step("start", f"{name}-{n}", more) for n in range(1, pool.desired + 1) if n not in known]
        # Surplus that stands in for one that is being replaced goes by itself.
        so_far = current[name].desired if name in current else max(known, default=0)
        fewer = [e for e in places if pool.desired < e.ordinal <= so_far]
        steps += [Step("stop", e.id, "fewer entities") for e in fewer]
        staying = sum(e.ordinal <= pool.desired for e in places)
        reason = _why_replace(current.get(name), pool)
        if reason and staying:
            steps.append(Step("replace", name, reason))
        else:
            kept += staying
            if name in current and _live_settings(current[name]) != _live_settings(pool):
                steps.append(Step("change", name, "policies changed: applied without a restart"))
    if budget[0] != budget[1]:
        steps.append(Step("change", "memory_budget", "applied without a restart"))
    if kept:
        steps.append(Step("keep", f"{kept} {'entity' if kept == 1 else 'entities'}", "untouched"))
    return tuple(steps)


def _why_replace(before: Pool | None, after: Pool) -> str:
    if before is None or before.digest == after.digest:
        return ""
    return "program changed" if before.revision != after.revision else "settings changed"


def _live_settings(pool: Pool) -> tuple[object, ...]:
    timing = pool.restart, pool.rollout, pool.hang, pool.boot
    return *timing, pool.memory, pool.recycle, pool.poison_after
