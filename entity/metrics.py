"""What an entity measures: every metric of the SDK, those that its program records through it, and a few of
our own, folded into numbers and left in the entity's file. Where that stands, and that a life goes on from
what the one before counted, is in protocol.metrics. No judgement, no sending.
"""

import logging
from pathlib import Path

from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BufferedMetricUpdate,
)

from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.metrics import Meter, MetricsFile, encode_metrics, read_metrics, write_metrics

SERIES = 2000
"""At most, of all metrics together: a program with an order's number in a label must not fill memory."""
WRITE_EVERY = 2.0
"""Seconds. What was counted since the last time is lost by a kill."""

_OURS = "temporal_fleet_"

# Those of the SDK's own exporter for Prometheus, in seconds.
_LATENCY = (0.05, 0.1, 0.5, 1.0, 2.5, 10.0)
_ACTIVITY = (0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
_SCHEDULE_TO_START = (0.1, 0.5, 1.0, 5.0, 10.0, 100.0, 1000.0)
_WORKFLOW_TASK = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_WORKFLOW = (0.1, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 30_600, 86_400)
_BUCKETS = {
    "temporal_activity_execution_latency": _ACTIVITY,
    "temporal_activity_schedule_to_start_latency": _SCHEDULE_TO_START,
    "temporal_workflow_endtoend_latency": _WORKFLOW,
    "temporal_workflow_task_execution_latency": _WORKFLOW_TASK,
    "temporal_workflow_task_replay_latency": _WORKFLOW_TASK,
    "temporal_workflow_task_schedule_to_start_latency": _SCHEDULE_TO_START,
}
_MILLISECONDS = tuple(1000 * bound for bound in _LATENCY)
"""For what a program records in whole milliseconds."""

COUNTED = {
    "evictions": "Executions that left the cache before they were closed",
    "resurrections": "Executions that came into the cache with a history",
    "tasks": "Workflow, activity and Nexus tasks taken",
}
"""Counters of our own, and what each counts."""

_RESURRECTION = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

_logger = logging.getLogger(__name__)


class EntityMetrics:
    """For the event loop of one life."""

    def __init__(self, path: Path, entity: str, incarnation: int) -> None:
        self._path = path
        self._entity = entity
        self._incarnation = incarnation
        self._meter = Meter(SERIES)
        self._counted: dict[str, int] = {}
        """Of our own counters: how far this life was when it was last told."""
        self._due = 0.0
        self._changed = False
        self._troubled = False
        self._sequence = 0
        try:
            former = read_metrics(path)
        except FileNotFoundError:
            return
        except (OSError, PeerRubbish) as error:
            _logger.warning("its metrics begin anew: %s", error)
            return
        self._sequence = former.sequence
        self._meter.inherit(former.families)
        self._meter.dropped = former.dropped

    def take(self, update: BufferedMetricUpdate) -> None:
        metric = update.metric
        self._changed = True
        if metric.name.startswith(_OURS):
            # A program must not speak for the fleet.
            self._meter.dropped += 1
            return
        labels = {key: _text(value) for key, value in update.attributes.items()}
        about = {"help": metric.description or "", "unit": metric.unit or ""}
        if metric.kind == BUFFERED_METRIC_KIND_COUNTER:
            self._meter.add(metric.name, labels, update.value, **about)
        elif metric.kind == BUFFERED_METRIC_KIND_GAUGE:
            self._meter.put(metric.name, labels, update.value, **about)
        else:
            buckets = _MILLISECONDS if metric.unit == "ms" else _BUCKETS.get(metric.name, _LATENCY)
            self._meter.observe(metric.name, labels, update.value, buckets, **about)

    def count(self, name: str, so_far: int) -> None:
        """A counter of our own, by how far it has come in this life. `name`: one of COUNTED."""
        grown = so_far - self._counted.get(name, 0)
        self._counted[name] = so_far
        self._meter.add(f"{_OURS}entity_{name}", {}, grown, help=COUNTED[name])
        self._changed = self._changed or grown > 0

    def resurrected(self, seconds: float) -> None:
        help = "From the task that brings an evicted execution back until it is replayed and answered"
        self._meter.observe(f"{_OURS}resurrection_duration", {}, seconds, _RESURRECTION, help=help, unit="s")

    def write(self, now: float) -> None:
        """If it is time to, and there is something new."""
        if self._changed and now >= self._due:
            self._due = now + WRITE_EVERY
            self._write()

    def close(self) -> None:
        """Write the last of it."""
        self._write()

    def _write(self) -> None:
        """In the event loop, as the black box is: a thread for it would cost each entity more memory than all
        its metrics. What becomes of it is told when that changes."""
        self._changed = False
        self._sequence += 1
        try:
            write_metrics(self._path, self._encoded(), self._sequence)
        except OSError as error:
            if not self._troubled:
                _logger.warning("its metrics cannot be written, and stay as they are: %s", error)
            self._troubled = True
        else:
            self._troubled = False

    def _encoded(self) -> bytes:
        return encode_metrics(
            MetricsFile(
                entity=self._entity,
                incarnation=self._incarnation,
                sequence=self._sequence,
                families=self._meter.families(),
                dropped=self._meter.dropped,
            )
        )


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
