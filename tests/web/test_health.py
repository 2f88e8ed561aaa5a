"""When a fleet is ready: each pool has one entity that polls, and the Cluster answers."""

from msgspec.structs import replace

from temporal_fleet.protocol.report import SlotsReport
from temporal_fleet.supervisor.web.health import unready
from tests.cli.wire import pool
from tests.web.reports import ORDERS_1, ORDERS_2, of


def test_one_that_polls_is_enough() -> None:
    assert unready(of()) == {}
    assert unready(of(ORDERS_1, replace(ORDERS_2, state="backoff", pid=None, pollers=0))) == {}


def test_a_pool_without_pollers_is_named_with_its_reason() -> None:
    deaf = replace(ORDERS_1, pollers=0)
    assert unready(of(deaf)) == {"orders": "its entities do not poll"}
    assert unready(of(replace(deaf, state="starting"), pools=(pool(ready=0),))) == {
        "orders": "none of its entities is ready"
    }
    why = "crash loop: 11 deaths within 60 s"
    failed = of(replace(deaf, state="failed", pid=None), pools=(pool(ready=0, reason=why),))
    assert unready(failed) == {"orders": why}


def test_one_whose_slots_are_all_taken_polls_nothing_and_is_well() -> None:
    busy = replace(ORDERS_1, pollers=0, activity_slots=SlotsReport(used=2, free=0))
    assert unready(of(busy)) == {}
    may = replace(busy, workflow_slots=SlotsReport(used=0, free=1))
    assert unready(of(may)) == {"orders": "its entities do not poll"}


def test_a_pool_that_is_kept_at_zero_lacks_nothing() -> None:
    drained = replace(pool("mail", desired=0, ready=0, reason="drained"), drained=True)
    assert unready(of(pools=(pool(desired=2, ready=2), drained))) == {}


def test_a_cluster_that_is_away_is_a_reason_though_all_believe_to_poll() -> None:
    report = of()
    away = replace(report, cluster=replace(report.cluster, reachable=False, reason="connection refused"))
    assert unready(away) == {"cluster": "connection refused"}


def test_a_fleet_that_leaves_is_not_ready() -> None:
    leaving = of(state="draining", reason="2 entities still run")
    assert unready(leaving) == {"fleet": "it is draining: 2 entities still run"}
