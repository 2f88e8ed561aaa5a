"""The decision: one event in, the changed fleet and the actions out. Dispatch and order only; what each
event means stands in lives, liveness, deaths, recoveries, memory, eviction, helpers and changes, what a pool
needs in moves."""

from dataclasses import replace

from temporal_fleet.supervisor.core import (
    adoption,
    changes,
    credentials,
    deaths,
    events,
    eviction,
    helpers,
    liveness,
    lives,
    memory,
    poison,
    recoveries,
    roll,
)
from temporal_fleet.supervisor.core.actions import Action, Finish, Level
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import (
    Cluster,
    Entity,
    Fleet,
    HelperState,
    Phase,
    Pool,
    Standing,
    effective,
    live,
)
from temporal_fleet.supervisor.core.moves import moves, why_outdated
from temporal_fleet.supervisor.core.states import Change, State

STALL_GRACE = 2.0
"""Seconds that a starting entity gets at least after the supervisor itself stood still."""


def decide(fleet: Fleet, event: events.Event, now: float) -> tuple[Fleet, tuple[Action, ...]]:
    """The fleet after an event at `now` (monotonic seconds), and what is to be done, in order."""
    draft = Draft(fleet, now)
    _dispatch(draft, event)
    if not isinstance(event, events.Heard):
        helpers.expire(draft)
        changes.settle(draft)
        if roll.judge(draft):
            changes.taken_back(draft)
        # By the config in force from here on.
        lives.expire(draft)
        eviction.expire(draft)
        recoveries.expire(draft)
        _reconcile(draft)
        if roll.conclude(draft):
            # Fork servers that were kept to go back to are not wanted any longer.
            _reconcile(draft)
        elif roll.judge(draft):
            # A place was given up just now, and nothing else may ever happen.
            changes.taken_back(draft)
            _reconcile(draft)
        recoveries.order(draft)
    return draft.result()


def next_deadline(fleet: Fleet) -> float | None:
    """When a Tick is due, if nothing else happens before."""
    due = [lives.deadline(entity, fleet.pools.get(entity.pool)) for entity in fleet.entities.values()]
    due += [eviction.deadline(entity) for entity in fleet.entities.values()]
    due += [helper.deadline for helper in fleet.helpers.values()]
    due += [recoveries.deadline(open_) for open_ in fleet.recoveries.values()]
    due += [roll.deadline(fleet), fleet.recover_by]
    return min((moment for moment in due if moment is not None), default=None)


def _dispatch(draft: Draft, event: events.Event) -> None:
    # A Tick is none of these: of itself it means nothing.
    match event:
        case events.Heard():
            lives.heard(draft, event)
        case events.StoodStill():
            liveness.stood_still(draft, event)
        case events.Greeted():
            lives.greeted(draft, event)
        case events.BecameReady():
            lives.became_ready(draft, event)
        case events.Forked():
            lives.forked(draft, event)
        case events.ForkRefused():
            deaths.fork_refused(draft, event)
        case events.LeftByItself():
            lives.left_by_itself(draft, event)
        case events.Died():
            deaths.died(draft, event)
        case events.FoundDead():
            recoveries.found_dead(draft, event)
        case events.Recovered():
            recoveries.recovered(draft, event)
        case events.RecoveryDelayed():
            recoveries.delayed(draft, event)
        case (
            events.HelperReady()
            | events.HelperRefused()
            | events.HelperDied()
            | events.HttpWanted()
            | events.HttpTold()
        ):
            helpers.happened(draft, event)
            if isinstance(event, events.HelperReady):
                adoption.compare_code(draft, event)
        case events.Started():
            poison.remember(draft, event.suspects)
            adoption.take_over(draft, event)
        case (
            events.ReloadRequested()
            | events.FileRefused()
            | events.ScaleRequested()
            | events.RestartRequested()
            | events.DrainRequested()
            | events.ResumeRequested()
            | events.QuietRequested()
        ):
            changes.request(draft, event)
        case events.StopRequested():
            _stop(draft, event)
        case events.Measured():
            memory.measured(draft, event)
        case events.ClosedFound():
            eviction.closed_found(draft, event)
        case events.Evicted():
            eviction.evicted(draft, event)
        case events.ClusterChanged():
            _cluster_changed(draft, event)
        case events.CredentialsTried():
            credentials.tried(draft, event)
        case events.Stalled():
            _forgive(draft)


