"""The change that is rolling: whether the fleet has come to what it asks for, or cannot, and is taken back.

What a pool does on its way stands in moves, which keeps no memory; here is remembered what to go back to. A
change is judged by the new places of the pools that it touches alone: what did not work before it, and what
fails beside it, speaks neither for nor against it.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core.actions import Converged, Failed, Level
from temporal_fleet.supervisor.core.deaths import begin_anew
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Fallback,
    Fleet,
    Helper,
    HelperState,
    Pool,
    Roll,
    Standing,
    Strain,
    effective,
)
from temporal_fleet.supervisor.core.ledger import OrderState, failed_for, find, passed, superseded_by
from temporal_fleet.supervisor.core.moves import is_settled, is_stuck, moves
from temporal_fleet.supervisor.core.restart import Policy
from temporal_fleet.supervisor.core.states import State

TRIES = 3
"""Lives in a row that end before they are ready, or deaths of a fork server in import, after which a new
version is not worth waiting for."""


def begin(
    draft: Draft,
    change: int,
    request: str,
    *,
    touched: frozenset[str] = frozenset(),
    renewed: frozenset[str] = frozenset(),
) -> None:
    """A change comes into force now; called before anything changes. It overtakes the one that is rolling,
    whose fallback stays: nobody knows yet whether that one would have worked."""
    older = draft.roll
    if older is None:
        fallback = Fallback(
            draft.pools.copy(), draft.budget, draft.generation, draft.drained, frozenset(draft.entities)
        )
        draft.roll = Roll(change, request, fallback, touched, renewed)
        return
    newer = find(draft.changes, change)
    _fail(draft, older, OrderState.SUPERSEDED, superseded_by(newer))
    draft.roll = Roll(
        change,
        request,
        older.fallback,
        _touched(draft, older) | touched,
        older.renewed | renewed,
        away_since=older.away_since,
    )


def keep_drained(draft: Draft, pool: str) -> None:
    """A pool that an operator drained stays drained, whatever is taken back."""
    if draft.roll is not None:
        fallback = draft.roll.fallback
        kept = fallback.kept_drained | ({pool} - fallback.drained)
        changed = replace(fallback, drained=fallback.drained | {pool}, kept_drained=kept)
        draft.roll = replace(draft.roll, fallback=changed)


def keep_resumed(draft: Draft, pool: str) -> None:
    """Nor is one drained again that was drained and resumed since."""
    if draft.roll is not None and pool in draft.roll.fallback.kept_drained:
        fallback = draft.roll.fallback
        changed = replace(
            fallback, drained=fallback.drained - {pool}, kept_drained=fallback.kept_drained - {pool}
        )
        draft.roll = replace(draft.roll, fallback=changed)


def put_in_force(draft: Draft, pools: Mapping[str, Pool], budget: int | None) -> None:
    draft.pools = dict(pools)
    if budget != draft.budget:
        draft.budget, draft.strain = budget, Strain.WITHIN
    for entity in tuple(draft.entities.values()):
        pool = draft.pools.get(entity.pool)
        if pool is None or entity.is_live:
            continue
        revived = entity.state is State.STOPPED and pool.restart.policy is Policy.ALWAYS
        if revived or entity.version != pool.version:
            begin_anew(draft, entity)


def judge(draft: Draft) -> bool:
    """Before anybody is started or told to leave: whether the change failed. Then the pools are those from
    before it."""
    if draft.roll is None:
        return False
    touched = _touched(draft, draft.roll)
    roll = draft.roll = _keep_time(draft, draft.roll, touched)
    failure = _failure(draft, roll, touched)
    if failure:
        _take_back(draft, roll, failure)
    return failure != ""


def conclude(draft: Draft) -> bool:
    """After that: whether all is as the change asks."""
    if draft.roll is None:
        return False
    touched = _touched(draft, draft.roll)
    roll = draft.roll = _keep_time(draft, draft.roll, touched)
    if not all(_is_there(draft, roll, name) for name in touched):
        return False
    # A place may have been given up since it was judged.
    is_done = not _failure(draft, roll, touched)
    if is_done:
        _converge(draft, roll)
    return is_done


def abandon(draft: Draft, why: str) -> None:
    """It ends here, wherever it stands."""
    if draft.roll is not None:
        _fail(draft, draft.roll, OrderState.FAILED, (why,))
        draft.roll = None


def deadline(fleet: Fleet) -> float | None:
    """When `judge` has something to do, if nothing else happens."""
    if fleet.roll is None:
        return None
    if fleet.roll.away_since is not None:
        return _given_up_at(fleet.roll, fleet.pools)
    return min((due for due in fleet.roll.due.values() if due < inf), default=None)


def forgive(draft: Draft, until: float) -> None:
    """The supervisor itself stood still: nobody is late before then."""
    if draft.roll is not None:
        due = {place: max(moment, until) for place, moment in draft.roll.due.items()}
        draft.roll = replace(draft.roll, due=due)


def _keep_time(draft: Draft, roll: Roll, touched: frozenset[str]) -> Roll:
    lasted = 0.0
    if roll.away_since is not None and not draft.cluster.is_down:
        lasted = draft.now - roll.away_since
        roll = replace(roll, away_since=None)
    elif roll.away_since is None and draft.cluster.is_down:
        roll = replace(roll, away_since=draft.now)
    due = {}
    for entity in _new_places(draft, roll, touched):
        if entity.state is State.READY or _has_left(entity):
            due[entity.id] = inf
        elif entity.id in roll.due:
            due[entity.id] = roll.due[entity.id] + lasted
        elif entity.state is State.STARTING:
            due[entity.id] = entity.forked_at + draft.pools[entity.pool].boot
    return replace(roll, due=due)


def _has_left(entity: Entity) -> bool:
    """It ended in order, and its restart policy leaves it at that."""
    ended = entity.last_exit
    return entity.state is State.STOPPED and ended is not None and ended.meaning is Verdict.LEFT


def _new_places(draft: Draft, roll: Roll, touched: frozenset[str]) -> list[Entity]:
    """Those of the change's making: what they do speaks for or against it."""
    return [
        entity
        for entity in draft.entities.values()
        if entity.pool in touched
        and (pool := draft.pools.get(entity.pool)) is not None
        and _is_new(roll, pool, entity)
    ]


