"""What happens to one life of an entity, from the order to fork it to the order to kill it."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import (
    DumpStacks,
    Fork,
    Kill,
    KillHelper,
    Level,
    TellDrain,
    TellQuiet,
    Welcome,
)
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    HelperKey,
    Leaving,
    Load,
    Pool,
    Pressure,
    Standing,
)
from temporal_fleet.supervisor.core.gpus import allotted
from temporal_fleet.supervisor.core.states import Change, State

KILL_AFTER_DRAIN = 5.0
"""Seconds from the end of `drain`, when an entity cancels its activities, to SIGKILL."""
DUMP_BEFORE_KILL = 1.0
"""Seconds that a hung entity gets to write its stacks."""
EXIT_HOOKS = 5.0
"""Seconds without a heartbeat that a drained entity has for its exit hooks."""
KILL_AGAIN = 5.0
"""Seconds after which a SIGKILL without a death is repeated (and told again)."""
FOREIGN_DRAIN = 30.0
"""Seconds of drain for an adopted entity of which that is not known, and whose pool is gone."""
FOREIGN_BOOT = 60.0
"""The same of its boot."""

_KILLED = frozenset(
    {Leaving.HUNG, Leaving.STUCK, Leaving.BOOT_TIMEOUT, Leaving.TOO_LARGE, Leaving.NO_SLOT_LEFT}
)
"""Whoever leaves so is killed, and was told of already."""


def begin(draft: Draft, entity: Entity, pool: Pool) -> None:
    """Arm the deadline, then fork: so that an entity stuck in boot is always killable. Without the GPUs that
    it needs the place goes on waiting."""
    gpus = allotted(pool, draft.entities.values())
    if gpus is None:
        return
    incarnation = draft.incarnations.get(entity.id, draft.least_incarnation) + 1
    draft.incarnations[entity.id] = incarnation
    draft.change(
        entity,
        Change.FORK,
        incarnation=incarnation,
        version=pool.version,
        fork_server=pool.fork_server,
        code=draft.helpers[pool.fork_server].code,
        forked_at=draft.now,
        drain=pool.drain,
        gpus=gpus,
        deadline=draft.now + pool.boot,
        heartbeat=draft.now,
    )
    draft.act(Fork(entity.id, incarnation, pool.name, pool.fork_server, gpus))


def forked(draft: Draft, event: events.Forked) -> None:
    if entity := draft.life(event.entity, event.incarnation):
        draft.set(entity, pid=event.pid)
        draft.emit("entity.forked", Level.DEBUG, f"forked as PID {event.pid}", entity)


def greeted(draft: Draft, event: events.Greeted) -> None:
    """Welcome a life that is ours; one that is not (any more) is told to drain."""
    entity = draft.life(event.entity, event.incarnation)
    draft.act(Welcome(event.entity, event.incarnation))
    if entity is None:
        draft.act(TellDrain(event.entity, event.incarnation))
        return
    draft.set(entity, pid=event.pid, heartbeat=draft.now)
    if entity.state is State.DRAINING:
        draft.act(TellDrain(event.entity, event.incarnation))
    elif entity.state is State.QUIET:
        draft.act(TellQuiet(event.entity, event.incarnation))


def became_ready(draft: Draft, event: events.BecameReady) -> None:
    entity = draft.life(event.entity, event.incarnation)
    if entity is not None and entity.state is State.STARTING:
        entity = _ready(draft, entity)
    if entity is not None and event.quiet and entity.state is State.READY:
        _quiet(draft, entity)


def _ready(draft: Draft, entity: Entity) -> Entity:
    ready = draft.change(
        entity,
        Change.BECOME_READY,
        ready_at=draft.now,
        heartbeat=draft.now,
        deadline=None,
        unready=0,
        reason="",
    )
    took = draft.now - entity.since
    draft.emit("entity.ready", Level.INFO, f"ready {took * 1000:.0f} ms after its fork", ready)
    return ready


def heard(draft: Draft, event: events.Heard) -> None:
    if entity := draft.life(event.entity, event.incarnation):
        draft.set(entity, heartbeat=draft.now, load=Load(event.activities, event.cached))


def left_by_itself(draft: Draft, event: events.LeftByItself) -> None:
    entity = draft.life(event.entity, event.incarnation)
    if entity is None or entity.state is State.DRAINING:
        return
    if event.told:
        _leave(draft, entity, Leaving.ORDERED, _drain_limit(draft, entity))
        draft.emit("entity.draining", Level.INFO, "drains: it was told to, or had no supervisor", entity)
    else:
        _leave(draft, entity, Leaving.ITSELF, _drain_limit(draft, entity))
        draft.emit("entity.draining", Level.WARNING, f"drains by itself: {event.cause}", entity)


def tell_leave(draft: Draft, entity: Entity, why: str) -> None:
    """Order an entity to drain."""
    _leave(draft, entity, Leaving.ORDERED, _drain_limit(draft, entity))
    draft.act(TellDrain(entity.id, entity.incarnation))
    draft.emit("entity.draining", Level.INFO, f"drains: {why}", entity)


def retire(draft: Draft, entity: Entity, why: str) -> None:
    """Order an entity to drain, and have nobody come after it."""
    tell_leave(draft, draft.set(entity, standing=Standing.RETIRED), why)


def tell_quiet(draft: Draft, entity: Entity) -> None:
    """Order an entity that is ready to stop polling and to go on with what it has. Its place in the pool is
    another's from now on."""
    draft.act(TellQuiet(entity.id, entity.incarnation))
    _quiet(draft, entity)


