"""Everything measured as Prometheus wants it: the fleet's report, what the supervisor counted, and what every
entity wrote, each of its series with `pool` and `entity`. Values in, text out.

Names of the SDK's metrics are those of its own exporter with `counters_total_suffix`, `unit_suffix` and
`durations_as_seconds`: what Prometheus recommends, and what dashboards for the SDKs expect.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isinf

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from temporal_fleet.protocol.metrics import Family, Kind, MetricsFile, Series
from temporal_fleet.protocol.report import EntityReport, StatusReport
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import FleetState
from temporal_fleet.supervisor.web.health import polling

OURS = "temporal_fleet_"

_UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}
_NO_NAME = re.compile(r"[^a-zA-Z0-9_]")


@dataclass(frozen=True)
class Measured:
    """All that one scrape shows."""

    answers: bool
    """Whether the supervisor does. If not, what follows is what it said last."""
    status: StatusReport | None
    counted: list[Family]
    files: Mapping[str, MetricsFile]
    """By entity."""
    pss: Mapping[str, int]
    """Bytes by entity, of those whose PSS may be read."""


class _Metrics(Collector):
    """In the shape that prometheus_client writes."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(measured: Measured, accept: str) -> tuple[bytes, str]:
    """The text, and its content type: OpenMetrics for whoever accepts it."""
    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):
        # A version that is none.
        encode, content_type = choose_encoder("")
    return encode(_Metrics(families(measured))), content_type


def families(measured: Measured) -> list[Metric]:
    shown = _Book()
    _fleet(shown, measured)
    if measured.status is not None:
        for entity in measured.status.entities:
            file = measured.files.get(entity.id)
            if file is not None:
                _entity_file(shown, entity, file)
    shown.gauge(
        "metrics_refused_series", "Series that cannot be shown: two meanings of one name", shown.refused
    )
    return list(shown.metrics.values())


