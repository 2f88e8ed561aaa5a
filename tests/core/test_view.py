"""What an operator is told: the state of the fleet, and the reason that matters."""

from dataclasses import replace

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import RecyclePolicy
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import (
    FleetState,
    entity_reason,
    fleet_state,
    pool_reason,
    ready_count,
)
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

AWAY = events.ClusterChanged(reachable=False, refused=False, reason="no answer at shop:7233")


def test_a_fleet_that_comes_up_is_starting_and_says_what_it_does() -> None:
    driver = Driver(make_pool("orders", 2))
    assert fleet_state(driver.fleet) == (FleetState.STARTING, "imports orders.program")
    driver.prepare()
    assert fleet_state(driver.fleet)[0] is FleetState.STARTING
    driver.boot()
    assert fleet_state(driver.fleet) == (FleetState.RUNNING, "")
    assert ready_count(driver.fleet, "orders") == 2


def test_an_embedded_fleet_waits_for_its_cluster() -> None:
    driver = Driver(make_pool("orders", 1), embedded=True)
    driver.prepare()
    assert driver.named(State.WAITING) == ["orders-1"]
    assert fleet_state(driver.fleet) == (FleetState.STARTING, "the embedded Cluster is not up yet")


def test_no_cluster_is_degraded_even_while_all_run() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(AWAY)
    assert fleet_state(driver.fleet) == (FleetState.DEGRADED, "no answer at shop:7233")


def test_a_cluster_that_is_away_without_a_reason_is_away_all_the_same() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(replace(AWAY, reason=""))
    driver.die("orders-1")
    assert driver.state("orders-1") is State.WAITING
    assert fleet_state(driver.fleet) == (FleetState.DEGRADED, "the Cluster cannot be reached")


def test_who_waits_for_the_cluster_says_so() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(AWAY)
    driver.die("orders-1")
    assert entity_reason(driver.fleet, driver.entity("orders-1")) == "no answer at shop:7233"
    assert pool_reason(driver.fleet, driver.fleet.pools["orders"]) == "no answer at shop:7233"


def test_a_crash_loop_is_degraded_and_the_pool_says_why() -> None:
    driver = up(make_pool("orders", 2, restart=RestartPolicy(max_restarts=0)))
    driver.die("orders-2", code=1)
    state, reason = fleet_state(driver.fleet)
    assert state is FleetState.DEGRADED
    assert reason.startswith("crash loop: 1 deaths within 60 s")
    assert pool_reason(driver.fleet, driver.fleet.pools["orders"]) == reason


def test_a_pool_that_is_whole_has_no_reason() -> None:
    driver = up(make_pool("orders", 1))
    assert pool_reason(driver.fleet, driver.fleet.pools["orders"]) == ""


def test_a_reload_is_reloading_while_it_imports_and_while_it_rolls() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1, revision="r2", digest="d2"))))
    assert fleet_state(driver.fleet) == (FleetState.RELOADING, "reloaded: replace orders")
    driver.prepare()
    assert fleet_state(driver.fleet) == (FleetState.RELOADING, "reloaded: replace orders")
    driver.boot("orders-2")
    driver.leave("orders-1")
    driver.boot("orders-1")
    assert fleet_state(driver.fleet)[0] is FleetState.RELOADING
    driver.leave("orders-2")
    assert fleet_state(driver.fleet) == (FleetState.RUNNING, "")


def test_a_change_that_rolls_is_told_before_what_failed_beside_it() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1, restart=RestartPolicy(max_restarts=0)))
    driver.die("mail-1", code=1)
    assert fleet_state(driver.fleet)[0] is FleetState.DEGRADED
    driver.tell(events.ReloadRequested("a", {**driver.fleet.pools, "orders": make_pool("orders", 2)}))
    assert fleet_state(driver.fleet) == (FleetState.RELOADING, "reloaded: start orders-2")
    driver.boot()
    assert fleet_state(driver.fleet)[0] is FleetState.DEGRADED


def test_a_recycled_one_is_replaced_without_a_change_and_that_is_told() -> None:
    driver = up(make_pool("orders", 1, recycle=RecyclePolicy(max_tasks=1)))
    driver.tell(events.Measured((events.Reading("orders-1", 1, 1, None, 0, 0, 2),)))
    assert fleet_state(driver.fleet) == (FleetState.RELOADING, "entities are being replaced")


def test_a_drained_pool_lacks_nothing_and_says_how_to_have_it_back() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.DrainRequested("a", "orders"))
    driver.leave()
    assert fleet_state(driver.fleet) == (FleetState.RUNNING, "")
    reason = pool_reason(driver.fleet, driver.fleet.pools["orders"])
    assert reason == "drained: temporal-fleet resume orders"


def test_a_fleet_that_stops_counts_down() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.StopRequested(now=False))
    assert fleet_state(driver.fleet) == (FleetState.DRAINING, "2 entities still run")
    driver.leave("orders-1")
    assert fleet_state(driver.fleet) == (FleetState.DRAINING, "1 entity still runs")
    driver.leave("orders-2")
    for helper in tuple(driver.fleet.helpers.values()):
        driver.helper_dies(helper.key)
    assert fleet_state(driver.fleet) == (FleetState.STOPPED, "")