def _is_new(roll: Roll, pool: Pool, entity: Entity) -> bool:
    if entity.standing is Standing.RETIRED or (entity.is_live and entity.version != pool.version):
        return False
    before = roll.fallback.pools.get(pool.name)
    of_old = before is not None and before.version == pool.version and entity.id in roll.fallback.places
    return not of_old or entity.id in roll.renewed


def _touched(draft: Draft, roll: Roll) -> frozenset[str]:
    fallback = roll.fallback
    before = {name: effective(pool, fallback.drained) for name, pool in fallback.pools.items()}
    after = {name: effective(pool, draft.drained) for name, pool in draft.pools.items()}
    changed = {n for n in {*before, *after} if _made_of(before.get(n)) != _made_of(after.get(n))}
    return roll.touched | changed


def _made_of(pool: Pool | None) -> tuple[object, ...] | None:
    return None if pool is None else (pool.version, pool.fork_server, pool.desired)


def _failure(draft: Draft, roll: Roll, touched: frozenset[str]) -> str:
    """What speaks against the change; empty: nothing."""
    given_up_at = _given_up_at(roll, draft.pools)
    if given_up_at is not None and draft.now >= given_up_at:
        return f"the Cluster that it names cannot be used: {draft.cluster.hold(draft.embedded)}"
    for name in sorted(touched):
        if reason := _why_unusable(draft, roll, name):
            return f"{name}: {reason}"
    for entity in _new_places(draft, roll, touched):
        if reason := _why_not_ready(draft, roll, entity):
            return f"{entity.id} {reason}"
    return ""


def _given_up_at(roll: Roll, pools: Mapping[str, Pool]) -> float | None:
    """When a Cluster that is away speaks against the change. Only against one that names another Cluster, or
    another way to it: an outage is nobody's fault."""
    before = roll.fallback.pools
    other = [p for n, p in pools.items() if n in before and _cluster_of(before[n]) != _cluster_of(p)]
    if roll.away_since is None or not other:
        return None
    return roll.away_since + max(pool.boot for pool in other)


def _cluster_of(pool: Pool) -> dict[str, str]:
    """How it is reached. How payloads are read is no part of that."""
    reached = {key: value for key, value in pool.traits.items() if key.startswith("[cluster")}
    reached.pop("[cluster] data_converter", None)
    return reached


