"""Commands that change the fleet: reload, scale, restart, drain, resume, quiet. A change is in force at once
and wholly, or, when a program of it does not import, not at all; until its programs are imported it is
pending, and what else needs an import waits for it. What comes of one in force stands in roll."""

from collections.abc import Mapping
from dataclasses import replace

from temporal_fleet.supervisor.core import events, lives, roll
from temporal_fleet.supervisor.core.actions import Accept, Failed, Level, Reject, Tell
from temporal_fleet.supervisor.core.deaths import begin_anew
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import Entity, HelperState, Pending, Phase, Pool, Standing, Waiting
from temporal_fleet.supervisor.core.ledger import OrderState, failed_for, find, opened, passed, superseded_by
from temporal_fleet.supervisor.core.lives import tell_leave
from temporal_fleet.supervisor.core.plan import is_code_changed, plan
from temporal_fleet.supervisor.core.states import State

_STOPPING = "the fleet is stopping"


def request(draft: Draft, event: events.ChangeRequest | events.FileRefused) -> None:
    draft.changes = opened(draft.changes, event.request, _command(event), draft.now)
    change = draft.changes[-1].id
    if draft.phase is not Phase.RUNNING:
        _reject(draft, change, _STOPPING)
        return
    if isinstance(event, events.FileRefused):
        _reject(draft, change, *event.problems)
        return
    if isinstance(event, events.ReloadRequested):
        _overtake(draft, change)
    if (earlier := _not_in_force(draft)) and _may_import(draft, event):
        draft.waiting = (*draft.waiting, Waiting(change, event))
        draft.act(Tell(event.request, f"waits for change {earlier[-1].change}"))
    else:
        _carry_out(draft, change, event)


def settle(draft: Draft) -> None:
    """Carry out the pending change once its programs are there, or reject it once one of them is not; then
    those that wait for it, one after the other."""
    if draft.phase is not Phase.RUNNING:
        _stop(draft)
    while draft.pending is not None or draft.waiting:
        if (pending := draft.pending) is None:
            following, *rest = draft.waiting
            draft.waiting = tuple(rest)
            _carry_out(draft, following.change, following.event)
            continue
        running = {pool.fork_server for pool in draft.pools.values()}
        new = {p.fork_server: draft.helpers.get(p.fork_server) for p in pending.pools.values()}
        awaited = [helper for key, helper in new.items() if key not in running]
        failed = [h for h in awaited if h and h.state in {HelperState.REFUSED, HelperState.BACKOFF}]
        if failed:
            draft.pending = None
            order = find(draft.changes, pending.change)
            _reject(draft, order.id, *(failed_for(order, helper.reason) for helper in failed))
        elif all(helper and helper.state is HelperState.READY for helper in awaited):
            draft.pending = None
            _commit(draft, pending)
        else:
            return


def taken_back(draft: Draft) -> None:
    """A change was taken back: what is pending was made from it, and is made anew from what is in force."""
    if pending := draft.pending:
        draft.pending = None
        _carry_out(draft, pending.change, pending.event)
        settle(draft)


def _overtake(draft: Draft, change: int) -> None:
    """A reload says what the whole fleet is to be: those before it that are not in force yet never will."""
    for order in _not_in_force(draft):
        if isinstance(order.event, events.ReloadRequested):
            _supersede(draft, order.change, change)
    if draft.pending and isinstance(draft.pending.event, events.ReloadRequested):
        draft.pending = None
    draft.waiting = tuple(w for w in draft.waiting if not isinstance(w.event, events.ReloadRequested))


def _not_in_force(draft: Draft) -> list[Pending | Waiting]:
    return [*([draft.pending] if draft.pending else []), *draft.waiting]


def _stop(draft: Draft) -> None:
    for order in _not_in_force(draft):
        _reject(draft, order.change, _STOPPING)
    draft.pending, draft.waiting = None, ()
    roll.abandon(draft, _STOPPING)


def _may_import(draft: Draft, event: events.ChangeRequest) -> bool:
    match event:
        case events.RestartRequested():
            return event.target not in draft.entities
        case events.ReloadRequested() | events.ScaleRequested():
            return True
    return False


