"""What one pool needs next, from its places as they are, at any moment and in any state. What an operator is
told of a change before it is made stands in plan.

`moves` keeps no memory of a roll under way: it looks at the places as they are. So a roll that was
interrupted, by a death or by the next reload, goes on to the newest wish from wherever it stands.

The wanted places are those of the pool's places that are worth most, as many as it is to have; which ordinals
they have does not matter. While wanted ones are outdated there are stand-ins too; when all that are wanted
are new, the stand-ins go, so that a roll ends with the places that it began with. A retired place is none of
the pool's any more: it is left alone until it is empty.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core.fleet import Entity, Pool, Standing
from temporal_fleet.supervisor.core.states import State

_ON_ITS_WAY = frozenset({State.WAITING, State.STARTING, State.DRAINING, State.BACKOFF})
_AT_REST = frozenset({State.READY, State.STOPPED, State.FAILED})
_WORTH = {
    State.READY: 0,
    State.STARTING: 1,
    State.WAITING: 2,
    State.BACKOFF: 3,
    State.DRAINING: 4,
    State.STOPPED: 5,
    State.FAILED: 6,
}
"""Whom a pool keeps, the first to the last, when it is to have fewer places. One that drains and is no
retired one has a life to come; one that gave up has none."""


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do in one pool now."""

    add: tuple[int, ...] = ()
    """Ordinals of places to make."""
    stand_in: tuple[int, ...] = ()
    """Ordinals of places to make for the time of a roll."""
    promote: tuple[str, ...] = ()
    """Stand-ins that are wanted for good."""
    remove: tuple[str, ...] = ()
    """Places without a process that are not wanted."""
    replace: tuple[str, ...] = ()
    """Entities to drain, each to be followed by another."""
    retire: tuple[str, ...] = ()
    """Entities to drain for good."""
    start: tuple[str, ...] = ()
    """Waiting places that may get a process, as far as the pool goes."""


@dataclass(frozen=True, slots=True)
class _Places:
    """The places of a pool that are not retired, the most worth first."""

    wanted: Sequence[Entity]
    surplus: Sequence[Entity]
    """Stand-ins are the last of them."""
    outdated: int
    """Of the wanted ones."""

    def stand_ins(self, pool: Pool) -> Sequence[Entity]:
        """Those of the surplus that are of use for now."""
        made = [e for e in self.surplus if e.standing is Standing.STAND_IN]
        return made[: min(pool.rollout.max_surge, self.outdated)]


def moves(pool: Pool, places: Sequence[Entity]) -> Moves:
    """The next moves in a pool. Its places, by ordinal, in any state."""
    sorted_out = _sort_out(pool, places)
    wanted, surplus = sorted_out.wanted, sorted_out.surplus
    stand_ins = sorted_out.stand_ins(pool)
    kept = {e.id for e in (*wanted, *stand_ins)}
    # What is live and too much stands in as well as one that was made for it.
    standing_in = sum(e.is_live or e.id in kept for e in surplus)
    lacking = min(pool.rollout.max_surge, sorted_out.outdated) - standing_in
    present = {e.ordinal for e in places}
    add = tuple(islice(_free(present, 1), pool.desired - len(wanted)))
    above = max((e.ordinal for e in wanted), default=0) + 1
    stand_in = tuple(islice(_free({*present, *add}, above), max(0, lacking)))
    running = sum(e.is_live and e.state is not State.QUIET for e in places)
    room = max(0, pool.desired + pool.rollout.max_surge - running)
    waiting = [e.id for e in (*sorted(wanted, key=_ordinal), *stand_ins) if e.state is State.WAITING]
    replace, retire = _leave(pool, sorted_out)
    return Moves(
        add=add,
        stand_in=stand_in,
        promote=tuple(e.id for e in wanted if e.standing is Standing.STAND_IN),
        remove=tuple(e.id for e in places if not e.is_live and e.id not in kept),
        replace=replace,
        retire=retire,
        start=tuple(waiting[:room]),
    )


def divide(pool: Pool, places: Sequence[Entity]) -> tuple[Sequence[Entity], Sequence[Entity]]:
    """Those that a pool of this size keeps, and those that it has too many: whoever leaves, or is there for
    the time of a roll, is neither."""
    sorted_out = _sort_out(pool, places)
    surplus = [e for e in sorted_out.surplus if e.standing is not Standing.STAND_IN]
    return sorted_out.wanted, sorted(surplus, key=_ordinal)


