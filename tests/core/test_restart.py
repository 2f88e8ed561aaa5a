"""Restart policy: how long a place waits for its next life, and when it gives up."""

import pytest

from temporal_fleet.protocol.exits import ExitCode, Verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.restart import (
    HEALTHY_AFTER,
    Policy,
    RestartPolicy,
    delay,
    in_window,
    may_restart,
    slow_delay,
    too_many,
)
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import make_pool

PATIENT = RestartPolicy(backoff=1.0, backoff_max=8.0, max_restarts=100)


def crash_until(driver: Driver, name: str, deaths: int) -> None:
    """It dies in boot, again and again, as soon as it is forked."""
    for _ in range(deaths):
        driver.wait(40.0 if driver.state(name) is State.BACKOFF else 0.0)
        driver.die(name)


def test_the_first_restart_is_free() -> None:
    assert delay(PATIENT, 1, "orders-1.1") == 0.0


@pytest.mark.parametrize(("streak", "full"), [(2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (5000, 8.0)])
def test_then_the_backoff_doubles_up_to_its_limit(streak: int, full: float) -> None:
    waits = [delay(PATIENT, streak, f"orders-{n}.1") for n in range(200)]
    assert full / 2 <= min(waits) < full * 0.6
    assert full * 0.9 < max(waits) <= full


def test_the_spread_is_of_the_life_and_not_of_chance() -> None:
    assert (
        delay(PATIENT, 3, "orders-1.4") == delay(PATIENT, 3, "orders-1.4") != delay(PATIENT, 3, "orders-2.4")
    )


def test_what_is_retried_for_ever_waits_about_backoff_max() -> None:
    waits = [slow_delay(PATIENT, f"orders-{n}.1") for n in range(200)]
    assert 4.0 <= min(waits) < max(waits) <= 8.0


def test_crashes_count_within_the_window_only() -> None:
    policy = RestartPolicy(max_restarts=2, within=60.0)
    assert in_window((0.0, 40.0, 90.0), policy, now=100.0) == (90.0,)
    assert not too_many((80.0, 90.0), policy)
    assert too_many((80.0, 90.0, 99.0), policy)


@pytest.mark.parametrize(
    ("policy", "after_leaving", "after_crash"),
    [(Policy.ALWAYS, True, True), (Policy.ON_FAILURE, False, True), (Policy.NEVER, False, False)],
)
def test_policies(policy: Policy, after_leaving: bool, after_crash: bool) -> None:
    assert may_restart(RestartPolicy(policy), Verdict.LEFT) is after_leaving
    assert may_restart(RestartPolicy(policy), Verdict.CRASH) is after_crash


def test_a_single_death_is_answered_by_a_fork_in_the_same_decision() -> None:
    driver = up(make_pool("orders", 2))
    driver.die("orders-1")
    assert [(fork.entity, fork.incarnation) for fork in driver.did(act.Fork)] == [("orders-1", 2)]
    assert driver.entity("orders-1").restarts == 1


def test_the_second_unhealthy_life_waits_and_is_not_forked_before() -> None:
    driver = up(make_pool("orders", 1, restart=PATIENT))
    driver.die("orders-1")
    driver.die("orders-1")
    assert driver.state("orders-1") is State.BACKOFF
    driver.wait(0.49)
    assert driver.state("orders-1") is State.BACKOFF
    driver.wait(0.52)
    assert driver.state("orders-1") is State.STARTING


def test_a_healthy_life_begins_the_backoff_anew() -> None:
    driver = up(make_pool("orders", 1, restart=PATIENT, hang=1000.0))
    crash_until(driver, "orders-1", 4)
    driver.wait(10.0)
    driver.boot("orders-1")
    driver.wait(HEALTHY_AFTER)
    driver.die("orders-1")
    assert driver.state("orders-1") is State.STARTING
    driver.boot("orders-1")
    driver.wait(HEALTHY_AFTER / 2)
    driver.die("orders-1")
    assert driver.state("orders-1") is State.BACKOFF


def test_a_crash_loop_fails_says_why_and_leaves_the_other_pools_alone() -> None:
    driver = up(
        make_pool("orders", 1, restart=RestartPolicy(max_restarts=3, backoff=0.1)), make_pool("billing", 1)
    )
    for _ in range(4):
        driver.wait(0.5)
        driver.die("orders-1", code=1)
    place = driver.entity("orders-1")
    assert place.state is State.FAILED
    assert "crash loop: 4 deaths within 60 s, the last: exit status 1" in place.reason
    assert "temporal-fleet restart orders" in place.reason
    driver.wait(10_000.0)
    assert driver.state("orders-1") is State.FAILED
    assert driver.entity("billing-1").incarnation == 1


def test_deaths_far_enough_apart_never_fail() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=1, within=5.0), hang=1000.0))
    for _ in range(20):
        driver.wait(6.0)
        driver.boot()
        driver.die("orders-1")
        assert driver.state("orders-1") is not State.FAILED


