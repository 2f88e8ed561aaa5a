"""What an operator reads before a reload."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import Pool, RecyclePolicy
from temporal_fleet.supervisor.core.plan import Step, reload_steps
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool


def steps(driver: Driver, *wanted: Pool) -> list[str]:
    told = reload_steps(driver.fleet.pools, driver.fleet.entities, by_name(*wanted))
    return [f"{step.action} {step.target}: {step.reason}" for step in told]


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


def test_the_plan_of_changed_policies_replaces_nobody() -> None:
    driver = up(make_pool("orders", 12))
    assert steps(driver, make_pool("orders", 12, hang=3.0)) == [
        "change orders: policies changed: applied without a restart",
        "keep 12 entities: untouched",
    ]


def test_the_plan_leaves_out_who_stands_in_for_one_that_is_recycled() -> None:
    pool = make_pool("orders", 1, recycle=RecyclePolicy(max_tasks=1))
    driver = up(pool)
    driver.tell(events.Measured((events.Reading("orders-1", 1, 1, None, 0, 0, 2),)))
    driver.boot("orders-2")
    assert steps(driver, pool) == ["keep 1 entity: untouched"]


def test_the_plan_tells_of_another_memory_budget() -> None:
    pools = by_name(make_pool("orders", 1))
    assert reload_steps(pools, {}, pools, budget=(1, 1)) == reload_steps(pools, {}, pools)
    assert reload_steps(pools, {}, pools, budget=(1, None))[-1] == Step(
        "change", "memory_budget", "applied without a restart"
    )


def test_the_plan_tells_places_in_their_own_order() -> None:
    driver = up(make_pool("orders", 1))
    told = reload_steps(driver.fleet.pools, driver.fleet.entities, by_name(make_pool("orders", 11)))
    assert told[0] == Step("start", "orders-2", "more entities")
    assert told[-2] == Step("start", "orders-11", "more entities")
    assert told[-1] == Step("keep", "1 entity", "untouched")
