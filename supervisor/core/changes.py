"""Changes that an operator asks for: reload, scale, restart. A change is in force at once and wholly, or,
when a program of it does not import, not at all; until its programs are imported it is pending."""

from collections.abc import Mapping
from dataclasses import replace

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Accept, Level, Reject, Tell
from temporal_fleet.supervisor.core.deaths import begin_anew
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import Entity, HelperState, Pending, Phase, Pool, Strain
from temporal_fleet.supervisor.core.lives import tell_leave
from temporal_fleet.supervisor.core.plan import reload_steps
from temporal_fleet.supervisor.core.restart import Policy
from temporal_fleet.supervisor.core.states import State


def start(draft: Draft, event: events.Started) -> None:
    """The first config is in force whatever its programs do: each pool tells how it fares."""
    draft.generation = 1
    draft.pools = dict(event.pools)
    draft.budget = event.budget


def request(draft: Draft, event: events.ChangeRequest) -> None:
    if draft.phase is not Phase.RUNNING:
        _reject(draft, event.request, "the fleet is stopping")
        return
    match event:
        case events.ReloadRequested():
            _reload(draft, event)
        case events.ScaleRequested():
            _scale(draft, event)
        case events.RestartRequested():
            _restart(draft, event)


def _reload(draft: Draft, event: events.ReloadRequested) -> None:
    pools = {name: _with_epoch(draft, pool) for name, pool in event.pools.items()}
    budget = draft.budget, event.budget
    told = reload_steps(draft.pools, draft.entities, pools, budget=budget)
    steps = [step for step in told if step.action != "keep"]
    again = [n for n, p in pools.items() if n in draft.pools and p.epoch != draft.pools[n].epoch]
    changes = [f"{s.action} {s.target}" for s in steps] + [f"import {name} again" for name in again]
    message = "reloaded: " + (", ".join(changes) or "nothing to change")
    _propose(draft, Pending(event.request, pools, message, event.budget))


def _scale(draft: Draft, event: events.ScaleRequested) -> None:
    problems = [_no_such("pool", name, draft.pools) for name in event.sizes if name not in draft.pools]
    problems += [f"{name}={size}: give 0 or more" for name, size in event.sizes.items() if size < 0]
    if problems:
        _reject(draft, event.request, *problems)
        return
    sized = {name: replace(draft.pools[name], desired=size) for name, size in event.sizes.items()}
    told = ", ".join(f"{name}={size}" for name, size in event.sizes.items())
    pools = {**draft.pools, **sized}
    _propose(draft, Pending(event.request, pools, f"scaled: {told}", draft.budget))


def _restart(draft: Draft, event: events.RestartRequested) -> None:
    target = event.target
    if target is not None and (entity := draft.entities.get(target)):
        _restart_entity(draft, event.request, entity)
        return
    if target is not None and target not in draft.pools:
        names = {**draft.pools, **draft.entities}
        _reject(draft, event.request, _no_such("pool or entity", target, names))
        return
    chosen = draft.pools if target is None else {target: draft.pools[target]}
    renewed = {name: replace(pool, epoch=_new_epoch(draft)) for name, pool in chosen.items()}
    told = "every pool" if target is None else f"pool {target}"
    message = f"restarts {told} with newly imported code"
    _propose(draft, Pending(event.request, {**draft.pools, **renewed}, message, draft.budget))


def settle(draft: Draft) -> None:
    """Carry out the pending change once its programs are there, or reject it once one of them is not."""
    pending = draft.pending
    if pending is None:
        return
    running = {pool.fork_server for pool in draft.pools.values()}
    new = {p.fork_server: draft.helpers.get(p.fork_server) for p in pending.pools.values()}
    awaited = [helper for key, helper in new.items() if key not in running]
    failed = [h for h in awaited if h and h.state in {HelperState.REFUSED, HelperState.BACKOFF}]
    if draft.phase is not Phase.RUNNING:
        draft.pending = None
        _reject(draft, pending.request, "the fleet is stopping")
    elif failed:
        draft.pending = None
        _reject(draft, pending.request, *(helper.reason for helper in failed))
    elif all(helper and helper.state is HelperState.READY for helper in awaited):
        draft.pending = None
        _commit(draft, pending)


def _propose(draft: Draft, change: Pending) -> None:
    if draft.pending is not None:
        _reject(draft, draft.pending.request, "a newer change took its place")
    draft.pending = change
    programs = {p.program.program for p in change.pools.values() if p.fork_server not in draft.helpers}
    if programs:
        draft.act(Tell(change.request, f"importing {', '.join(sorted(programs))}"))


def _commit(draft: Draft, pending: Pending) -> None:
    draft.generation += 1
    draft.pools = dict(pending.pools)
    if pending.budget != draft.budget:
        draft.budget, draft.strain = pending.budget, Strain.WITHIN
    for entity in tuple(draft.entities.values()):
        pool = draft.pools.get(entity.pool)
        if pool is None or entity.is_live:
            continue
        revived = entity.state is State.STOPPED and pool.restart.policy is Policy.ALWAYS
        if revived or entity.version != pool.version:
            begin_anew(draft, entity)
    draft.emit("fleet.changed", Level.INFO, f"generation {draft.generation}: {pending.message}")
    draft.act(Accept(pending.request, pending.message, draft.generation))


def _restart_entity(draft: Draft, request: str, entity: Entity) -> None:
    pool = draft.pools.get(entity.pool)
    server = draft.helpers.get(pool.fork_server) if pool else None
    if server is not None and server.state is HelperState.REFUSED:
        advice = f"mend it, then restart the whole pool: temporal-fleet restart {entity.pool}"
        _reject(draft, request, f"{server.reason}; {advice}")
        return
    if not entity.is_live:
        begin_anew(draft, entity)
    elif entity.state is not State.DRAINING:
        tell_leave(draft, entity, "restart was asked for")
    draft.act(Accept(request, f"restarts {entity.id}", draft.generation))


def _with_epoch(draft: Draft, pool: Pool) -> Pool:
    """The pool as it would run: with the code that runs, unless that code was refused."""
    before = draft.pools.get(pool.name)
    if before is None or before.revision != pool.revision:
        shared = [p for p in draft.pools.values() if p.revision == pool.revision]
        pool = replace(pool, epoch=max((p.epoch for p in shared), default=0))
    else:
        pool = replace(pool, epoch=before.epoch)
    helper = draft.helpers.get(pool.fork_server)
    if helper is not None and helper.state is HelperState.REFUSED:
        return replace(pool, epoch=_new_epoch(draft))
    return pool


def _new_epoch(draft: Draft) -> int:
    """One that no fork server has had: the same for every pool renewed in one decision, so they share."""
    draft.epoch = draft.before.epoch + 1
    return draft.epoch


def _reject(draft: Draft, request: str, *problems: str) -> None:
    draft.emit("fleet.change-rejected", Level.ERROR, f"nothing was changed: {'; '.join(problems)}")
    draft.act(Reject(request, problems))


def _no_such(what: str, name: str, known: Mapping[str, object]) -> str:
    return f"no {what} {name!r}; there are: {', '.join(sorted(known)) or 'none'}"
