"""Entities whose heart beats and that do no work: limits, whose fault it is, and what is done."""

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import AGENT, LivenessLimits, Rollout
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

LIMITS = LivenessLimits(polling=30.0, activation=20.0, activity=60.0)


def fleet(size: int = 1, limits: LivenessLimits = LIMITS, **rest: Any) -> Driver:
    """That polls a Cluster which has answered for long."""
    driver = up(make_pool("orders", size, liveness=limits, hang=1e6, **rest))
    cluster(driver)
    driver.now += 1000.0
    return driver


def cluster(driver: Driver, reachable: bool = True, refused: bool = False) -> None:
    driver.tell(events.ClusterChanged(reachable, refused, "" if reachable else "it is away"))


def unpolled(driver: Driver, seconds: float, name: str = "orders-1") -> None:
    incarnation = driver.entity(name).incarnation
    what = "no activity_task poller"
    driver.tell(events.StoodStill(name, incarnation, unpolled=what, unpolled_for=seconds))


def stuck(driver: Driver, name: str = "orders-1", **told: Any) -> None:
    driver.tell(events.StoodStill(name, driver.entity(name).incarnation, **told))


def kinds(driver: Driver) -> list[str]:
    return [action.kind for action in driver.last if isinstance(action, act.Emit)]


def test_one_that_does_not_poll_is_replaced_and_goes_when_another_polls() -> None:
    driver = fleet()
    unpolled(driver, 30.0)
    assert driver.last == ()
    unpolled(driver, 31.0)
    assert kinds(driver)[0] == "entity.not-polling"
    assert driver.did(act.DumpStacks) == [act.DumpStacks("orders-1", 1, 11)]
    assert [fork.entity for fork in driver.did(act.Fork)] == ["orders-2"]
    assert not driver.did(act.TellDrain)
    unpolled(driver, 32.0)
    assert driver.last == ()
    driver.boot()
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]
    driver.leave()
    ended = driver.entity("orders-1").last_exit
    assert ended is not None
    assert ended.cause == (
        "not polling: no activity_task poller for 31 s, and the Cluster answers: exit status 0"
    )
    driver.boot()
    driver.leave()
    assert driver.named(State.READY) == ["orders-1"]
    assert (driver.entity("orders-1").restarts, driver.entity("orders-1").crashes) == (0, ())


def test_where_another_does_not_get_to_poll_either_nobody_goes() -> None:
    driver = fleet()
    unpolled(driver, 31.0)
    for _ in range(20):
        driver.die("orders-2", code=69)
        driver.wait(31.0)
        unpolled(driver, 100.0)
        assert not driver.did(act.TellDrain)
    assert driver.state("orders-1") is State.READY


def test_all_at_once_are_replaced_one_by_one() -> None:
    driver = fleet(3)
    for name in ("orders-1", "orders-2", "orders-3"):
        unpolled(driver, 31.0, name)
    for _ in range(12):
        assert len(driver.named(State.READY)) + len(driver.named(State.DRAINING)) >= 3
        assert len(driver.named(State.STARTING)) <= 1
        driver.boot()
        driver.leave()
    assert sorted(driver.named(State.READY)) == ["orders-1", "orders-2", "orders-3"]
    assert all(driver.entity(name).incarnation == 2 for name in driver.named(State.READY))


@pytest.mark.parametrize("how", ["away", "refusing", "the agent is dead", "the agent never spoke"])
def test_while_nobody_says_that_the_cluster_answers_it_is_not_the_entity(how: str) -> None:
    driver = up(make_pool("orders", 1, liveness=LIMITS, hang=1e6))
    if how != "the agent never spoke":
        cluster(driver, reachable=how != "away", refused=how == "refusing")
    driver.now += 1000.0
    if how == "the agent is dead":
        driver.helper_dies(AGENT)
    unpolled(driver, 900.0)
    assert driver.last == ()


def test_an_outage_that_is_over_counts_anew() -> None:
    driver = fleet()
    cluster(driver, reachable=False)
    driver.now += 600.0
    cluster(driver)
    driver.now += 30.0
    unpolled(driver, 630.0)
    assert driver.last == ()
    driver.now += 1.0
    unpolled(driver, 631.0)
    assert kinds(driver)[0] == "entity.not-polling"


def test_a_stall_of_the_supervisor_counts_anew_too() -> None:
    driver = fleet()
    driver.tell(events.Stalled(500.0))
    driver.now += 20.0
    unpolled(driver, 500.0)
    assert driver.last == ()


