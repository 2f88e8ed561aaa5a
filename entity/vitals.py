"""How an entity polls, read from the SDK's own metrics; all of them go on to be measured. No judgement, no
sending."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from temporalio.runtime import BufferedMetricUpdate, MetricBuffer, MetricBufferDurationFormat

from temporal_fleet.entity.metrics import EntityMetrics
from temporal_fleet.protocol.messages import Slots

BUFFER_SIZE = 4096
"""Updates between two drains. Each costs about 90 bytes of every entity's memory, used or not."""

LONGEST_POLL = 70.0
"""Seconds after which the SDK's core (1.35) gives up a poll that brought nothing, and polls anew."""

_CROWDED = BUFFER_SIZE // 4
_QUIET_INTERVAL = 1.0
_BUSY_INTERVAL = 0.1

_POLLERS = "temporal_num_pollers"
_FREE = "temporal_worker_task_slots_available"
_USED = "temporal_worker_task_slots_used"
_GAUGES = frozenset({_POLLERS, _FREE, _USED})
_POLLED = "temporal_long_request_latency"

_WORKERS = {
    "WorkflowWorker": "workflow_task",
    "ActivityWorker": "activity_task",
    "NexusWorker": "nexus_task",
}
_POLLS = {
    "PollWorkflowTaskQueue": "workflow_task",
    "PollActivityTaskQueue": "activity_task",
    "PollNexusTaskQueue": "nexus_task",
}


@dataclass
class Kind:
    """One kind of tasks, by the name of its poller: who polls for it, and which slots there are.

    A poller comes and goes with each task, and there is none while each slot is taken. In an outage of the
    Cluster the pollers stay: each tries again and again (1.35).
    """

    pollers: dict[str, int] = field(default_factory=dict)
    """By poller type: Workflow Tasks have a sticky one beside the normal one."""
    used: int = 0
    free: int | None = None
    """None: the slots have no number, or their supplier does not tell it."""
    absent_since: float | None = None
    """No poller, though a slot is free."""
    polled_at: float | None = None
    """When a poll came back last, with whatever, or the first one began; None: nobody polls."""

    @property
    def slots(self) -> int | None:
        """How many there are, where none of them is free."""
        return self.used if self.free == 0 else None

    def look(self, now: float) -> None:
        if any(self.pollers.values()):
            self.absent_since = None
            self.polled_at = self.polled_at or now
            return
        self.polled_at = None
        is_absent = bool(self.pollers) and (self.used == 0 if self.free is None else self.free > 0)
        self.absent_since = (self.absent_since or now) if is_absent else None


class Vitals:
    """Folds the SDK's metric updates of one Task Queue into who polls it."""

    def __init__(self, task_queue: str, metrics: EntityMetrics) -> None:
        self.buffer = MetricBuffer(BUFFER_SIZE, MetricBufferDurationFormat.SECONDS)
        self._metrics = metrics
        self._task_queue = task_queue
        self._kinds = {kind: Kind() for kind in _WORKERS.values()}
        self._dropped = 0

    def drain(self) -> float:
        """Take in what the SDK recorded; return the seconds until it is wise to do so again."""
        updates = self._retrieve()
        now = time.monotonic()
        for update in updates:
            self._take(update, now)
            self._metrics.take(update)
        return _BUSY_INTERVAL if len(updates) > _CROWDED else _QUIET_INTERVAL

    def dropped(self, metrics: int) -> None:
        """So many updates were lost by now. What seems amiss may be that, until it is seen again."""
        if metrics != self._dropped:
            self._dropped = metrics
            self._doubt()

    def _doubt(self) -> None:
        for kind in self._kinds.values():
            kind.absent_since = kind.polled_at = None

    def polls(self, poller_types: frozenset[str]) -> bool:
        """Whether there is a poller of each of these types."""
        return all(self._kinds[kind].pollers.get(kind, 0) > 0 for kind in poller_types)

    def unpolled(self, pauses: Mapping[str, float]) -> tuple[str, float]:
        """What of these kinds is not polled for though it could be, in words, and for how many seconds beyond
        the pause that each may make."""
        now = time.monotonic()
        worst = "", 0.0
        for name, pause in pauses.items():
            kind = self._kinds[name]
            if kind.absent_since is not None:
                absent = now - kind.absent_since - pause
                worst = max(worst, (f"no {name} poller", absent), key=_duration)
            elif kind.polled_at is not None and now - kind.polled_at > LONGEST_POLL:
                late = now - kind.polled_at - LONGEST_POLL
                worst = max(worst, (f"no {name} poll came back in time", late), key=_duration)
        return worst

    def slots(self, kind: str) -> int | None:
        """How many there are for this kind of tasks, where none of them is free."""
        return self._kinds[kind].slots

    def usage(self, kind: str) -> Slots | None:
        """None while the SDK has told nothing."""
        told = self._kinds[kind]
        return Slots(told.used, told.free) if told.used or told.free is not None else None

    @property
    def pollers(self) -> int:
        return sum(sum(kind.pollers.values()) for kind in self._kinds.values())

    def _retrieve(self) -> Sequence[BufferedMetricUpdate]:
        """None where the SDK panics: the first of a metric was lost, since the buffer was full then, and it
        knows nothing of what follows (1.35.0). That is no reason for an entity to die, or to be taken for one
        that does not poll."""
        try:
            return self.buffer.retrieve_updates()
        except BaseException as error:
            # Not an Exception, and of a type that nobody can import.
            if type(error).__name__ != "PanicException":
                raise
            self._doubt()
            return ()

    def _take(self, update: BufferedMetricUpdate, now: float) -> None:
        name = update.metric.name
        if name == _POLLED:
            polled = self._kinds.get(_POLLS.get(str(update.attributes["operation"]), ""))
            if polled is not None and polled.polled_at is not None:
                polled.polled_at = now
            return
        # The SDK polls a queue of its own too, for commands to the worker.
        if name not in _GAUGES or update.attributes["task_queue"] != self._task_queue:
            return
        poller_type = str(update.attributes.get("poller_type", ""))
        worker_type = str(update.attributes.get("worker_type", ""))
        kind = self._kinds.get(poller_type.removeprefix("sticky_") or _WORKERS.get(worker_type, ""))
        if kind is None:
            return
        value = int(update.value)
        if name == _POLLERS:
            kind.pollers[poller_type] = value
        elif name == _FREE:
            kind.free = value
        else:
            kind.used = value
        kind.look(now)


def _duration(told: tuple[str, float]) -> float:
    return told[1]
