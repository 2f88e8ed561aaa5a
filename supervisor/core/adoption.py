"""How a supervisor takes over what an earlier one left: entities that work on, places with their counters,
the ledger of changes, the dead that nobody recovered. It does so in one decision, its first; where there was
no earlier one it begins with its file alone.

The file as it is now is what the fleet comes to, by the ordinary moves: whoever is outdated is replaced,
whoever is too much retires. What was under way when the earlier supervisor ended is told as not carried
through.
"""

from collections.abc import Mapping
from dataclasses import replace

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core import events, lives, recoveries, roll
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.books import Books, mark
from temporal_fleet.supervisor.core.deaths import begin_anew
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Exit,
    HelperKey,
    HelperKind,
    HelperState,
    Leaving,
    Load,
    Pool,
    Pressure,
    Relief,
    Standing,
)
from temporal_fleet.supervisor.core.ledger import Ledger, Order, OrderState, passed
from temporal_fleet.supervisor.core.states import State

GRACE = 5.0
"""Seconds that an adopted entity gets, beyond what any has, to find its new supervisor; and that one which
drains, or is about to be killed, gets at least."""
_ENDED = "the supervisor ended meanwhile"


def take_over(draft: Draft, event: events.Started) -> None:
    """The first config is in force whatever its programs do: each pool tells how it fares."""
    books = event.books
    draft.incarnations, draft.least_incarnation = dict(books.incarnations), books.least
    draft.drained, draft.epoch = books.drained, books.epoch
    draft.entities = dict(books.entities)
    draft.http = event.http
    draft.changes = _interrupted(draft, books.changes)
    pools = _as_before(books, event.pools)
    same = {name: mark(pool) for name, pool in pools.items()} == books.pools and event.budget == books.budget
    draft.generation = books.generation if same and books.generation else books.generations + 1
    draft.generations = max(books.generations, draft.generation)
    draft.pools = pools
    estates = {Life(dead.entity, dead.incarnation): dead.estate for dead in event.dead}
    found = {Life(each.entity, each.incarnation): each for each in event.found}
    for place in books.entities.values():
        life = Life(place.id, place.incarnation)
        if place.is_live and life in found:
            _adopt(draft, place, found.pop(life).pid, place.fork_server if event.in_place else None)
        elif place.is_live:
            _miss(draft, place, estates.get(life))
    for life, each in found.items():
        _adopt(draft, _unknown(draft, life, each.gpus), each.pid, None)
    roll.put_in_force(draft, pools, event.budget)
    known = {recovery.life: recovery for recovery in books.recoveries}
    for dead in event.dead:
        recoveries.found_dead(draft, dead, known.get(Life(dead.entity, dead.incarnation)))


def compare_code(draft: Draft, event: events.HelperReady) -> None:
    """A fork server has imported its program: those that were adopted may have been forked from code that was
    another. They are replaced then, as by a reload; from now on they count as forked by this one."""
    server = draft.helpers.get(event.key)
    is_it = server is not None and server.life == event.life and server.state is HelperState.READY
    if server is None or not is_it or event.key.kind is not HelperKind.FORK_SERVER:
        return
    for pool in tuple(draft.pools.values()):
        if pool.fork_server == event.key and _is_other_code(draft, pool, event.key, server.code):
            draft.epoch += 1
            _turn(draft, pool, draft.epoch)
            # Those that gave up begin anew, as with any other version.
            roll.put_in_force(draft, draft.pools, draft.budget)
            told = f"{pool.name}: the code changed while no supervisor was there: its entities are replaced"
            draft.emit("fleet.code-changed", Level.INFO, told)


def _is_other_code(draft: Draft, pool: Pool, server: HelperKey, code: str) -> bool:
    """Of any that was adopted and not compared yet."""
    adopted = [e for e in draft.members(pool.name) if e.is_live and e.adopted and e.fork_server is None]
    for entity in adopted:
        draft.set(entity, fork_server=server)
    return any(
        e.version == pool.version
        and e.standing is not Standing.RETIRED
        and "" not in {e.code, code}
        # Whoever leaves already is followed by one of the new code.
        and e.state is not State.DRAINING
        and e.code != code
        for e in adopted
    )