def _why_unusable(draft: Draft, roll: Roll, name: str) -> str:
    """Why a fork server that is needed will hardly ever be there."""
    if name not in draft.pools:
        return ""
    pool = effective(draft.pools[name], draft.drained)
    server = draft.helpers.get(pool.fork_server)
    if server is None:
        return ""
    if pool.fork_server in {before.fork_server for before in roll.fallback.pools.values()}:
        needed = bool(moves(pool, draft.members(name)).add)
        return server.reason if needed and server.state is HelperState.REFUSED else ""
    return server.reason if _dies(server) or server.state is HelperState.REFUSED else ""


def _dies(server: Helper) -> bool:
    return server.state is HelperState.BACKOFF and server.streak >= TRIES


def _why_not_ready(draft: Draft, roll: Roll, entity: Entity) -> str:
    due = roll.due.get(entity.id, inf)
    match entity.state:
        case State.READY:
            return ""
        case State.FAILED:
            return f"failed: {entity.reason}"
        case State.STOPPED if due < inf:
            return f"died before it was ready: {entity.reason}"
        case State.STOPPED:
            stuck = not _has_left(entity) and is_stuck(draft.pools[entity.pool], draft.members(entity.pool))
            return f"died, and its restart policy leaves it at that: {entity.reason}" if stuck else ""
        case State.WAITING:
            server = draft.helpers.get(draft.pools[entity.pool].fork_server)
            if server is not None and _dies(server):
                return f"cannot be forked: {server.reason}"
    if entity.unready >= TRIES:
        return f"died {entity.unready} times before it was ready, the last: {entity.reason}"
    if roll.away_since is not None or draft.now < due:
        return ""
    told = f"was not ready {draft.pools[entity.pool].boot:g} s after its first fork"
    return f"{told}: {entity.reason}" if entity.reason and entity.leaving is None else told


def _is_there(draft: Draft, roll: Roll, name: str) -> bool:
    pool = draft.pools.get(name)
    places = draft.members(name)
    if pool is None:
        return not places
    return is_settled(effective(pool, draft.drained), [_without_old_ills(roll, pool, e) for e in places])


def _without_old_ills(roll: Roll, pool: Pool, entity: Entity) -> Entity:
    """A place that was there before and does not become ready, as little as it did then, is as good as given
    up: nobody waits for it."""
    was_ill = entity.unready > 0 and not _is_new(roll, pool, entity)
    tries = entity.state in {State.WAITING, State.STARTING, State.BACKOFF}
    if was_ill and tries and entity.version == pool.version:
        return replace(entity, state=State.FAILED)
    return entity


def _converge(draft: Draft, roll: Roll) -> None:
    order = find(draft.changes, roll.change)
    draft.roll = None
    draft.changes = passed(draft.changes, order.id, OrderState.DONE, order.message, draft.now)
    draft.emit("fleet.converged", Level.INFO, f"change {order.id} is done: {order.message}")
    draft.act(Converged(roll.request, order.message, order.id))


def _take_back(draft: Draft, roll: Roll, failure: str) -> None:
    fallback = roll.fallback
    problem = failed_for(find(draft.changes, roll.change), failure)
    draft.roll = None
    if (draft.pools, draft.budget, draft.drained) == (fallback.pools, fallback.budget, fallback.drained):
        advice = "mend it; the fleet goes on trying as its restart policy says"
        _fail(draft, roll, OrderState.FAILED, (problem, advice))
        return
    draft.generation, draft.drained = fallback.generation, fallback.drained
    put_in_force(draft, fallback.pools, fallback.budget)
    told = f"the fleet is as it was before, at generation {fallback.generation}"
    _fail(draft, roll, OrderState.FAILED, (problem, told), fallback.generation)


def _fail(
    draft: Draft, roll: Roll, state: OrderState, problems: tuple[str, ...], restored: int | None = None
) -> None:
    message = "; ".join(problems)
    draft.changes = passed(draft.changes, roll.change, state, message, draft.now)
    if state is OrderState.FAILED:
        draft.emit("fleet.change-failed", Level.ERROR, message)
    else:
        draft.emit("fleet.change-superseded", Level.INFO, f"change {roll.change}: {message}")
    draft.act(Failed(roll.request, problems, roll.change, restored))
