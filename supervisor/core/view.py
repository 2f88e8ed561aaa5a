"""What an operator is told of a fleet: states and reasons, derived, never stored."""

from enum import Enum

from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Fleet,
    HelperState,
    Phase,
    Pool,
    Standing,
    effective,
    web_server,
)
from temporal_fleet.supervisor.core.gpus import why_it_waits
from temporal_fleet.supervisor.core.ledger import find
from temporal_fleet.supervisor.core.moves import is_outdated
from temporal_fleet.supervisor.core.states import State


class FleetState(Enum):
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    RELOADING = "reloading"
    DRAINING = "draining"
    STOPPED = "stopped"


def ready_count(fleet: Fleet, pool: str) -> int:
    return sum(e.state is State.READY for e in fleet.entities.values() if e.pool == pool)


def entity_reason(fleet: Fleet, entity: Entity) -> str:
    """Why a place is not ready, or not for long; empty where nothing is to be said."""
    pool = fleet.pools.get(entity.pool)
    if entity.state is State.WAITING and pool is not None:
        return _hold(fleet, pool) or entity.reason
    return entity.reason or (f"is recycled: {entity.recycle}" if entity.recycle else "")


def pool_reason(fleet: Fleet, pool: Pool) -> str:
    """The first thing that keeps a pool below its size; empty when nothing does."""
    if pool.name in fleet.drained:
        return f"drained: temporal-fleet resume {pool.name}"
    if ready_count(fleet, pool.name) >= pool.desired:
        return ""
    reasons = [entity_reason(fleet, entity) for entity in _staying(fleet, pool)]
    return _hold(fleet, pool) or next((reason for reason in reasons if reason), "")


def http(fleet: Fleet) -> tuple[str | None, str]:
    """Where the fleet is served over HTTP, None for nowhere; and why nowhere, where that is asked for."""
    helper = fleet.helpers.get(web_server(fleet.http)) if fleet.http else None
    if helper is None:
        return None, ""
    serves = helper.state is HelperState.READY and not helper.reason
    return (helper.address or None, "") if serves else (None, helper.reason or "starts")


def fleet_state(fleet: Fleet) -> tuple[FleetState, str]:
    """The state of the whole, and the reason when it is not simply running."""
    if fleet.phase is Phase.STOPPED:
        return FleetState.STOPPED, ""
    if fleet.phase is not Phase.RUNNING:
        live = sum(entity.is_live for entity in fleet.entities.values())
        dead = len(fleet.recoveries)
        if not live and dead:
            noun = "entity" if dead == 1 else "entities"
            return FleetState.DRAINING, f"what {dead} dead {noun} held is set free"
        return FleetState.DRAINING, f"{live} {'entity still runs' if live == 1 else 'entities still run'}"
    if fleet.pending is not None:
        return FleetState.RELOADING, fleet.pending.message
    if fleet.cluster.is_down:
        return FleetState.DEGRADED, fleet.cluster.hold(fleet.embedded)
    if fleet.roll is not None:
        return FleetState.RELOADING, find(fleet.changes, fleet.roll.change).message
    if refused := _refused(fleet):
        return FleetState.DEGRADED, refused
    if failed := next((e for e in fleet.entities.values() if e.state is State.FAILED), None):
        return FleetState.DEGRADED, failed.reason
    if _is_replacing(fleet):
        return FleetState.RELOADING, "entities are being replaced"
    lacking = [
        pool
        for pool in fleet.pools.values()
        if ready_count(fleet, pool.name) < effective(pool, fleet.drained).desired
    ]
    if not lacking:
        return FleetState.RUNNING, ""
    reason = next((reason for pool in lacking if (reason := pool_reason(fleet, pool))), "")
    if all(_is_starting(fleet, pool) for pool in lacking):
        return FleetState.STARTING, reason
    return FleetState.DEGRADED, reason


def _refused(fleet: Fleet) -> str:
    """Why nobody could be forked for a pool, though all that it has may work on; empty: somebody could."""
    servers = (fleet.helpers.get(pool.fork_server) for pool in fleet.pools.values())
    return next((s.reason for s in servers if s is not None and s.state is HelperState.REFUSED), "")


def _is_replacing(fleet: Fleet) -> bool:
    """Though no change is rolling: entities are recycled, or a change was taken back."""
    pools = [effective(pool, fleet.drained) for pool in fleet.pools.values()]
    return any(
        is_outdated(pool, entity) or (entity.is_live and entity.standing is Standing.STAND_IN)
        for pool in pools
        for entity in fleet.members(pool.name)
    )


def _is_starting(fleet: Fleet, pool: Pool) -> bool:
    """Nothing went wrong yet, it is only not there yet."""
    return all(
        entity.state is State.READY
        or (entity.state in {State.WAITING, State.STARTING} and entity.last_exit is None)
        for entity in _staying(fleet, pool)
    )


def _staying(fleet: Fleet, pool: Pool) -> list[Entity]:
    return [entity for entity in fleet.members(pool.name) if entity.standing is not Standing.RETIRED]


def _hold(fleet: Fleet, pool: Pool) -> str:
    server = fleet.helpers.get(pool.fork_server)
    if server is None or server.state is not HelperState.READY:
        return server.reason if server and server.reason else f"imports {pool.program.program}"
    return fleet.cluster.hold(fleet.embedded) or why_it_waits(pool, fleet.entities.values())
