"""The memory budget: the fattest first, as much as it needs, then one recycled at a time, then a word."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events, eviction, recycle
from temporal_fleet.supervisor.core.fleet import Pool, Strain
from temporal_fleet.supervisor.core.states import State
from tests.core.caches import MIB, Cache, Caches
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool


def plain(name: str, desired: int, **rest: Any) -> Pool:
    """A pool without limits of its own."""
    return make_pool(name, desired, hang=1e9, **rest)


def over(budget: int, *executions: int) -> Caches:
    """A fleet of one pool whose entities hold so many executions of 1 MiB, and 60 MiB each."""
    caches = Caches(up(plain("orders", len(executions)), budget=budget * MIB))
    caches.measure()
    for number, count in enumerate(executions, 1):
        caches.cache(f"orders-{number}").executions = count
    return caches


def told(caches: Caches) -> list[str]:
    kinds = {"memory.budget", "memory.recycle"}
    return [a.message for a in caches.driver.all if isinstance(a, act.Emit) and a.kind in kinds]


def test_within_the_budget_nothing_is_done() -> None:
    caches = over(400, 100, 100)
    caches.measure()
    assert caches.driver.last == ()


def test_the_fattest_gives_as_much_as_is_needed_and_nobody_else() -> None:
    caches = over(400, 100, 300, 50)
    caches.measure()
    assert [(order.life.entity, order.at_most) for _, order in caches.orders] == [("orders-2", 270)]
    assert sum(cache.rss for cache in caches.of.values()) == 360 * MIB
    caches.second()
    assert told(caches) == [
        "PSS 630.0 MiB of all entities together is over memory_budget (400.0 MiB)",
        "all entities together are well within memory_budget again",
    ]


def test_where_the_fattest_has_not_enough_the_next_gives_too() -> None:
    caches = over(300, 100, 300, 50)
    caches.measure()
    given_up = {order.life.entity: order.at_most for _, order in caches.orders}
    assert list(given_up) == ["orders-2", "orders-1"]
    assert sum(cache.rss for cache in caches.of.values()) == 270 * MIB


def test_no_more_is_asked_for_while_an_eviction_has_yet_to_show_its_effect() -> None:
    caches = over(400, 100, 300, 50)
    caches.answers = False
    for _ in range(8):
        caches.second()
    assert len([a for a in caches.driver.all if isinstance(a, act.Evict)]) == 1


@given(
    executions=st.lists(st.integers(0, 400), min_size=1, max_size=5),
    budget=st.integers(100, 2000),
)
def test_nobody_gives_while_a_fatter_one_still_could(executions: list[int], budget: int) -> None:
    caches = over(budget, *executions)
    before = {f"orders-{n}": count for n, count in enumerate(executions, 1)}
    caches.measure()
    total = sum(60 + count for count in executions)
    ordered = {order.life.entity: order.at_most for _, order in caches.orders}
    assert bool(ordered) == (total > budget and any(executions))
    if not ordered:
        return
    thinnest = min(before[name] for name in ordered)
    for name, count in before.items():
        if count > thinnest:
            assert ordered[name] == before[name]
    left = total - sum(ordered.values())
    assert left <= eviction.AIM * budget + 1 or sum(ordered.values()) == sum(executions)


def test_it_holds_for_pools_that_have_limits_of_their_own_and_for_those_that_have_none() -> None:
    driver = up(plain("orders", 1), plain("billing", 1), budget=300 * MIB)
    caches = Caches(driver)
    caches.measure()
    caches.cache("billing-1").executions = 300
    caches.measure()
    assert [order.life.entity for _, order in caches.orders] == ["billing-1"]


def test_without_pss_nothing_is_judged() -> None:
    caches = over(400, 100, 300, 50)
    caches.measures_all = False
    caches.measure()
    assert caches.driver.last == ()


def test_where_nothing_is_to_be_evicted_the_fattest_is_recycled_one_at_a_time() -> None:
    caches = over(300, 0, 0, 0)
    for number, leaked in ((1, 50), (2, 200), (3, 100)):
        caches.cache(f"orders-{number}").leaked = leaked * MIB
    caches.measure()
    [reason] = told(caches)[1:]
    assert reason == (
        "is recycled: PSS 530.0 MiB of all entities together is over memory_budget (300.0 MiB), of which it "
        "uses 260.0 MiB, the most"
    )
    caches.second()
    assert [e.id for e in caches.driver.fleet.entities.values() if e.recycle] == ["orders-2"]
    caches.follow()
    caches.second()
    assert [e.id for e in caches.driver.fleet.entities.values() if e.recycle] == ["orders-3"]
    assert min(caches.ready) == 3
    caches.follow()
    caches.second()
    assert caches.driver.fleet.strain is Strain.WITHIN or told(caches)[-1].startswith("is recycled")


def test_recycling_for_the_budget_waits_for_any_replacement_anywhere() -> None:
    driver = up(plain("orders", 1), plain("billing", 2), budget=100 * MIB)
    caches = Caches(driver)
    caches.measure()
    changed = by_name(plain("orders", 1), plain("billing", 2, digest="d2"))
    driver.tell(events.ReloadRequested("r", changed, 100 * MIB))
    caches.cache("orders-1").leaked = 200 * MIB
    caches.measure()
    assert not any(e.recycle for e in driver.fleet.entities.values())
    while driver.named(State.STARTING) or driver.named(State.DRAINING):
        caches.follow()
    caches.second()
    assert driver.entity("orders-1").recycle


def test_where_nothing_helps_it_is_said_once_and_nobody_is_recycled_in_vain() -> None:
    caches = over(100, 0, 0)
    for _ in range(int(3 * recycle.PAUSE)):
        caches.second()
    assert told(caches) == [
        "PSS 120.0 MiB of all entities together is over memory_budget (100.0 MiB)",
        "PSS 120.0 MiB of all entities together is over memory_budget (100.0 MiB); nothing can be evicted or "
        "recycled: allow more, or run fewer entities",
    ]


def test_an_entity_that_wavers_about_the_budget_is_evicted_once() -> None:
    caches = over(400, 100, 181)
    for waver in (0, 5, -5, 15, 0, 3) * 20:
        caches.cache("orders-1").leaked = waver * MIB
        caches.second()
    assert len(caches.orders) == 1


def test_a_growing_fleet_is_held_to_its_budget() -> None:
    caches = over(400, 0, 0, 0)

    def grow(cache: Cache) -> None:
        cache.executions += 2

    peak = 0
    for _ in range(300):
        caches.second(grow)
        peak = max(peak, sum(cache.rss for cache in caches.of.values()))
    assert peak <= 400 * MIB + eviction.SETTLE * 6 * MIB
    assert not [a for a in caches.driver.all if isinstance(a, act.Emit) and a.kind == "memory.recycle"]


@pytest.mark.parametrize("another", [None, 1000 * MIB])
def test_the_budget_changes_with_a_reload_and_with_nothing_else(another: int | None) -> None:
    driver = up(plain("orders", 2), budget=100 * MIB)
    caches = Caches(driver)
    for _ in range(3):
        caches.second()
    assert driver.fleet.strain is Strain.HELPLESS
    driver.tell(events.ScaleRequested("s", {"orders": 3}))
    driver.tell(events.RestartRequested("p", "orders"))
    driver.prepare()
    assert (driver.fleet.budget, driver.fleet.strain) == (100 * MIB, Strain.HELPLESS)
    driver.tell(events.ReloadRequested("r", dict(driver.fleet.pools), another))
    assert driver.did(act.Accept)[0].message == "reloaded: change memory_budget"
    assert (driver.fleet.budget, driver.fleet.strain) == (another, Strain.WITHIN)


def test_a_reload_that_waits_for_a_program_brings_its_budget_with_it() -> None:
    driver = Driver(plain("orders", 1), budget=1)
    driver.prepare()
    driver.tell(events.ReloadRequested("r", by_name(plain("orders", 1, revision="r2")), 2))
    assert driver.fleet.budget == 1
    driver.prepare()
    assert driver.fleet.budget == 2