def _stop(draft: Draft, event: events.StopRequested) -> None:
    if draft.phase is Phase.RUNNING:
        draft.phase = Phase.DRAINING
        draft.emit("fleet.stopping", Level.INFO, "stops at once" if event.now else "drains, then stops")
    if event.now:
        for entity in live(tuple(draft.entities.values())):
            lives.kill_now(draft, entity)
        helpers.kill_fork_servers(draft)


def _cluster_changed(draft: Draft, event: events.ClusterChanged) -> None:
    before = draft.cluster
    draft.cluster = Cluster(event.reachable, event.refused, event.reason, draft.now)
    if draft.cluster.is_down:
        # One line for an outage, whatever the Cluster's last and next words in it are.
        level = Level.DEBUG if before.is_down else Level.ERROR
        draft.emit("cluster.down", level, draft.cluster.hold(draft.embedded))
        return
    deaths.cluster_is_up(draft)
    if before.reachable is not True or before.is_down:
        draft.emit("cluster.up", Level.INFO, "the Cluster answers")


def _forgive(draft: Draft) -> None:
    for entity in live(tuple(draft.entities.values())):
        if entity.state is State.STARTING and entity.deadline is not None:
            draft.set(entity, heartbeat=draft.now, deadline=max(entity.deadline, draft.now + STALL_GRACE))
        else:
            draft.set(entity, heartbeat=draft.now, pressure_since=draft.now)
    draft.cluster = replace(draft.cluster, since=draft.now)
    recoveries.forgive(draft, draft.now + STALL_GRACE)
    roll.forgive(draft, draft.now + STALL_GRACE)
    if draft.recover_by is not None:
        draft.recover_by = max(draft.recover_by, draft.now + STALL_GRACE)
    for helper in tuple(draft.helpers.values()):
        if helper.state is HelperState.STARTING and helper.deadline is not None:
            draft.set_helper(helper, deadline=max(helper.deadline, draft.now + STALL_GRACE))


def _reconcile(draft: Draft) -> None:
    if draft.phase is Phase.RUNNING:
        for pool in draft.pools.values():
            _reconcile_pool(draft, effective(pool, draft.drained))
        for entity in tuple(draft.entities.values()):
            if entity.pool not in draft.pools:
                _dismiss(draft, entity, "its pool is not in the config")
    elif draft.phase is Phase.DRAINING:
        for entity in tuple(draft.entities.values()):
            _dismiss(draft, entity, "the fleet stops")
        if not draft.entities and recoveries.are_over(draft):
            draft.phase = Phase.CLOSING
    helpers.reconcile(draft)
    if draft.phase is Phase.CLOSING and not draft.helpers:
        draft.phase = Phase.STOPPED
        draft.emit("fleet.stopped", Level.INFO, "stopped")
        draft.act(Finish())


def _reconcile_pool(draft: Draft, pool: Pool) -> None:
    first = moves(pool, draft.members(pool.name))
    for ordinal in (*first.add, *first.stand_in):
        place = f"{pool.name}-{ordinal}"
        standing = Standing.MEMBER if ordinal in first.add else Standing.STAND_IN
        draft.entities[place] = Entity(place, pool.name, ordinal, State.WAITING, draft.now, standing)
    for place in first.promote:
        draft.set(draft.entities[place], standing=Standing.MEMBER)
    for place in first.remove:
        del draft.entities[place]
    for place in first.replace:
        entity = draft.entities[place]
        lives.tell_leave(draft, entity, why_outdated(pool, entity))
    for place in first.retire:
        entity = draft.entities[place]
        lives.retire(draft, entity, why_outdated(pool, entity) or _why_surplus(draft, entity))
    server = draft.helpers.get(pool.fork_server)
    if server is None:
        return
    if server.state is HelperState.REFUSED:
        for entity in draft.members(pool.name):
            if entity.state is State.WAITING:
                # So that it begins anew when another version is wanted.
                failed = draft.change(entity, Change.GIVE_UP, reason=server.reason, version=pool.version)
                draft.emit("entity.failed", Level.DEBUG, server.reason, failed)
    elif server.state is HelperState.READY and not draft.cluster.hold(draft.embedded):
        for place in moves(pool, draft.members(pool.name)).start:
            lives.begin(draft, draft.entities[place], pool)


def _why_surplus(draft: Draft, entity: Entity) -> str:
    if entity.pool in draft.drained:
        return "its pool is drained"
    stood_in = entity.standing is Standing.STAND_IN
    return "whom it stood in for are replaced" if stood_in else "fewer entities are wanted"


def _dismiss(draft: Draft, entity: Entity, why: str) -> None:
    if not entity.is_live:
        del draft.entities[entity.id]
    elif entity.state is not State.DRAINING:
        lives.retire(draft, entity, why)
