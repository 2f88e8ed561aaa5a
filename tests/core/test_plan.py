"""What an operator reads before a reload, and what the reload then does."""

from dataclasses import replace
from typing import Any

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperKey, MemoryLimits, Pool, RecyclePolicy
from temporal_fleet.supervisor.core.plan import Plan, Step, plan
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool


def planned(driver: Driver, *wanted: Pool, **rest: Any) -> Plan:
    return plan(driver.fleet, by_name(*wanted), driver.fleet.budget, **rest)


def steps(driver: Driver, *wanted: Pool, **rest: Any) -> list[str]:
    return [f"{step.action} {step.target}: {step.reason}" for step in planned(driver, *wanted, **rest).steps]


def test_the_plan_of_a_reload_in_words() -> None:
    driver = up(make_pool("orders", 2), make_pool("billing", 2), make_pool("mail", 1), make_pool("old", 2))
    assert steps(
        driver,
        make_pool("orders", 3),
        make_pool("billing", 1, revision="r2", digest="d2"),
        make_pool("mail", 1, digest="d3"),
        make_pool("new", 1),
    ) == [
        "stop billing-2: fewer entities",
        "replace billing: program changed",
        "replace mail: settings changed",
        "start new-1: new pool",
        "stop old-1: pool old is not in the config",
        "stop old-2: pool old is not in the config",
        "start orders-3: more entities",
        "keep 2 entities: untouched",
    ]


def test_what_is_replaced_says_which_keys_changed() -> None:
    traits = {"worker.max_cached_workflows": "500", "drain": "30s", "env.KEY": "…1", "after_fork": "a:b"}
    other = {"worker.max_cached_workflows": "1000", "drain": "30s", "env.KEY": "…2", "workers": "activity"}
    driver = up(make_pool("orders", 1, traits=traits))
    assert steps(driver, make_pool("orders", 1, digest="d2", traits=other, hang=20.0)) == [
        "replace orders: worker.max_cached_workflows 500 -> 1000, env.KEY changed, after_fork a:b -> unset, "
        "workers unset -> activity; hang 10s -> 20s"
    ]


def test_changed_policies_replace_nobody_and_each_is_told() -> None:
    driver = up(make_pool("orders", 12))
    memory, recycle = MemoryLimits(kill_above=1 << 30), RecyclePolicy(max_age=60.0)
    assert steps(driver, make_pool("orders", 12, hang=3.0, memory=memory, recycle=recycle)) == [
        "change orders: hang 10s -> 3s, memory.kill_above unset -> 1024.0 MiB, recycle.max_age unset -> 60s: "
        "applied without a restart",
        "keep 12 entities: untouched",
    ]


def test_one_of_64_pools_is_changed_and_nothing_else_is_touched() -> None:
    pools = [make_pool(f"p{n}", 2) for n in range(64)]
    driver = up(*pools)
    before = driver.fleet.entities
    changed = [*pools[:-1], replace(pools[-1], digest="d2")]
    assert steps(driver, *changed) == ["replace p63: settings changed", "keep 126 entities: untouched"]
    driver.tell(events.ReloadRequested("a", by_name(*changed)))
    others = {name: entity for name, entity in before.items() if entity.pool != "p63"}
    assert {n: e for n, e in driver.fleet.entities.items() if e.pool != "p63"} == others


def test_what_the_plan_says_is_what_the_reload_does() -> None:
    driver = up(make_pool("orders", 2))
    wanted = make_pool("orders", 3, digest="d2")
    told = planned(driver, wanted)
    driver.tell(events.ReloadRequested("a", by_name(wanted)))
    assert driver.fleet.pools == told.pools
    assert driver.did(act.Accept)[0].message == f"reloaded: {told.summary}"


def test_code_that_changed_rolls_the_pools_that_use_it_on_one_new_fork_server() -> None:
    driver = Driver(make_pool("orders", 1), make_pool("billing", 1), make_pool("mail", 1, revision="r2"))
    driver.prepare(code="old")
    driver.boot()
    wanted = tuple(driver.fleet.pools.values())
    same = {"r1.0": "old", "r2.0": "old"}
    assert steps(driver, *wanted, codes=same) == ["keep 3 entities: untouched"]
    assert steps(driver, *wanted, codes={"r1.0": "new", "r2.0": "old"}) == [
        "replace billing: code changed",
        "replace orders: code changed",
        "keep 1 entity: untouched",
    ]
    assert steps(
        driver, *wanted, codes={"r2.0": "new"}, edited={"r2.0": ("/srv/shop/mail.py", "lib-2.0")}
    ) == [
        "replace mail: code changed: shop/mail.py, lib-2.0",
        "keep 2 entities: untouched",
    ]
    driver.tell(events.ReloadRequested("a", by_name(*wanted), codes={"r1.0": "new", "r2.0": "old"}))
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.1"]
    driver.prepare(code="new")
    assert [pool.version for pool in driver.fleet.pools.values()] == ["d1.1", "d1.1", "d1.0"]


