"""The reference of metrics: those of a fleet of one pool and one entity to which everything has happened
once, as they would be scraped."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from prometheus_client.core import Metric

from docs.generators.markdown import code, table
from temporal_fleet.entity.metrics import COUNTED, EntityMetrics
from temporal_fleet.protocol.metrics import MetricsFile, read_metrics
from temporal_fleet.protocol.report import StatusReport
from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.estate import Life, Recovery, RecoveryState
from temporal_fleet.supervisor.core.fleet import Fleet, Pool
from temporal_fleet.supervisor.shell.tally import CAUSES, Tally
from temporal_fleet.supervisor.web.exposition import OURS, Measured, families

_HEAD = """\
# Metrics

With `[fleet] http` a fleet serves `/metrics`: the numbers of the fleet below, and of every entity each
metric of the SDK and of its program, with the labels `pool` and `entity`. What the SDK measures stands in
[its own reference](https://docs.temporal.io/references/sdk-metrics); names and buckets are those of its own
exporter.

Counters of an entity go on where the life before ended; those of the fleet (deaths, restarts, recoveries,
changes, events) begin anew with each supervisor, also after `upgrade`. `deploy/prometheus/` has a scrape
config and alert rules (each has a section in the [runbook](../runbook.md#alerts)), `deploy/grafana/` a
dashboard.
"""

_LIFE = Life("orders-1", 1)


def page() -> str:
    rows = [
        (code(_scraped(metric)), metric.type, ", ".join(map(code, _labels(metric))), metric.documentation)
        for metric in fleets_own()
    ]
    causes = ", ".join(map(code, CAUSES))
    return "\n".join(
        [
            _HEAD,
            table(["Name", "Type", "Labels", ""], rows),
            f"`cause` is one of {causes}. `kind` is that of an [event](events.md).\n",
        ]
    )


def fleets_own() -> list[Metric]:
    """Those that are ours, in the order in which they are shown."""
    shown = families(
        Measured(
            answers=True,
            status=_status(),
            counted=_tally().families(_fleet()),
            files={_LIFE.entity: _file()},
            pss={_LIFE.entity: 1},
        )
    )
    return [metric for metric in shown if metric.name.startswith(OURS)]


def _scraped(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric) -> list[str]:
    labels: Mapping[str, str] = metric.samples[0].labels
    return [label for label in labels if label != "le"]


def _status() -> StatusReport:
    return msgspec.convert(
        {
            "fleet": {
                **{"name": "shop", "pid": 1, "state": "running", "generation": 1, "uptime_s": 1.0},
                **{"run_dir": "", "config": None, "reason": "", "rss_bytes": 1, "dropped_messages": 0},
                "memory_budget_bytes": 1,
            },
            "cluster": {"address": "", "namespace": "default", "reachable": True, "reason": "", "ui": None},
            "pools": [
                {"name": "orders", "program": "", "task_queue": "", "desired": 1, "ready": 1, "reason": ""}
            ],
            "entities": [
                {
                    **{"id": _LIFE.entity, "pool": "orders", "pid": 2, "state": "ready"},
                    **{"incarnation": _LIFE.incarnation, "restarts": 0, "rss_bytes": 1, "pss_bytes": 1},
                    **{"cached_executions": 0, "blocked_executions": 0, "evictions": 0, "resurrections": 0},
                    **{"inflight_activities": 0, "uptime_s": 1.0, "last_exit": None, "reason": ""},
                    "heartbeat_age_s": 1.0,
                }
            ],
        },
        StatusReport,
    )


def _fleet() -> Fleet:
    program = ProgramSpec(program="shop", path="", task_queue="orders")
    recovery = Recovery(_LIFE, RecoveryState.ORDERED, 0.0, 60.0, None, "")
    return Fleet(
        embedded=False, pools={"orders": Pool("orders", 1, program, "", "")}, recoveries={_LIFE: recovery}
    )


def _tally() -> Tally:
    tally = Tally()
    fleet = _fleet()
    tally.count(fleet, events.Recovered(_LIFE, 0, 0, 0, 0, 0, 0.0, ""), fleet, (), 1.0)
    tally.told("entity.ready", Level.INFO)
    return tally


def _file() -> MetricsFile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders-1.metrics"
        path.touch()
        metrics = EntityMetrics(path, _LIFE.entity, _LIFE.incarnation)
        for name in COUNTED:
            metrics.count(name, 0)
        metrics.resurrected(0.01)
        metrics.close()
        return read_metrics(path)