def test_exits_in_order_count_too_or_they_could_loop_without_end() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=3, backoff=0.1)))
    for _ in range(4):
        driver.wait(0.5)
        driver.boot()
        driver.tell(events.LeftByItself("orders-1", driver.entity("orders-1").incarnation, "signal"))
        driver.die("orders-1", code=0)
    assert driver.state("orders-1") is State.FAILED


def test_deaths_that_were_ordered_count_nothing() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=0)))
    for n in range(5):
        driver.tell(events.RestartRequested(f"r{n}", "orders-1"))
        driver.die("orders-1", signal="SIGKILL")
        assert driver.state("orders-1") is State.STARTING
        driver.boot()


def test_on_failure_stops_after_an_exit_in_order_and_restarts_after_a_crash() -> None:
    driver = up(make_pool("orders", 2, restart=RestartPolicy(Policy.ON_FAILURE)))
    driver.die("orders-1", code=ExitCode.STOPPED)
    driver.die("orders-2", code=ExitCode.CRASHED)
    assert driver.state("orders-1") is State.STOPPED
    assert driver.state("orders-2") is State.STARTING


def test_never_stops_whatever_the_end_was() -> None:
    driver = up(make_pool("orders", 2, restart=RestartPolicy(Policy.NEVER)))
    driver.die("orders-1", code=ExitCode.STOPPED)
    driver.die("orders-2", signal="SIGSEGV")
    driver.wait(1000.0)
    assert driver.named(State.STOPPED) == ["orders-1", "orders-2"]
    assert driver.entity("orders-2").reason == "killed by SIGSEGV"


@pytest.mark.parametrize(
    "code", [ExitCode.CLUSTER_UNREACHABLE, ExitCode.CLUSTER_REFUSED, ExitCode.NO_BLACK_BOX]
)
@pytest.mark.parametrize("policy", list(Policy))
def test_the_cluster_and_the_host_are_never_counted_and_retried_for_ever(
    code: ExitCode, policy: Policy
) -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(policy, max_restarts=0, backoff_max=8.0)))
    for _ in range(50):
        driver.die("orders-1", code=code)
        assert driver.state("orders-1") is State.BACKOFF
        driver.wait(3.9)
        assert driver.state("orders-1") is State.BACKOFF
        driver.wait(4.2)
        assert driver.state("orders-1") is State.STARTING


def test_who_waits_for_the_cluster_starts_when_it_is_back_and_nobody_else_does() -> None:
    driver = up(make_pool("orders", 2, restart=RestartPolicy(backoff=20.0, backoff_max=30.0)))
    driver.die("orders-1", code=ExitCode.CLUSTER_UNREACHABLE)
    driver.die("orders-2")
    driver.die("orders-2")
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    assert driver.state("orders-1") is State.STARTING
    assert driver.state("orders-2") is State.BACKOFF


def test_a_refused_fork_is_no_matter_of_the_cluster() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(backoff=20.0, backoff_max=30.0)))
    driver.die("orders-1", code=ExitCode.CLUSTER_UNREACHABLE)
    driver.wait(30.0)
    driver.tell(events.ForkRefused("orders-1", 2, "no memory"))
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    assert driver.state("orders-1") is State.BACKOFF


def test_nothing_is_started_while_the_cluster_is_away() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ClusterChanged(reachable=False, refused=False, reason="no answer at shop:7233"))
    driver.die("orders-1")
    driver.wait(1000.0)
    assert driver.state("orders-1") is State.WAITING
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    assert driver.state("orders-1") is State.STARTING


def test_one_stuck_in_boot_while_the_cluster_is_away_did_not_crash() -> None:
    driver = Driver(make_pool("orders", 1, boot=5.0, restart=RestartPolicy(max_restarts=0)))
    driver.prepare()
    driver.tell(events.Forked("orders-1", 1, 7))
    driver.tell(events.ClusterChanged(reachable=False, refused=False, reason="no answer"))
    driver.wait(7.0)
    driver.die("orders-1", signal="SIGKILL")
    assert driver.state("orders-1") is State.BACKOFF
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    assert driver.state("orders-1") is State.STARTING


def test_a_program_that_cannot_run_fails_at_once_and_is_not_retried() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.Died("orders-1", 1, ExitCode.PROGRAM_UNUSABLE, None, "no workflow in it"))
    driver.wait(1000.0)
    assert driver.state("orders-1") is State.FAILED
    assert driver.entity("orders-1").reason == "no workflow in it (exit status 78)"
