"""What one pool needs next, from its places as they are, at any moment and in any state. What an operator is
told of a change before it is made stands in plan.

`moves` keeps no memory of a roll under way: it looks at the places as they are. So a roll that was
interrupted, by a death or by the next reload, goes on to the newest wish from wherever it stands.

The wanted places are 1..desired. A surge place has an ordinal above; it comes while places are outdated,
and goes when all that are wanted are new.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core.fleet import Entity, Pool
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