def _carry_out(draft: Draft, change: int, event: events.ChangeRequest) -> None:
    match event:
        case events.ReloadRequested():
            _reload(draft, change, event)
        case events.ScaleRequested():
            _scale(draft, change, event)
        case events.RestartRequested():
            _restart(draft, change, event)
        case events.DrainRequested():
            _drain(draft, change, event)
        case events.ResumeRequested():
            _resume(draft, change, event)
        case events.QuietRequested():
            _quiet(draft, change, event)


def _reload(draft: Draft, change: int, event: events.ReloadRequested) -> None:
    if unknown := [name for name in event.forced if name not in event.pools]:
        _reject(draft, change, *(_no_such("pool", name, event.pools) for name in unknown))
        return
    planned = plan(
        draft.fleet(),
        event.pools,
        event.budget,
        forced=event.forced,
        codes=event.codes,
        edited=event.edited,
        settings=event.settings,
    )
    draft.epoch = planned.epoch
    summary = planned.summary or "nothing to change"
    draft.act(Tell(event.request, summary, planned.steps))
    message = f"reloaded: {summary}"
    _propose(draft, Pending(change, event, planned.pools, message, planned.budget))


def _scale(draft: Draft, change: int, event: events.ScaleRequested) -> None:
    problems = [_no_such("pool", name, draft.pools) for name in event.sizes if name not in draft.pools]
    problems += [f"{name}={size}: give 0 or more" for name, size in event.sizes.items() if size < 0]
    if problems:
        _reject(draft, change, *problems)
        return
    sized = {name: replace(draft.pools[name], desired=size) for name, size in event.sizes.items()}
    pools = {**draft.pools, **sized}
    _propose(draft, Pending(change, event, pools, f"scaled: {_sizes(event)}", draft.budget))


def _restart(draft: Draft, change: int, event: events.RestartRequested) -> None:
    target = event.target
    if target is not None and (entity := draft.entities.get(target)):
        _restart_entity(draft, change, event.request, entity)
        return
    if target is not None and target not in draft.pools:
        names = {**draft.pools, **draft.entities}
        _reject(draft, change, _no_such("pool or entity", target, names))
        return
    chosen = draft.pools if target is None else {target: draft.pools[target]}
    draft.epoch += 1
    renewed = {name: _restarted(draft, pool, event.codes) for name, pool in chosen.items()}
    told = "every pool" if target is None else f"pool {target}"
    anew = any(pool.epoch == draft.epoch for pool in renewed.values())
    message = f"restarts {told}{' with newly imported code' if anew else ''}"
    _propose(draft, Pending(change, event, {**draft.pools, **renewed}, message, draft.budget))


def _restarted(draft: Draft, pool: Pool, codes: Mapping[str, str]) -> Pool:
    """With the code that was imported, where it is known to be that on the disk."""
    server = draft.helpers.get(pool.fork_server)
    is_known = server is not None and server.state is HelperState.READY and pool.fork_server.name in codes
    if is_known and not is_code_changed(draft.fleet(), pool.fork_server, codes):
        return replace(pool, turn=draft.epoch)
    return replace(pool, epoch=draft.epoch, turn=draft.epoch)


def _restart_entity(draft: Draft, change: int, request: str, entity: Entity) -> None:
    pool = draft.pools.get(entity.pool)
    server = draft.helpers.get(pool.fork_server) if pool else None
    is_followed = entity.standing is not Standing.RETIRED
    if is_followed and server is not None and server.state is HelperState.REFUSED:
        advice = f"mend it, then restart the whole pool: temporal-fleet restart {entity.pool}"
        _reject(draft, change, f"{server.reason}; {advice}")
        return
    roll.begin(draft, change, request, touched=frozenset({entity.pool}), renewed=frozenset({entity.id}))
    if not entity.is_live:
        begin_anew(draft, entity)
    elif entity.state is not State.DRAINING:
        tell_leave(draft, entity, "restart was asked for")
    _accept(draft, change, f"restarts {entity.id}")


def _drain(draft: Draft, change: int, event: events.DrainRequested) -> None:
    if event.pool not in draft.pools:
        _reject(draft, change, _no_such("pool", event.pool, draft.pools))
        return
    roll.begin(draft, change, event.request, touched=frozenset({event.pool}))
    roll.keep_drained(draft, event.pool)
    draft.drained |= {event.pool}
    advice = f"to have it back: temporal-fleet resume {event.pool}"
    _accept(draft, change, f"drains pool {event.pool}, and keeps it at zero; {advice}")


