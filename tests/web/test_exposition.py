"""What Prometheus gets, read back by its own client library's parsers."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from temporal_fleet.protocol.metrics import Family, Meter, MetricsFile
from temporal_fleet.supervisor.web.exposition import Measured, exposition
from tests.web.reports import ORDERS_1, ORDERS_2, of

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
MINE = {"pool": "orders", "entity": "orders-1"}


def scrape(
    files: Mapping[str, MetricsFile] | None = None, *, accept: str = "", counted: list[Family] | None = None
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample. No name and labels may come twice: Prometheus would refuse the scrape."""
    measured = Measured(True, of(), counted or [], files or {}, {"orders-1": 30 << 20, "orders-2": 20 << 20})
    text, _ = exposition(measured, accept)
    parse = parse_openmetrics if accept else parse_text
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(text.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


def file_of(meter: Meter, incarnation: int = ORDERS_1.incarnation) -> dict[str, MetricsFile]:
    families, dropped = meter.families(), meter.dropped
    return {
        "orders-1": MetricsFile(
            entity="orders-1", incarnation=incarnation, sequence=1, families=families, dropped=dropped
        )
    }


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def sdk() -> Meter:
    meter = Meter(100)
    meter.add("temporal_request", {"operation": "X"}, 3, help="Count of requests")
    meter.put("temporal_num_pollers", {"poller_type": "workflow_task"}, 2)
    for seconds in (0.05, 0.2, 70.0):
        meter.observe("temporal_request_latency", {"operation": "X"}, seconds, (0.05, 1.0), unit="s")
    return meter


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_metrics_of_an_entity_carry_pool_and_entity_and_their_kinds(accept: str) -> None:
    told = scrape(file_of(sdk()), accept=accept)
    assert told[at("temporal_request_total", operation="X", **MINE)] == 3
    assert told[at("temporal_num_pollers", poller_type="workflow_task", **MINE)] == 2
    latency = {"operation": "X", **MINE}
    buckets = [
        told[at("temporal_request_latency_seconds_bucket", le=le, **latency)]
        for le in ("0.05", "1.0", "+Inf")
    ]
    assert buckets == [1, 2, 3]
    assert told[at("temporal_request_latency_seconds_count", **latency)] == 3
    assert told[at("temporal_request_latency_seconds_sum", **latency)] == pytest.approx(70.25)


def test_gauges_of_a_life_that_is_over_are_not_shown_and_its_counters_are() -> None:
    told = scrape(file_of(sdk(), incarnation=ORDERS_1.incarnation - 1))
    assert told[at("temporal_request_total", operation="X", **MINE)] == 3
    assert not [name for name, _ in told if name == "temporal_num_pollers"]


def test_what_programs_name_as_they_like_costs_no_scrape() -> None:
    meter = Meter(100)
    meter.add("my.orders-taken", {"pool": "x", "2nd": "y", "le": "z", "__name__": "n"}, 1, unit="By")
    meter.add("my_orders_taken", {"pool": "x", "2nd": "y", "le": "z", "__name__": "n"}, 5, unit="By")
    meter.add("my_thing_total", {"text": 'a "quoted"\nline\\'}, 1)
    meter.put("my.thing", {}, 7)
    meter.add("7up", {}, 1)
    told = scrape(file_of(meter))
    theirs = {"exported_pool": "x", "exported_2nd": "y", "exported_le": "z", "exported_name__": "n"}
    assert told[at("my_orders_taken_bytes_total", **theirs, **MINE)] == 1
    assert told[at("my_thing_total", text='a "quoted"\nline\\', **MINE)] == 1
    assert told[at("_7up_total", **MINE)] == 1
    assert told[at("temporal_fleet_metrics_refused_series")] == 2


def test_memory_is_shown_by_entity_by_pool_and_for_all() -> None:
    told = scrape()
    assert told[at("temporal_fleet_entity_memory_rss_bytes", **MINE)] == 60 << 20
    assert told[at("temporal_fleet_pool_memory_rss_bytes", pool="orders")] == 100 << 20
    assert told[at("temporal_fleet_memory_pss_bytes")] == 50 << 20
    assert told[at("temporal_fleet_pool_entities", pool="orders", state="ready")] == 2
    assert told[at("temporal_fleet_pool_entities", pool="orders", state="failed")] == 0
    assert told[at("temporal_fleet_state", state="running")] == 1


def test_pss_that_is_not_known_of_all_is_no_sum() -> None:
    measured = Measured(True, of(), [], {}, {"orders-1": 1})
    text = exposition(measured, "")[0].decode()
    assert "temporal_fleet_entity_memory_pss_bytes" in text
    assert "temporal_fleet_pool_memory_pss_bytes" not in text
    assert "\ntemporal_fleet_memory_pss_bytes" not in text


def test_a_supervisor_that_hangs_is_told_with_what_it_said_last() -> None:
    entities = ORDERS_1, replace(ORDERS_2, pid=None, state="backoff")
    text = exposition(Measured(False, of(*entities), [], file_of(sdk()), {}), "")[0].decode()
    assert "temporal_fleet_supervisor_answers 0.0" in text
    assert "temporal_request_total{" in text
    assert 'temporal_fleet_entity_memory_rss_bytes{entity="orders-2"' not in text
    nothing = exposition(Measured(False, None, [], {}, {}), "")[0].decode()
    assert "temporal_fleet_supervisor_answers 0.0" in nothing


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=..", ";,;", "\xff"]
)
def test_an_accept_header_that_makes_no_sense_is_answered_plainly(accept: str) -> None:
    assert b"temporal_fleet_info" in exposition(Measured(True, of(), [], {}, {}), accept)[0]
