"""The memory of every live entity, measured for the core once a second, where a limit asks for it. What is
done about it is decided in core.

RSS costs microseconds, PSS over a millisecond, which at fifty entities would be a load of its own. So PSS is
read of a few entities in each second, and those that are not read are taken to have grown as their RSS did;
near the budget, all are read.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from temporal_fleet.supervisor.core.events import Measured, Reading
from temporal_fleet.supervisor.core.fleet import Entity, Fleet, MemoryLimits, RecyclePolicy, live
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.vitals import proportional_bytes, resident_bytes

INTERVAL = 1.0
NEAR = 0.9
"""Part of the budget from which it counts as near."""
_ALLOWANCE = 0.002
"""Seconds for reading PSS in one round, while the budget is not near."""


@dataclass(frozen=True)
class _Weight:
    pss: int
    rss: int
    """Of the same moment."""
    at: float

    def now(self, rss: int) -> int:
        return max(0, self.pss + rss - self.rss)


class Measuring:
    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._next = -math.inf
        self._weights: dict[int, _Weight] = {}
        """By PID."""

    def due(self, fleet: Fleet) -> float:
        """When the next round is; infinity while no limit asks for one."""
        return self._next if _is_wanted(fleet) else math.inf

    def measure(self, fleet: Fleet, now: float) -> Measured:
        self._next = now + INTERVAL
        entities = live(fleet.entities.values())
        resident = {e.pid: rss for e in entities if e.pid is not None and (rss := resident_bytes(e.pid))}
        proportional = self._weigh(resident, fleet.budget, now)
        return Measured(
            tuple(
                self._reading(entity, rss, proportional.get(entity.pid))
                for entity in entities
                if entity.pid is not None and (rss := resident.get(entity.pid)) is not None
            )
        )

    def _reading(self, entity: Entity, rss: int, pss: int | None) -> Reading:
        heartbeat = self._heartbeats.of(entity)
        return Reading(
            entity=entity.id,
            incarnation=entity.incarnation,
            rss=rss,
            pss=pss,
            cached=heartbeat.cached_executions if heartbeat else 0,
            blocked=heartbeat.blocked_executions if heartbeat else 0,
            tasks=heartbeat.tasks if heartbeat else 0,
        )

    def _weigh(self, resident: Mapping[int, int], budget: int | None, now: float) -> dict[int, int]:
        """PSS by PID; empty when not even all RSS together are near the budget."""
        if budget is None or sum(resident.values()) <= NEAR * budget:
            self._weights.clear()
            return {}
        self._weights = {pid: weight for pid, weight in self._weights.items() if pid in resident}
        estimate = sum(self._weights[pid].now(rss) for pid, rss in resident.items() if pid in self._weights)
        is_near = estimate > NEAR * budget
        began = time.monotonic()
        for pid in sorted(resident, key=self._last_read):
            spent = time.monotonic() - began
            if pid in self._weights and not is_near and spent >= _ALLOWANCE:
                break
            if (pss := proportional_bytes(pid)) is not None:
                self._weights[pid] = _Weight(pss, resident[pid], now)
        return {pid: weight.now(resident[pid]) for pid, weight in self._weights.items()}

    def _last_read(self, pid: int) -> float:
        return self._weights[pid].at if pid in self._weights else -math.inf


def _is_wanted(fleet: Fleet) -> bool:
    return fleet.budget is not None or any(
        pool.memory != MemoryLimits() or pool.recycle != RecyclePolicy() for pool in fleet.pools.values()
    )