def _quiet(draft: Draft, entity: Entity) -> None:
    quiet = draft.change(
        entity,
        Change.GO_QUIET,
        standing=Standing.RETIRED,
        recycle="",
        fault=None,
        pressure=Pressure.NONE,
        reason=f"quiet: polls no more; to end it: temporal-fleet restart {entity.id}",
    )
    draft.emit("entity.quiet", Level.INFO, "stops polling, and goes on with what it has", quiet)


def kill_now(draft: Draft, entity: Entity) -> None:
    """`stop --now`: a live entity is killed in this very decision."""
    if entity.state is not State.DRAINING:
        entity = _leave(draft, entity, Leaving.ORDERED, KILL_AGAIN)
    _kill(draft, entity)


def kill_too_large(draft: Draft, entity: Entity, figures: str) -> None:
    """A live entity is over `kill_above`: no time for anything else. One that is being killed already is left
    to that."""
    if entity.leaving in _KILLED:
        return
    if entity.state is not State.DRAINING:
        entity = _leave(draft, entity, Leaving.TOO_LARGE, KILL_AGAIN)
    draft.emit("memory.kill", Level.ERROR, f"{figures}: is killed", entity)
    _kill(draft, draft.set(entity, leaving=Leaving.TOO_LARGE, reason=figures))


def kill_useless(draft: Draft, entity: Entity, figures: str) -> None:
    """An entity that is ready has no slot left for what it is there for."""
    dump(draft, entity)
    draft.emit("entity.stuck", Level.ERROR, f"{figures}: is killed", entity)
    draft.set(_leave(draft, entity, Leaving.NO_SLOT_LEFT, DUMP_BEFORE_KILL), reason=figures)


def forsake(draft: Draft, fork_server: HelperKey) -> None:
    """A fork server is dead: what it was asked for and did not announce is found and killed, or never was."""
    for entity in tuple(draft.entities.values()):
        if entity.is_live and entity.pid is None and entity.fork_server == fork_server:
            kill_now(draft, draft.set(entity, fork_server=None))


def expire(draft: Draft) -> None:
    """Everything whose time is up."""
    for entity in tuple(draft.entities.values()):
        pool = draft.pools.get(entity.pool)
        hangs_at = _hangs_at(entity, pool)
        if hangs_at is not None and draft.now >= hangs_at:
            silence = draft.now - entity.heartbeat
            dump(draft, entity)
            told = f"no heartbeat for {silence:.1f} s: is killed"
            draft.emit("entity.hung", Level.ERROR, told, entity)
            stays = entity.state is not State.DRAINING
            leaving = _leave(draft, entity, Leaving.HUNG, DUMP_BEFORE_KILL) if stays else entity
            limit = draft.now + DUMP_BEFORE_KILL
            why = Leaving.STUCK if entity.leaving is Leaving.ORDERED else Leaving.HUNG
            draft.set(leaving, leaving=why, deadline=limit, reason=told)
        elif entity.deadline is None or draft.now < entity.deadline:
            continue
        elif entity.state is State.STARTING:
            took = draft.now - entity.since
            told = f"not ready after {took:.0f} s: is killed"
            draft.emit("entity.boot-timeout", Level.ERROR, told, entity)
            dump(draft, entity)
            draft.set(_leave(draft, entity, Leaving.BOOT_TIMEOUT, DUMP_BEFORE_KILL), reason=told)
        elif entity.state is State.DRAINING:
            if entity.leaving not in _KILLED:
                took = draft.now - entity.since
                draft.emit("entity.killed", Level.WARNING, f"drains for {took:.0f} s: is killed", entity)
            _kill(draft, entity)
        elif entity.state is State.BACKOFF:
            draft.change(entity, Change.RETRY_NOW)


def deadline(entity: Entity, pool: Pool | None) -> float | None:
    """When `expire` has something to do with this place, if nothing else happens."""
    due = [moment for moment in (_hangs_at(entity, pool), entity.deadline) if moment is not None]
    return min(due, default=None)


def _hangs_at(entity: Entity, pool: Pool | None) -> float | None:
    """When silence becomes a hang; None where it means nothing."""
    if pool is None:
        return None
    if entity.state in {State.READY, State.QUIET}:
        return entity.heartbeat + pool.hang
    if entity.leaving in {Leaving.ORDERED, Leaving.ITSELF}:
        # Its heart stops before its end: exit hooks of the program may still run.
        return entity.heartbeat + pool.hang + EXIT_HOOKS
    return None


def _leave(draft: Draft, entity: Entity, why: Leaving, limit: float) -> Entity:
    # Nobody expects to hear of one that starts: its silence counts from now on.
    heard = draft.now if entity.state is State.STARTING else entity.heartbeat
    return draft.change(
        entity,
        Change.LEAVE,
        leaving=why,
        deadline=draft.now + limit,
        heartbeat=heard,
        pressure=Pressure.NONE,
    )


def dump(draft: Draft, entity: Entity) -> None:
    """Have its stacks brought to the log."""
    if entity.pid is not None:
        draft.act(DumpStacks(entity.id, entity.incarnation, entity.pid))


def _kill(draft: Draft, entity: Entity) -> None:
    """SIGKILL. One that was never announced may still be forked by a fork server that stands still, so
    that one goes first; its death brings us back here."""
    draft.set(entity, deadline=draft.now + KILL_AGAIN)
    server = draft.helpers.get(entity.fork_server) if entity.fork_server else None
    if entity.pid is None and server is not None and server.is_live:
        draft.act(KillHelper(server.key))
    else:
        draft.act(Kill(entity.id, entity.incarnation, entity.pid))


def _drain_limit(draft: Draft, entity: Entity) -> float:
    if entity.drain is not None:
        return entity.drain + KILL_AFTER_DRAIN
    pool = draft.pools.get(entity.pool)
    return (pool.drain if pool else FOREIGN_DRAIN) + KILL_AFTER_DRAIN