def is_settled(pool: Pool, places: Sequence[Entity]) -> bool:
    """Whether the pool has what it is to have and nothing is under way: every wanted place is there, current,
    and at rest (ready, or ended for good, or given up), nobody drains, and nothing is too much. What is
    recycled meanwhile does not count, nor do quiet ones."""
    sorted_out = _sort_out(pool, places)
    present = [e for e in places if e.standing is not Standing.RETIRED or e.state is State.DRAINING]
    gave_up = any(e.state is State.FAILED for e in present)
    if gave_up and all(e.state in _AT_REST for e in present) and moves(pool, places) == Moves():
        # Who is outdated stays, since too few would be left without it.
        return True
    stand_ins = {e.id for e in sorted_out.stand_ins(pool)}
    return (
        len(sorted_out.wanted) == pool.desired
        and all(e.state is not State.DRAINING for e in places)
        and all(e.state in _AT_REST and _is_current(pool, e) for e in sorted_out.wanted)
        and all(e.id in stand_ins and _is_current(pool, e) for e in sorted_out.surplus)
    )


def is_stuck(pool: Pool, places: Sequence[Entity]) -> bool:
    """Whether the pool has not come to what it is to have, and nothing is under way that could bring it."""
    under_way = any(e.state in _ON_ITS_WAY for e in places)
    return not under_way and not is_settled(pool, places) and moves(pool, places) == Moves()


def is_outdated(pool: Pool, entity: Entity) -> bool:
    """Whether it is to be replaced, and nobody told it yet."""
    leaves = entity.state is State.DRAINING or entity.standing is Standing.RETIRED
    return entity.is_live and not leaves and why_outdated(pool, entity) != ""


def why_outdated(pool: Pool, entity: Entity) -> str:
    """What another life in its place would be better for; empty: nothing."""
    return "outdated" if entity.version != pool.version else entity.recycle


def _sort_out(pool: Pool, places: Sequence[Entity]) -> _Places:
    """Whoever leaves the wanted ones for the surplus costs least: it holds nothing, or is outdated, or has
    the fewest activities in hand, then the fewest executions in its cache; else the highest ordinal goes."""
    present = [e for e in places if e.standing is not Standing.RETIRED]

    def worth(entity: Entity) -> tuple[object, ...]:
        load = entity.load
        held = (is_outdated(pool, entity), -load.activities, -load.cached, entity.ordinal)
        return (entity.standing is Standing.STAND_IN, _WORTH[entity.state], *held)

    ordered = sorted(present, key=worth)
    wanted = ordered[: pool.desired]
    return _Places(wanted, ordered[pool.desired :], sum(is_outdated(pool, e) for e in wanted))


def _leave(pool: Pool, places: _Places) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who is to be replaced, and who to retire, without ever taking the pool below what it must keep ready.

    Surplus entities go before the wanted ones, and new surplus stands in until the roll is over.
    """
    rolling = places.outdated > 0
    live = [e for e in reversed(places.surplus) if e.is_live and e.state is not State.DRAINING]
    unwanted = [e for e in live if is_outdated(pool, e)]
    if not rolling:
        unwanted += [e for e in live if not is_outdated(pool, e)]
    outdated = sorted((e for e in places.wanted if is_outdated(pool, e)), key=_ordinal)
    settled = not rolling and not any(e.state in _ON_ITS_WAY for e in places.wanted)
    there = (*places.wanted, *(e for e in places.surplus if e.is_live))
    spare = sum(_stands(e) for e in there) - (pool.desired - pool.rollout.max_unavailable)
    may_go = set()
    for entity in (*unwanted, *outdated):
        if entity.state is not State.READY:
            may_go.add(entity.id)
        elif spare > 0 or settled:
            spare -= 1
            may_go.add(entity.id)
    return (
        tuple(e.id for e in outdated if e.id in may_go),
        tuple(e.id for e in unwanted if e.id in may_go),
    )


def _stands(entity: Entity) -> bool:
    """Whether a roll may go on, as far as this place goes. One that ended in order, and that its restart
    policy leaves at that, holds nothing up; one that crashed does."""
    ended = entity.last_exit
    left = entity.state is State.STOPPED and ended is not None and ended.meaning is Verdict.LEFT
    return left or entity.state is State.READY


def _is_current(pool: Pool, entity: Entity) -> bool:
    return not entity.is_live or entity.version == pool.version


def _free(taken: Container[int], first: int) -> Iterator[int]:
    return (ordinal for ordinal in count(first) if ordinal not in taken)


def _ordinal(entity: Entity) -> int:
    return entity.ordinal
