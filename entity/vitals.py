"""How an entity is doing, read from the SDK's own metrics. No judgement, no sending."""

from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.runtime import BufferedMetricUpdate, MetricBuffer

BUFFER_SIZE = 4096
"""Updates between two drains. Each costs about 90 bytes of every entity's memory, used or not."""

_CROWDED = BUFFER_SIZE // 4
_QUIET_INTERVAL = 1.0
_BUSY_INTERVAL = 0.1

_POLLERS = "temporal_num_pollers"
_SLOTS_USED = "temporal_worker_task_slots_used"
_CACHE_SIZE = "temporal_sticky_cache_size"
_EVICTIONS = "temporal_sticky_cache_total_forced_eviction"
_CACHE_MISSES = "temporal_sticky_cache_miss"


@dataclass(frozen=True)
class VitalSigns:
    cached_executions: int
    blocked_executions: int
    evictions: int
    resurrections: int
    """Those that the SDK tells of: an execution came back to the entity that had evicted it. It has no metric
    for one that another entity had."""
    inflight_activities: int
    pollers: int


class Vitals:
    """Folds the SDK's metric updates of one Task Queue into a few numbers."""

    def __init__(self, task_queue: str) -> None:
        self.buffer = MetricBuffer(BUFFER_SIZE)
        self._task_queue = task_queue
        self._pollers: dict[str, int] = {}
        self._slots_used: dict[str, int] = {}
        self._cached = 0
        self._evictions = 0
        self._resurrections = 0

    def drain(self) -> float:
        """Take in what the SDK recorded; return the seconds until it is wise to do so again."""
        updates: Sequence[BufferedMetricUpdate] = self.buffer.retrieve_updates()
        for update in updates:
            self._take(update)
        return _BUSY_INTERVAL if len(updates) > _CROWDED else _QUIET_INTERVAL

    def polls(self, poller_types: frozenset[str]) -> bool:
        """Whether there is a poller of each of these types."""
        return all(self._pollers.get(poller_type, 0) > 0 for poller_type in poller_types)

    def signs(self) -> VitalSigns:
        return VitalSigns(
            cached_executions=self._cached,
            # The two gauges are not of one instant.
            blocked_executions=max(0, self._cached - self._slots_used.get("WorkflowWorker", 0)),
            evictions=self._evictions,
            resurrections=self._resurrections,
            inflight_activities=self._slots_used.get("ActivityWorker", 0),
            pollers=sum(self._pollers.values()),
        )

    def _take(self, update: BufferedMetricUpdate) -> None:
        name = update.metric.name
        if name == _CACHE_SIZE:
            self._cached = int(update.value)
        elif name == _EVICTIONS:
            self._evictions += int(update.value)
        elif name == _CACHE_MISSES:
            self._resurrections += int(update.value)
        # The SDK polls a queue of its own too, for commands to the worker.
        elif name == _POLLERS and update.attributes["task_queue"] == self._task_queue:
            self._pollers[str(update.attributes["poller_type"])] = int(update.value)
        elif name == _SLOTS_USED and update.attributes["task_queue"] == self._task_queue:
            self._slots_used[str(update.attributes["worker_type"])] = int(update.value)