def _resume(draft: Draft, change: int, event: events.ResumeRequested) -> None:
    if event.pool not in {*draft.pools, *draft.drained}:
        _reject(draft, change, _no_such("pool", event.pool, draft.pools))
        return
    roll.begin(draft, change, event.request, touched=frozenset({event.pool}))
    roll.keep_resumed(draft, event.pool)
    told = f"resumes pool {event.pool}" if event.pool in draft.drained else f"{event.pool} is not drained"
    draft.drained -= {event.pool}
    _accept(draft, change, told)


def _quiet(draft: Draft, change: int, event: events.QuietRequested) -> None:
    entity = draft.entities.get(event.entity)
    if entity is None:
        _reject(draft, change, _no_such("entity", event.entity, draft.entities))
        return
    if entity.state not in {State.READY, State.QUIET}:
        problem = f"{entity.id} is {entity.state.value}: only a ready entity can be told to stop polling"
        _reject(draft, change, problem)
        return
    roll.begin(draft, change, event.request, touched=frozenset({entity.pool}))
    if entity.state is State.READY:
        lives.tell_quiet(draft, entity)
    advice = f"to have it leave: temporal-fleet restart {entity.id}"
    _accept(draft, change, f"{entity.id} stops polling, another takes its place; {advice}")


def _propose(draft: Draft, pending: Pending) -> None:
    draft.pending = pending
    programs = {p.program.program for p in pending.pools.values() if p.fork_server not in draft.helpers}
    if programs:
        draft.act(Tell(pending.event.request, f"importing {', '.join(sorted(programs))}"))


def _commit(draft: Draft, pending: Pending) -> None:
    roll.begin(draft, pending.change, pending.event.request)
    draft.generations += 1
    draft.generation = draft.generations
    roll.put_in_force(draft, pending.pools, pending.budget)
    draft.emit("fleet.changed", Level.INFO, f"generation {draft.generation}: {pending.message}")
    _accept(draft, pending.change, pending.message)


def _accept(draft: Draft, change: int, message: str) -> None:
    draft.changes = passed(draft.changes, change, OrderState.ROLLING, message, draft.now)
    draft.act(Accept(find(draft.changes, change).request, message, draft.generation, change))


def _reject(draft: Draft, change: int, *problems: str) -> None:
    draft.emit("fleet.change-rejected", Level.ERROR, f"nothing was changed: {'; '.join(problems)}")
    draft.changes = passed(draft.changes, change, OrderState.REJECTED, "; ".join(problems), draft.now)
    draft.act(Reject(find(draft.changes, change).request, problems, change))


def _supersede(draft: Draft, change: int, by: int) -> None:
    problems = superseded_by(find(draft.changes, by))
    draft.emit("fleet.change-superseded", Level.INFO, f"change {change}: {'; '.join(problems)}")
    draft.changes = passed(draft.changes, change, OrderState.SUPERSEDED, "; ".join(problems), draft.now)
    draft.act(Failed(find(draft.changes, change).request, problems, change))


def _command(event: events.ChangeRequest | events.FileRefused) -> str:
    """As an operator would type it."""
    match event:
        case events.ReloadRequested():
            return " ".join(["reload", *(f"--force {pool}" for pool in event.forced)])
        case events.FileRefused():
            return "reload"
        case events.ScaleRequested():
            return f"scale {_sizes(event)}"
        case events.RestartRequested():
            return f"restart {event.target}" if event.target is not None else "restart"
        case events.DrainRequested():
            return f"drain {event.pool}"
        case events.ResumeRequested():
            return f"resume {event.pool}"
        case events.QuietRequested():
            return f"quiet {event.entity}"


def _sizes(event: events.ScaleRequested) -> str:
    return " ".join(f"{name}={size}" for name, size in event.sizes.items())


def _no_such(what: str, name: str, known: Mapping[str, object]) -> str:
    return f"no {what} {name!r}; there are: {', '.join(sorted(known)) or 'none'}"
