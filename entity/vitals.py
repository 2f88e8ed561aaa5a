"""How an entity polls, read from the SDK's own metrics; all of them go on to be measured. No judgement, no
sending."""

from collections.abc import Sequence

from temporalio.runtime import BufferedMetricUpdate, MetricBuffer, MetricBufferDurationFormat

from temporal_fleet.entity.metrics import EntityMetrics

BUFFER_SIZE = 4096
"""Updates between two drains. Each costs about 90 bytes of every entity's memory, used or not."""

_CROWDED = BUFFER_SIZE // 4
_QUIET_INTERVAL = 1.0
_BUSY_INTERVAL = 0.1

_POLLERS = "temporal_num_pollers"


class Vitals:
    """Folds the SDK's metric updates of one Task Queue into the number of its pollers."""

    def __init__(self, task_queue: str, metrics: EntityMetrics) -> None:
        self.buffer = MetricBuffer(BUFFER_SIZE, MetricBufferDurationFormat.SECONDS)
        self._metrics = metrics
        self._task_queue = task_queue
        self._pollers: dict[str, int] = {}

    def drain(self) -> float:
        """Take in what the SDK recorded; return the seconds until it is wise to do so again."""
        updates = self._retrieve()
        for update in updates:
            self._take(update)
            self._metrics.take(update)
        return _BUSY_INTERVAL if len(updates) > _CROWDED else _QUIET_INTERVAL

    def polls(self, poller_types: frozenset[str]) -> bool:
        """Whether there is a poller of each of these types."""
        return all(self._pollers.get(poller_type, 0) > 0 for poller_type in poller_types)

    @property
    def pollers(self) -> int:
        return sum(self._pollers.values())

    def _retrieve(self) -> Sequence[BufferedMetricUpdate]:
        """None where the SDK panics: the first of a metric was lost, since the buffer was full then, and it
        knows nothing of what follows (1.35.0). That is no reason for an entity to die."""
        try:
            return self.buffer.retrieve_updates()
        except BaseException as error:
            # Not an Exception, and of a type that nobody can import.
            if type(error).__name__ != "PanicException":
                raise
            return ()

    def _take(self, update: BufferedMetricUpdate) -> None:
        # The SDK polls a queue of its own too, for commands to the worker.
        if update.metric.name == _POLLERS and update.attributes["task_queue"] == self._task_queue:
            self._pollers[str(update.attributes["poller_type"])] = int(update.value)
