"""The books: what the next supervisor must know of a fleet, since its entities outlive this one. Made here
from the fleet, and read by adoption; where they are kept is the shell's business.

Entities stand in them as they are: so what another module makes an entity remember is remembered by the next
supervisor too. What a supervisor learns anew within seconds is no reason to write them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core.differences import live_settings
from temporal_fleet.supervisor.core.estate import Recovery
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Fleet,
    HelperState,
    Phase,
    Pool,
)
from temporal_fleet.supervisor.core.ledger import Ledger
from temporal_fleet.supervisor.core.states import State

OF_THE_MOMENT = frozenset({"heartbeat", "load", "pressure", "pressure_since", "relief", "baseline"})
"""What of an entity is learnt anew."""
_lasting = attrgetter(*(each.name for each in fields(Entity) if each.name not in OF_THE_MOMENT))

_BEFORE = (
    act.Fork
    | act.TellDrain
    | act.TellQuiet
    | act.Accept
    | act.Reject
    | act.Converged
    | act.Failed
    | act.Finish
)


@dataclass(frozen=True, slots=True)
class PoolMark:
    """What tells whether a pool of the file is the one that was in force, and as which version."""

    revision: str
    digest: str
    epoch: int
    turn: int
    desired: int
    settings: Mapping[str, str]
    """Those that no entity is made of."""


@dataclass(frozen=True, slots=True)
class Books:
    incarnations: Mapping[str, int] = field(default_factory=dict)
    """The last one of every entity id that ever was in this run directory."""
    least: int = 0
    """None of an id that is not among them was above this."""
    pools: Mapping[str, PoolMark] = field(default_factory=dict)
    budget: int | None = None
    drained: frozenset[str] = frozenset()
    entities: Mapping[str, Entity] = field(default_factory=dict)
    epoch: int = 0
    generation: int = 0
    generations: int = 0
    changes: Ledger = ()
    recoveries: tuple[Recovery, ...] = ()
    """Those that are due or ordered."""


NO_BOOKS = Books()


def books(fleet: Fleet) -> Books:
    """What is to be remembered of a fleet as it is now. Of one that has stopped, that no incarnation may come
    again: the next one begins with its file."""
    if fleet.phase is Phase.STOPPED:
        return Books(fleet.incarnations, fleet.least_incarnation)
    return Books(
        incarnations=fleet.incarnations,
        least=fleet.least_incarnation,
        pools={name: mark(pool) for name, pool in fleet.pools.items()},
        budget=fleet.budget,
        drained=fleet.drained,
        entities={name: _kept(fleet, entity) for name, entity in fleet.entities.items()},
        epoch=fleet.epoch,
        generation=fleet.generation,
        generations=fleet.generations,
        changes=fleet.changes,
        recoveries=tuple(fleet.recoveries.values()),
    )


def mark(pool: Pool) -> PoolMark:
    return PoolMark(pool.revision, pool.digest, pool.epoch, pool.turn, pool.desired, live_settings(pool))


def say_the_same(one: Books, other: Books) -> bool:
    """Whether the next supervisor would make the same of both."""
    if (
        replace(one, entities={}) != replace(other, entities={})
        or one.entities.keys() != other.entities.keys()
    ):
        return False
    return all(_lasting(entity) == _lasting(other.entities[name]) for name, entity in one.entities.items())


def of_former_boot(books: Books, shift: float) -> Books:
    """Monotonic times from before a reboot: moved by so many seconds they are when things were. What is to be
    done at such a time is not waited for."""
    return replace(
        books,
        entities={name: _moved(entity, shift) for name, entity in books.entities.items()},
        changes=tuple(
            replace(
                order,
                asked_at=order.asked_at + shift,
                ended_at=None if order.ended_at is None else order.ended_at + shift,
            )
            for order in books.changes
        ),
    )


def _moved(entity: Entity, shift: float) -> Entity:
    ended = entity.last_exit
    return replace(
        entity,
        state=State.WAITING if entity.state is State.BACKOFF else entity.state,
        deadline=None,
        since=entity.since + shift,
        forked_at=entity.forked_at + shift,
        crashes=(),
        recycled_at=None,
        last_exit=None if ended is None else replace(ended, at=ended.at + shift),
    )


def must_be_kept_before(batch: tuple[act.Action, ...]) -> bool:
    """Whether the books must be written before these actions are performed: an entity was told what cannot be
    taken back, or somebody what is to be relied on. Else it is enough to write them soon."""
    return any(isinstance(action, _BEFORE) for action in batch)


def _kept(fleet: Fleet, entity: Entity) -> Entity:
    if entity.state is not State.FAILED:
        return entity
    pool = fleet.pools.get(entity.pool)
    server = fleet.helpers.get(pool.fork_server) if pool is not None else None
    if server is None or server.state is not HelperState.REFUSED:
        return entity
    # Its program is imported anew by the next supervisor, which judges then.
    return replace(entity, state=State.WAITING)
