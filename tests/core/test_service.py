"""What a service manager is told of the fleet, from plain values."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperKind
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.service import EXTENSION, Stage, extension, next_stage, summary
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

AWAY = events.ClusterChanged(reachable=False, refused=False, reason="no answer\nat shop:7233")
ONE_DEATH = RestartPolicy(max_restarts=0)


def test_ready_is_each_pool_with_its_first_entity_and_not_with_all() -> None:
    driver = Driver(make_pool("orders", 2), make_pool("mail", 2), make_pool("none", 0))
    driver.prepare()
    assert next_stage(Stage.STARTING, driver.fleet) is Stage.STARTING
    driver.boot("orders-1", "orders-2")
    assert next_stage(Stage.STARTING, driver.fleet) is Stage.STARTING
    driver.boot("mail-2")
    assert next_stage(Stage.STARTING, driver.fleet) is Stage.READY


def test_a_pool_that_is_drained_is_not_waited_for() -> None:
    driver = Driver(make_pool("orders", 1), make_pool("mail", 1))
    driver.prepare()
    driver.boot("orders-1")
    driver.tell(events.DrainRequested("a", "mail"))
    assert next_stage(Stage.STARTING, driver.fleet) is Stage.READY


def test_who_was_ready_stays_so_whatever_dies() -> None:
    driver = up(make_pool("orders", 1, restart=ONE_DEATH))
    driver.die("orders-1", code=1)
    assert next_stage(Stage.READY, driver.fleet) is Stage.READY
    assert next_stage(Stage.STARTING, driver.fleet) is Stage.STARTING


def test_a_reload_lasts_until_the_fleet_has_converged() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1, revision="r2", digest="d2"))))
    assert next_stage(Stage.READY, driver.fleet) is Stage.RELOADING
    driver.prepare()
    driver.boot("orders-2")
    driver.leave("orders-1")
    driver.boot("orders-1")
    assert next_stage(Stage.RELOADING, driver.fleet) is Stage.RELOADING
    driver.leave("orders-2")
    assert next_stage(Stage.RELOADING, driver.fleet) is Stage.READY


def test_a_reload_that_is_refused_is_over() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1, revision="r2", digest="d2"))))
    (new,) = (key for key in driver.fleet.helpers if key.kind is HelperKind.FORK_SERVER and "r2" in key.name)
    driver.helper_refuses(new, "does not import")
    assert next_stage(Stage.RELOADING, driver.fleet) is Stage.READY


def test_stopping_is_stopping_from_wherever() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.StopRequested(now=False))
    assert {next_stage(before, driver.fleet) for before in Stage} == {Stage.STOPPING}


def test_more_time_while_anything_may_come_of_it() -> None:
    driver = Driver(make_pool("orders", 1, restart=ONE_DEATH), make_pool("mail", 1, restart=ONE_DEATH))
    assert extension(Stage.STARTING, driver.fleet) == EXTENSION
    driver.tell(AWAY)
    driver.prepare()
    assert extension(Stage.STARTING, driver.fleet) == EXTENSION
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    driver.boot("mail-1")
    driver.die("orders-1", code=1)
    assert extension(Stage.STARTING, driver.fleet) == EXTENSION
    driver.die("mail-1", code=1)
    assert extension(Stage.STARTING, driver.fleet) == 0


def test_a_fleet_at_rest_asks_for_no_time_and_one_that_changes_or_drains_does() -> None:
    driver = up(make_pool("orders", 1))
    assert extension(Stage.READY, driver.fleet) == 0
    assert extension(Stage.RELOADING, driver.fleet) == EXTENSION
    assert extension(Stage.STOPPING, driver.fleet) == EXTENSION


def test_the_line() -> None:
    driver = up(make_pool("orders", 2), make_pool("mail", 1), make_pool("none", 0))
    assert summary(driver.fleet, 412) == "3/3 entities ready in 3 pools; 412 executions cached"
    driver.tell(AWAY)
    told = "degraded: no answer at shop:7233; 3/3 entities ready in 3 pools; 1 execution cached"
    assert summary(driver.fleet, 1) == told


def test_a_long_reason_is_cut() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ClusterChanged(reachable=False, refused=False, reason="x" * 5000))
    line = summary(driver.fleet, 0)
    assert len(line) < 500
    assert line.endswith("…; 1/1 entity ready in 1 pool; 0 executions cached")
