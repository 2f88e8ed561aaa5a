"""What a service manager is told of the fleet, as values: its stage, a line about it, how much more time it
needs. How and when that is told does not belong here.

    starting   some pool has nobody yet who polls
    ready      each had somebody; what happens to them later is told by the line
    reloading  a change is on its way: until the fleet has converged, or the change failed
    stopping   told to stop
"""

from collections.abc import Iterable
from enum import Enum

from temporal_fleet.supervisor.core.fleet import Fleet, Phase, effective
from temporal_fleet.supervisor.core.helpers import STOP_LIMIT
from temporal_fleet.supervisor.core.lives import KILL_AFTER_DRAIN
from temporal_fleet.supervisor.core.recoveries import LAST_WAIT
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import FleetState, fleet_state, ready_count

EXTENSION = 30.0
"""Seconds that are asked for at a time: longer than the supervisor's loop ever takes to ask again."""
AFTER_DRAIN = KILL_AFTER_DRAIN + LAST_WAIT + 2 * STOP_LIMIT + 10.0
"""Seconds from the end of a drain to that of the supervisor, at most: a kill, the recovery of what it left,
the agent's end and the dev server's, and what else there may be to end."""
_LONGEST_REASON = 400
_GAVE_UP = frozenset({State.FAILED, State.STOPPED})


class Stage(Enum):
    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


def next_stage(before: Stage, fleet: Fleet) -> Stage:
    """The stage of a fleet that was at `before` when it was looked at last."""
    if fleet.phase is not Phase.RUNNING:
        return Stage.STOPPING
    if before is Stage.STARTING:
        return Stage.READY if _is_served(fleet) else Stage.STARTING
    is_changing = bool(fleet.pending or fleet.waiting or fleet.roll)
    return Stage.RELOADING if is_changing else Stage.READY


def extension(stage: Stage, fleet: Fleet) -> float:
    """Seconds that the fleet needs at least before it counts as one that hangs at this stage; 0: its time is
    not to be extended.

    A fleet that starts gets it as long as anything of it works or may come to: what works is not stopped for
    what does not.
    """
    if stage is Stage.READY:
        return 0.0
    gave_up = all(entity.state in _GAVE_UP for entity in fleet.entities.values())
    return 0.0 if stage is Stage.STARTING and gave_up else EXTENSION


def longest_stop(drains: Iterable[float]) -> float:
    """Seconds from a stop to the end of the supervisor. `drains`: of the pools."""
    return max(drains, default=0.0) + AFTER_DRAIN


def summary(fleet: Fleet, cached: int) -> str:
    """One line. `cached`: executions in the caches of all entities."""
    pools = [effective(pool, fleet.drained) for pool in fleet.pools.values()]
    ready = sum(ready_count(fleet, pool.name) for pool in pools)
    desired = sum(pool.desired for pool in pools)
    counts = (
        f"{ready}/{desired} {'entity' if desired == 1 else 'entities'} ready "
        f"in {len(pools)} {'pool' if len(pools) == 1 else 'pools'}; "
        f"{cached} {'execution' if cached == 1 else 'executions'} cached"
    )
    state, reason = fleet_state(fleet)
    if state is FleetState.RUNNING:
        return counts
    told = " ".join(reason.split())
    told = told if len(told) <= _LONGEST_REASON else f"{told[: _LONGEST_REASON - 1]}…"
    return f"{state.value}{': ' if told else ''}{told}; {counts}"


def _is_served(fleet: Fleet) -> bool:
    """Whether every pool that is to have entities has one that polls."""
    pools = [effective(pool, fleet.drained) for pool in fleet.pools.values()]
    return all(ready_count(fleet, pool.name) for pool in pools if pool.desired)