class _Book:
    """Metrics by name. A name has one kind, a set of labels one value: what contradicts that is refused,
    since it would cost the whole scrape."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}
        self.refused = 0
        self._seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()

    def gauge(self, name: str, help: str, value: float, **labels: str) -> None:
        self.add(Family(name=OURS + name, kind=Kind.GAUGE, help=help), Series(labels=labels, value=value), {})

    def counter(self, name: str, help: str, value: float, **labels: str) -> None:
        self.add(
            Family(name=OURS + name, kind=Kind.COUNTER, help=help), Series(labels=labels, value=value), {}
        )

    def add(self, family: Family, series: Series, more: Mapping[str, str]) -> None:
        """One series, with `more` labels, which take precedence."""
        name = _metric_name(family)
        metric = self.metrics.get(name)
        if metric is None:
            metric = self.metrics[name] = Metric(name, family.help or name, family.kind.value)
        labels = _labels(series.labels, more)
        key = name, frozenset(labels.items())
        if metric.type != family.kind.value or key in self._seen:
            self.refused += 1
            return
        self._seen.add(key)
        if family.kind is Kind.HISTOGRAM:
            total = 0
            for bound, count in zip((*family.buckets, float("inf")), series.counts, strict=True):
                total += count
                metric.add_sample(
                    f"{name}_bucket", {**labels, "le": "+Inf" if isinf(bound) else repr(bound)}, total
                )
            metric.add_sample(f"{name}_count", labels, total)
            metric.add_sample(f"{name}_sum", labels, series.value)
        else:
            suffix = "_total" if family.kind is Kind.COUNTER else ""
            metric.add_sample(name + suffix, labels, series.value)


def _metric_name(family: Family) -> str:
    name = _NO_NAME.sub("_", family.name)
    if name[:1].isdecimal() or not name:
        name = f"_{name}"
    unit = _NO_NAME.sub("_", _UNITS.get(family.unit, family.unit))
    if family.kind is Kind.COUNTER:
        name = name.removesuffix("_total")
    return name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"


def _labels(own: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """A label of a program's own that is called as one of ours gets `exported_` before it, as Prometheus
    itself does it."""
    labels = dict(more)
    for key, value in own.items():
        name = _NO_NAME.sub("_", key)
        if name[:1].isdecimal() or name.startswith("__") or name in more or name == "le":
            name = f"exported_{name.lstrip('_')}"
        labels[name] = value
    return labels


def _entity_file(shown: _Book, entity: EntityReport, file: MetricsFile) -> None:
    """What was measured is of now only where that very life goes on."""
    ours = {"pool": entity.pool, "entity": entity.id}
    lives = entity.pid is not None and entity.incarnation == file.incarnation
    for family in file.families:
        if family.kind is Kind.GAUGE and not lives:
            continue
        for series in family.series:
            shown.add(family, series, ours)
    shown.counter(
        "metrics_dropped", "Updates of metrics that found no room in an entity", file.dropped, **ours
    )


def _fleet(shown: _Book, measured: Measured) -> None:
    shown.gauge("supervisor_answers", "1: the supervisor's loop answers; 0: it hangs", measured.answers)
    status = measured.status
    if status is None:
        return
    fleet = status.fleet
    shown.gauge("info", "1, with what the fleet is", 1, fleet=fleet.name, namespace=status.cluster.namespace)
    for state in FleetState:
        shown.gauge("state", "1: the fleet is in this state", state.value == fleet.state, state=state.value)
    shown.gauge("generation", "Of the config in force", fleet.generation)
    shown.gauge("uptime_seconds", "Of the supervisor", fleet.uptime_s)
    shown.gauge("supervisor_memory_rss_bytes", "RSS of the supervisor", fleet.rss_bytes)
    shown.counter("dropped_messages", "Messages that the supervisor dropped", fleet.dropped_messages)
    shown.gauge("cluster_reachable", "1: the Cluster answers", status.cluster.reachable)
    shown.gauge("poison_suspects", "What was in hand at more than one death", status.suspects_total)
    shown.gauge("recoveries_pending", "Dead entities whose work is not free yet", status.recoveries_total)
    shown.gauge(
        "recovery_oldest_seconds",
        "Since the death of the one that has waited longest; 0: there is none",
        max((recovery.since_s for recovery in status.recoveries), default=0),
    )
    if fleet.memory_budget_bytes is not None:
        shown.gauge("memory_budget_bytes", "[fleet] memory_budget", fleet.memory_budget_bytes)
    _memory(shown, "memory", status.entities, measured.pss)
    for pool in status.pools:
        mine = [entity for entity in status.entities if entity.pool == pool.name]
        shown.gauge("pool_entities_desired", "Entities that there are to be", pool.desired, pool=pool.name)
        at_work = "Entities that poll, or whose slots are all taken"
        shown.gauge("pool_entities_polling", at_work, polling(status, pool.name), pool=pool.name)
        shown.gauge("pool_drained", "1: kept at zero until it is resumed", pool.drained, pool=pool.name)
        for one in State:
            there = sum(entity.state == one.value for entity in mine)
            shown.gauge("pool_entities", "Entities by state", there, pool=pool.name, state=one.value)
        _memory(shown, "pool_memory", mine, measured.pss, pool=pool.name)
    for entity in status.entities:
        _entity(shown, entity, measured.pss)
    for family in measured.counted:
        for series in family.series:
            shown.add(family, series, {})


def _entity(shown: _Book, entity: EntityReport, pss: Mapping[str, int]) -> None:
    ours = {"pool": entity.pool, "entity": entity.id}
    shown.gauge("entity_incarnation", "Which life of the entity it is", entity.incarnation, **ours)
    if entity.pid is None:
        return
    _memory(shown, "entity_memory", [entity], pss, **ours)
    shown.gauge("entity_uptime_seconds", "Of this life", entity.uptime_s, **ours)
    if entity.heartbeat_age_s is not None:
        shown.gauge(
            "entity_heartbeat_age_seconds", "Since its last heartbeat", entity.heartbeat_age_s, **ours
        )
    for name, help, value in (
        ("cached_executions", "Workflow Executions in its cache", entity.cached_executions),
        ("blocked_executions", "Those of them that wait for an event", entity.blocked_executions),
        ("inflight_activities", "Activities in its hands", entity.inflight_activities),
        ("pollers", "Polls of its Task Queue that are open", entity.pollers),
        ("unrecorded", "What its black box had no room for", entity.unrecorded),
    ):
        shown.gauge(f"entity_{name}", help, value, **ours)


def _memory(
    shown: _Book, name: str, entities: Iterable[EntityReport], pss: Mapping[str, int], **labels: str
) -> None:
    """PSS where it is known of all of them."""
    living = [entity for entity in entities if entity.pid is not None]
    rss = sum(entity.rss_bytes or 0 for entity in living)
    shown.gauge(f"{name}_rss_bytes", "RSS of entities", rss, **labels)
    if all(entity.id in pss for entity in living):
        together = sum(pss[entity.id] for entity in living)
        shown.gauge(f"{name}_pss_bytes", "PSS of entities", together, **labels)
