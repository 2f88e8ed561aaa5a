"""The memory of every live entity, measured for the core once a second, where a limit asks for it. What is
done about it is decided in core.

RSS costs microseconds, PSS over ten milliseconds for each GiB, which at fifty entities would be a load of its
own. So PSS is read of some entities in each second, the oldest reading first, and those that are not read are
taken to have grown as their RSS did; near the budget, of more of them. One that was never read is taken to
share as much of its memory as those that were.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from temporal_fleet.supervisor.core.events import Measured, Reading
from temporal_fleet.supervisor.core.fleet import Entity, Fleet, MemoryLimits, RecyclePolicy, live
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.vitals import proportional_bytes, resident_bytes

INTERVAL = 1.0
NEAR = 0.9
"""Part of the budget from which it counts as near."""
ALLOWANCE = 0.002
"""Seconds after which no further PSS is read in one round, while the budget is known not to be near."""
NEAR_ALLOWANCE = 0.05
"""The same, else."""


@dataclass(frozen=True)
class _Weight:
    pss: int
    rss: int
    """Of the same moment."""
    at: float

    def now(self, rss: int) -> int:
        return max(0, self.pss + rss - self.rss)


class Measuring:
    def __init__(
        self,
        heartbeats: Heartbeats,
        read_pss: Callable[[int], int | None] = proportional_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heartbeats = heartbeats
        self._read_pss = read_pss
        self._clock = clock
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
        is_known = len(self._weights) == len(resident)
        is_near = sum(self._estimate(resident).values()) > NEAR * budget
        until = self._clock() + (ALLOWANCE if is_known and not is_near else NEAR_ALLOWANCE)
        for pid in sorted(resident, key=self._last_read):
            if (pss := self._read_pss(pid)) is not None:
                self._weights[pid] = _Weight(pss, resident[pid], now)
            if self._clock() >= until:
                break
        return self._estimate(resident)

    def _estimate(self, resident: Mapping[int, int]) -> dict[int, int]:
        """PSS by PID, as far as readings tell; empty without any."""
        known = {pid: weight.now(resident[pid]) for pid, weight in self._weights.items()}
        if not known:
            return {}
        own = sum(known.values()) / sum(resident[pid] for pid in known)
        return {pid: known[pid] if pid in known else int(own * rss) for pid, rss in resident.items()}

    def _last_read(self, pid: int) -> float:
        return self._weights[pid].at if pid in self._weights else -math.inf


def _is_wanted(fleet: Fleet) -> bool:
    return fleet.budget is not None or any(
        pool.memory != MemoryLimits() or pool.recycle != RecyclePolicy() for pool in fleet.pools.values()
    )
