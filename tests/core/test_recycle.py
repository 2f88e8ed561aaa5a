"""Recycling by age and by tasks: when, with what jitter, and that it is told."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core.fleet import Pool, RecyclePolicy
from temporal_fleet.supervisor.core.recycle import JITTER, due
from temporal_fleet.supervisor.core.states import State
from tests.core.caches import Caches
from tests.core.driver import up
from tests.core.pools import make_pool

NEVER = RecyclePolicy()


def policy(desired: int, **limits: Any) -> Pool:
    return make_pool("orders", desired, hang=1e9, recycle=RecyclePolicy(**limits))


@given(st.floats(0, 1e9), st.integers(0, 10**9), st.text())
def test_without_a_limit_no_life_is_ever_due(age: float, tasks: int, salt: str) -> None:
    assert due(NEVER, age, tasks, salt) == ""


@given(st.floats(1, 1e6), st.text())
def test_the_jitter_of_an_age_is_within_its_bounds(limit: float, salt: str) -> None:
    by_age = RecyclePolicy(max_age=limit)
    assert not due(by_age, limit * (1 - JITTER) * 0.999, 10**9, salt)
    assert due(by_age, limit * (1 + JITTER) * 1.001, 0, salt)


@given(st.integers(100, 10**6), st.text())
def test_the_jitter_of_a_number_of_tasks_is_within_its_bounds(limit: int, salt: str) -> None:
    by_tasks = RecyclePolicy(max_tasks=limit)
    assert not due(by_tasks, 1e9, int(limit * (1 - JITTER)) - 1, salt)
    assert due(by_tasks, 0.0, int(limit * (1 + JITTER)) + 1, salt)


def test_lives_that_began_together_are_not_due_together() -> None:
    by_age = RecyclePolicy(max_age=1000.0)
    first = {next(a for a in range(2000) if due(by_age, a, 0, f"orders-{n}.1")) for n in range(50)}
    assert len(first) > 30
    assert max(first) - min(first) > 100


def test_an_old_one_is_replaced_start_before_stop_and_the_new_one_is_young() -> None:
    caches = Caches(up(policy(2, max_age=3600.0)))
    driver = caches.driver
    replaced: dict[str, float] = {}
    began = driver.now
    while len(replaced) < 2:
        caches.second()
        for entity in driver.fleet.entities.values():
            if entity.recycle and entity.id not in replaced:
                replaced[entity.id] = driver.now - began
        caches.follow()
    assert all(3600 * 0.9 <= age <= 3600 * 1.1 + 2 for age in replaced.values())
    assert min(caches.ready) == 2
    assert {e.incarnation for e in driver.fleet.entities.values()} == {2}
    assert sorted(driver.fleet.entities) == ["orders-1", "orders-2"]


def test_one_that_did_its_work_is_replaced_and_says_why() -> None:
    caches = Caches(up(policy(1, max_tasks=1000)))
    caches.measure()
    caches.cache("orders-1").tasks = 1101
    caches.measure()
    emitted = [a.message for a in caches.driver.did(act.Emit) if a.kind == "entity.recycle"]
    assert emitted == ["is recycled: 1101 tasks taken (max_tasks = 1000)"]
    assert caches.driver.entity("orders-1").recycle == "1101 tasks taken (max_tasks = 1000)"
    assert caches.driver.state("orders-2") is State.STARTING
    caches.measure()
    assert not caches.driver.did(act.Emit), "it is told once"
    caches.follow()
    caches.measure()
    assert caches.driver.entity("orders-1").recycle == ""


def test_two_of_a_pool_that_are_due_at_once_go_one_after_the_other() -> None:
    caches = Caches(up(policy(3, max_tasks=10)))
    caches.measure()
    for name in caches.driver.fleet.entities:
        caches.cache(name).tasks = 100
    caches.measure()
    while caches.driver.named(State.STARTING) or caches.driver.named(State.DRAINING):
        assert len(caches.driver.named(State.DRAINING)) <= 1
        if starting := caches.driver.named(State.STARTING):
            caches.driver.boot(*starting)
        else:
            caches.driver.leave()
        assert len(caches.driver.named(State.READY)) >= 3
    assert {e.incarnation for e in caches.driver.fleet.entities.values()} == {2}