def _turn(draft: Draft, pool: Pool, turn: int) -> None:
    """Also where it may be gone back to, or on to."""

    def turned(pools: Mapping[str, Pool]) -> dict[str, Pool]:
        return {n: replace(p, turn=turn) if p.version == pool.version else p for n, p in pools.items()}

    version = pool.version
    draft.pools = {
        name: replace(each, turn=turn) if name == pool.name and each.version == version else each
        for name, each in draft.pools.items()
    }
    if draft.roll is not None:
        fallback = draft.roll.fallback
        draft.roll = replace(draft.roll, fallback=replace(fallback, pools=turned(fallback.pools)))
    if draft.pending is not None:
        draft.pending = replace(draft.pending, pools=turned(draft.pending.pools))


def _as_before(books: Books, wanted: Mapping[str, Pool]) -> dict[str, Pool]:
    """With the epochs and turns that they had, so that nobody is replaced for a file that did not change."""
    epochs: dict[str, int] = {}
    for before in books.pools.values():
        epochs[before.revision] = max(before.epoch, epochs.get(before.revision, 0))
    pools = {}
    for name, pool in wanted.items():
        known = books.pools.get(name)
        if known is not None and known.revision == pool.revision:
            pools[name] = replace(pool, epoch=known.epoch, turn=known.turn)
        else:
            epoch = epochs.get(pool.revision, 0)
            pools[name] = replace(pool, epoch=epoch, turn=epoch)
    return pools


def _interrupted(draft: Draft, ledger: Ledger) -> Ledger:
    """Nobody waits for the outcome of an order to a dead supervisor, but it can be asked for."""
    for order in ledger:
        if order.is_open:
            state, message = _outcome(order)
            ledger = passed(ledger, order.id, state, message, draft.now)
            told = f"change {order.id} ({order.command}) was not carried through: {message}"
            draft.emit("fleet.change-interrupted", Level.WARNING, told)
    return ledger


def _outcome(order: Order) -> tuple[OrderState, str]:
    if order.state is OrderState.IMPORTING:
        return OrderState.REJECTED, f"{_ENDED}: nothing was changed by it"
    return OrderState.FAILED, f"{_ENDED}; the fleet goes on to what its file says now"


def _adopt(draft: Draft, place: Entity, pid: int, fork_server: HelperKey | None) -> None:
    """What it is and how it fared stays; who is to be heard of, or to go, gets time anew."""
    pool = draft.pools.get(place.pool)
    deadline = place.deadline
    if place.state is State.STARTING:
        deadline = draft.now + (pool.boot if pool is not None else lives.FOREIGN_BOOT)
    elif place.state is State.DRAINING:
        deadline = max(place.deadline or 0.0, draft.now + GRACE)
    adopted = draft.set(
        place,
        pid=pid,
        adopted=True,
        fork_server=fork_server,
        deadline=deadline,
        heartbeat=draft.now + GRACE,
        load=Load(),
        pressure=Pressure.NONE,
        relief=Relief(),
        baseline=None,
    )
    draft.incarnations[place.id] = max(place.incarnation, draft.incarnations.get(place.id, 0))
    told = f"PID {pid} runs since an earlier supervisor, and goes on as it is: {place.state.value}"
    draft.emit("entity.adopted", Level.INFO, told, adopted)


def _unknown(draft: Draft, life: Life, gpus: tuple[int, ...]) -> Entity:
    """One that is in no books: it is taken for one that works, until it says otherwise, and for outdated,
    since nobody knows what it was made from."""
    return Entity(
        id=life.entity,
        pool=life.pool,
        ordinal=life.ordinal,
        state=State.READY,
        since=draft.now,
        incarnation=life.incarnation,
        gpus=gpus,
        forked_at=draft.now,
        ready_at=draft.now,
    )


def _miss(draft: Draft, place: Entity, estate: Estate | None) -> None:
    """It lived when the books were written, and lives no more. Without a black box it may never have."""
    if estate is not None:
        left = estate == NOTHING
        cause = recoveries.UNSEEN if not left else "it ended while no supervisor saw it, and left nothing"
        meaning = Verdict.LEFT if left else Verdict.CRASH
        asked_to = place.leaving is Leaving.ORDERED
        place = draft.set(
            place,
            last_exit=Exit(draft.now, None, None, cause, meaning),
            restarts=place.restarts + (0 if asked_to else 1),
        )
    if place.standing is Standing.RETIRED:
        # At once, so that its name is free for one that comes.
        del draft.entities[place.id]
    else:
        begin_anew(draft, place)