def test_a_pool_that_is_forced_is_replaced_with_newly_imported_code_though_nothing_changed() -> None:
    driver = up(make_pool("orders", 1), make_pool("billing", 1))
    wanted = tuple(driver.fleet.pools.values())
    assert steps(driver, *wanted, forced=("orders",)) == [
        "replace orders: forced",
        "keep 1 entity: untouched",
    ]
    driver.tell(events.ReloadRequested("a", by_name(*wanted), forced=("orders",)))
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.1"]


def test_forcing_a_pool_that_there_is_not_is_rejected() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", driver.fleet.pools, forced=("order",)))
    assert driver.did(act.Reject) == [act.Reject("a", ("no pool 'order'; there are: orders",), 1)]


def test_a_fork_server_that_came_back_with_other_code_has_the_older_entities_replaced() -> None:
    driver = Driver(make_pool("orders", 2))
    driver.prepare(code="old")
    driver.boot()
    driver.helper_dies(driver.server("orders"))
    driver.prepare(code="new")
    wanted = tuple(driver.fleet.pools.values())
    assert steps(driver, *wanted, codes={"r1.0": "new"}) == ["replace orders: code changed"]
    driver.tell(events.ReloadRequested("a", by_name(*wanted), codes={"r1.0": "new"}))
    assert not driver.did(act.StartHelper)
    assert driver.fleet.pools["orders"].version == "d1.1"
    assert driver.fork_servers() == {"r1.0"}


def test_code_that_nobody_knows_is_no_change() -> None:
    driver = up(make_pool("orders", 1))
    pool = driver.fleet.pools["orders"]
    assert steps(driver, pool, codes={"r1.0": "new"}) == ["keep 1 entity: untouched"]


def test_a_drained_pool_is_told_of_and_how_to_have_it_back() -> None:
    driver = up(make_pool("orders", 1), make_pool("billing", 1))
    driver.tell(events.DrainRequested("a", "orders"))
    assert steps(driver, make_pool("orders", 5), make_pool("billing", 1)) == [
        "keep orders: drained: temporal-fleet resume orders",
        "keep 1 entity: untouched",
    ]


def test_who_stands_in_for_one_that_is_recycled_is_left_out() -> None:
    driver = up(make_pool("orders", 1, recycle=RecyclePolicy(max_tasks=1)))
    driver.tell(events.Measured((events.Reading("orders-1", 1, 1, None, 0, 0, 2),)))
    driver.boot("orders-2")
    assert driver.state("orders-1") is State.DRAINING
    wanted = make_pool("orders", 1, recycle=RecyclePolicy(max_tasks=1))
    assert steps(driver, wanted) == ["keep 1 entity: untouched"]


def test_settings_of_the_fleet_are_told_and_touch_nobody() -> None:
    driver = up(make_pool("orders", 2))
    assert steps(driver, make_pool("orders", 2), settings={"log_level": "info -> debug"}) == [
        "change log_level: info -> debug: applied without a restart",
        "keep 2 entities: untouched",
    ]


def test_another_memory_budget_is_told() -> None:
    driver = up(make_pool("orders", 1), budget=1 << 30)
    pools = by_name(make_pool("orders", 1))
    assert plan(driver.fleet, pools, 1 << 30).steps == (Step("keep", "1 entity", "untouched"),)
    assert plan(driver.fleet, pools, None).steps[0] == Step(
        "change", "memory_budget", "1024.0 MiB -> none: applied without a restart"
    )


def test_places_are_told_in_their_own_order_and_a_summary_counts_them() -> None:
    driver = up(make_pool("orders", 1))
    told = planned(driver, make_pool("orders", 11))
    assert told.steps[0] == Step("start", "orders-2", "more entities")
    assert told.steps[-2] == Step("start", "orders-11", "more entities")
    assert told.steps[-1] == Step("keep", "1 entity", "untouched")
    assert told.summary == ("start orders-2, orders-3, orders-4, orders-5, orders-6, orders-7 and 4 more")


def test_a_plan_changes_nothing() -> None:
    driver = up(make_pool("orders", 1))
    before = driver.fleet
    planned(driver, make_pool("orders", 2, revision="r2", digest="d2"), forced=("orders",))
    assert driver.fleet == before
    assert HelperKey(driver.server("orders").kind, "r2.0") not in driver.fleet.helpers