def test_a_slot_that_is_lost_costs_no_other_work() -> None:
    driver = fleet()
    stuck(driver, activations=(20.0,), activities=(60.0,), activity_slots=1)
    assert driver.last == ()
    stuck(driver, activations=(21.0, 3.0), workflow_slots=2)
    assert kinds(driver)[0] == "entity.stuck"
    assert driver.did(act.DumpStacks)
    assert not driver.did(act.Kill)
    assert driver.entity("orders-1").recycle == (
        "stuck: 1 workflow activation not ended, the longest for 21 s"
    )
    driver.boot()
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]


@pytest.mark.parametrize(
    "told",
    [
        {"activities": (90.0, 61.0), "activity_slots": 2},
        {"activations": (90.0, 21.0), "workflow_slots": 2},
    ],
)
def test_where_each_slot_is_lost_it_is_killed_and_that_is_a_crash(told: dict[str, Any]) -> None:
    driver = fleet()
    stuck(driver, **told)
    assert driver.did(act.DumpStacks) == [act.DumpStacks("orders-1", 1, 11)]
    assert kinds(driver) == ["entity.stuck"]
    assert not driver.did(act.Kill)
    driver.wait(1.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]
    driver.die("orders-1", signal="SIGKILL")
    ended = driver.entity("orders-1").last_exit
    assert ended is not None
    assert ended.cause.startswith("stuck: 2 ")
    assert ended.cause.endswith("; no slot is left: killed by SIGKILL")
    assert (driver.entity("orders-1").restarts, len(driver.entity("orders-1").crashes)) == (1, 1)


def test_one_that_is_being_replaced_is_killed_when_the_last_slot_is_lost() -> None:
    driver = fleet()
    stuck(driver, activities=(61.0,))
    stuck(driver, activities=(70.0, 61.0), activity_slots=2)
    driver.wait(1.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


def test_who_is_quiet_or_on_its_way_out_is_left_to_that() -> None:
    driver = fleet(2)
    driver.tell(events.QuietRequested("a", "orders-1"))
    driver.tell(events.LeftByItself("orders-2", 1, "signal"))
    for name in ("orders-1", "orders-2"):
        stuck(driver, name, unpolled="no poller", unpolled_for=99.0, activities=(999.0,), activity_slots=1)
        assert driver.last == ()


def test_a_former_life_is_nobody() -> None:
    driver = fleet()
    driver.die("orders-1")
    driver.boot()
    driver.tell(events.StoodStill("orders-1", 1, activities=(999.0,), activity_slots=1))
    assert driver.last == ()


def test_limits_change_in_the_middle_of_a_life() -> None:
    driver = fleet(limits=LivenessLimits(inf, inf, inf))
    told: dict[str, Any] = {
        "unpolled": "no poller",
        "unpolled_for": 1e6,
        "activations": (1e6,),
        "activities": (1e6,),
    }
    stuck(driver, **told, workflow_slots=1, activity_slots=1)
    assert driver.last == ()
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1, liveness=LIMITS, hang=1e6))))
    assert not driver.did(act.TellDrain)
    stuck(driver, **told)
    assert kinds(driver)[0] == "entity.stuck"


def test_a_pool_that_may_have_no_more_drains_first() -> None:
    driver = fleet(rollout=Rollout(max_surge=0, max_unavailable=1))
    unpolled(driver, 31.0)
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]


@given(
    st.lists(st.floats(0.0, 100.0), max_size=4),
    st.lists(st.floats(0.0, 100.0), max_size=4),
    st.none() | st.integers(0, 4),
    st.none() | st.integers(0, 4),
    st.floats(0.0, 100.0),
)
def test_nothing_within_the_limits_is_ever_a_fault(
    activations: list[float],
    activities: list[float],
    workflow_slots: int | None,
    activity_slots: int | None,
    gap: float,
) -> None:
    driver = fleet()
    stuck(
        driver,
        unpolled="no poller",
        unpolled_for=gap,
        activations=tuple(activations),
        activities=tuple(activities),
        workflow_slots=workflow_slots,
        activity_slots=activity_slots,
    )
    beyond = any(age > 20.0 for age in activations) or any(age > 60.0 for age in activities)
    assert bool(driver.last) == (beyond or gap > 30.0)
    assert (driver.state("orders-1") is State.DRAINING) == bool(
        (workflow_slots and sum(age > 20.0 for age in activations) >= workflow_slots)
        or (activity_slots and sum(age > 60.0 for age in activities) >= activity_slots)
    )
