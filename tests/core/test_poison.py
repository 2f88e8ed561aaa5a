"""Poison pills: what is singled out by the deaths it was at is failed for good, and nothing else is."""

from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import (
    ActivityInHand,
    ActivityKey,
    ActivityVerdict,
    Estate,
    RunInHand,
    RunKey,
    SuspectKey,
)
from temporal_fleet.supervisor.core.fleet import Leaving, MemoryLimits, Pool
from temporal_fleet.supervisor.core.poison import CACHED_AT_MOST, KEPT, LATEST, WINDOW
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

PATIENT = RestartPolicy(max_restarts=1000)
KILLER = ActivityKey("order-7", "run-7", "3")
INNOCENT = ActivityKey("order-8", "run-8", "1")
ALONE = ActivityKey("", "run-9", "thumbnail")
RUN = RunKey("order-7", "run-7")


def holding(*keys: SuspectKey) -> Estate:
    return Estate(
        activities=tuple(_attempt(key) for key in keys if isinstance(key, ActivityKey)),
        runs=tuple(RunInHand(key, "Order") for key in keys if isinstance(key, RunKey)),
        cached=1,
        connected=True,
    )


def _attempt(key: ActivityKey, token: bytes = b"") -> ActivityInHand:
    return ActivityInHand(key, "charge", 1, token or _token(key))


def _token(key: ActivityKey) -> bytes:
    return f"{key.workflow_id}/{key.run_id}/{key.activity_id}".encode()


def crash(
    driver: Driver,
    *keys: SuspectKey,
    signal: str = "SIGSEGV",
    name: str = "orders-1",
    wall: float = 0.0,
    nexus_tasks: int = 0,
    began: float | None = None,
) -> None:
    """It is ready, and dies with these in its hands; who died before is recovered by then."""
    for life in driver.fleet.recoveries:
        driver.tell(events.Recovered(life, 1, 0, 0, 1, 0, 0.1, ""))
    if driver.state(name) is not State.READY:
        driver.wait(31.0)
        driver.boot()
    assert driver.state(name) is State.READY
    incarnation = driver.entity(name).incarnation
    since = wall if began is None else began
    held = holding(*keys)
    activities = tuple(replace(activity, since=since) for activity in held.activities)
    estate = replace(held, activities=activities, nexus_tasks=nexus_tasks)
    driver.tell(events.Died(name, incarnation, None, signal, "", estate, wall))


def deaths(driver: Driver) -> dict[SuspectKey, int]:
    return {key: suspect.deaths for key, suspect in driver.fleet.suspects.items()}


def verdicts(driver: Driver) -> dict[bytes, ActivityVerdict]:
    (order,) = driver.did(act.Recover)
    return {verdict.task_token: verdict for verdict in order.verdicts}


def poisoned(driver: Driver) -> set[bytes]:
    return {token for token, verdict in verdicts(driver).items() if verdict.poison}


def told(driver: Driver, kind: str) -> list[act.Emit]:
    return [action for action in driver.did(act.Emit) if action.kind == kind]


def fleet(desired: int = 1, poison_after: int = 3) -> Driver:
    return up(silent_pool("orders", desired, poison_after=poison_after, restart=PATIENT))


def silent_pool(name: str, desired: int, **settings: Any) -> Pool:
    """Of entities whose silence means nothing."""
    return make_pool(name, desired, hang=1e6, **settings)


# The culprit


@pytest.mark.parametrize("key", [KILLER, ALONE])
def test_what_killed_so_many_is_failed_with_the_evidence(key: ActivityKey) -> None:
    driver = fleet()
    for _ in range(2):
        crash(driver, key)
        assert verdicts(driver) == {}, "alone, it is retried at once"
    crash(driver, key)
    evidence = verdicts(driver)[_token(key)].poison
    assert evidence == (
        "3 entities died while it was in their hands (orders-1.1, orders-1.2, orders-1.3); "
        "the last: killed by SIGSEGV"
    )
    (line,) = told(driver, "activity.poisoned")
    assert line.level is act.Level.ERROR
    assert evidence in line.message
    assert deaths(driver) == {}


def test_the_deaths_count_wherever_they_were() -> None:
    driver = up(
        silent_pool("orders", 1, restart=PATIENT),
        silent_pool("mail", 1, restart=PATIENT),
    )
    crash(driver, KILLER, name="orders-1")
    crash(driver, KILLER, name="mail-1")
    crash(driver, KILLER, name="orders-1")
    assert poisoned(driver) == {_token(KILLER)}


def test_poison_after_is_of_the_pool_and_none_means_never() -> None:
    driver = fleet(poison_after=1)
    crash(driver, KILLER)
    assert poisoned(driver) == {_token(KILLER)}
    driver = fleet(poison_after=0)
    for _ in range(5):
        crash(driver, KILLER, RUN)
        assert verdicts(driver) == {}
    assert deaths(driver) == {}


def test_two_attempts_of_one_activity_are_one_suspect() -> None:
    driver = fleet(poison_after=2)
    estate = replace(holding(KILLER), activities=(_attempt(KILLER, b"old"), _attempt(KILLER, b"new")))
    driver.tell(events.Died("orders-1", 1, None, "SIGSEGV", "", estate))
    assert deaths(driver) == {KILLER: 1}
    driver.boot()
    driver.tell(events.Died("orders-1", 2, None, "SIGSEGV", "", estate))
    assert poisoned(driver) == {b"old", b"new"}


# The innocent


@pytest.mark.parametrize("now", [True, False])
def test_deaths_that_were_ordered_do_not_count(now: bool) -> None:
    driver = fleet(desired=2)
    driver.tell(events.RestartRequested("request", "orders-1"))
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL", "", holding(KILLER)))
    assert deaths(driver) == {}
    driver.tell(events.StopRequested(now))
    driver.tell(events.Died("orders-2", 1, None, "SIGKILL", "", holding(KILLER)))
    assert deaths(driver) == {}
    assert not [action for action in driver.all if isinstance(action, act.SaveSuspects)]


def test_one_that_hung_on_its_way_out_died_of_the_order() -> None:
    driver = up(make_pool("orders", 1, hang=2.0, drain=60.0, restart=PATIENT))
    driver.tell(events.RestartRequested("request", "orders-1"))
    driver.wait(10.0)
    assert driver.entity("orders-1").leaving is Leaving.STUCK
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL", "", holding(KILLER)))
    assert deaths(driver) == {}
    assert driver.entity("orders-1").crashes == ()


def test_one_that_was_killed_since_its_own_drain_took_too_long_is_no_evidence() -> None:
    driver = fleet()
    driver.tell(events.LeftByItself("orders-1", 1, "signal"))
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL", "", holding(KILLER)))
    assert deaths(driver) == {}
    driver.boot()
    driver.tell(events.LeftByItself("orders-1", 2, "signal"))
    driver.tell(events.Died("orders-1", 2, None, "SIGSEGV", "", holding(KILLER)))
    assert deaths(driver) == {KILLER: 1}


@pytest.mark.parametrize("code", [ExitCode.STOPPED, ExitCode.ORPHANED])
def test_an_exit_status_of_success_without_a_drain_is_evidence(code: int) -> None:
    driver = fleet()
    driver.tell(events.Died("orders-1", 1, code, None, "", holding(KILLER)))
    assert deaths(driver) == {KILLER: 1}


@pytest.mark.parametrize("code", [ExitCode.CLUSTER_REFUSED, ExitCode.PROGRAM_UNUSABLE])
def test_an_exit_for_another_reason_is_no_evidence(code: int) -> None:
    driver = fleet()
    driver.tell(events.Died("orders-1", 1, code, None, "", holding(KILLER)))
    assert deaths(driver) == {}


@pytest.mark.parametrize(
    ("held", "counted"), [((KILLER,), True), ((KILLER, INNOCENT), False), ((KILLER, RUN), True)]
)
def test_a_hang_is_evidence_against_the_only_activity(held: tuple[SuspectKey, ...], counted: bool) -> None:
    driver = up(make_pool("orders", 1, hang=2.0))
    driver.wait(3.0)
    assert driver.entity("orders-1").leaving is Leaving.HUNG
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL", "", holding(*held)))
    assert deaths(driver) == (dict.fromkeys(held, 1) if counted else {})


@pytest.mark.parametrize(
    ("cached", "counted"), [(0, True), (CACHED_AT_MOST, True), (CACHED_AT_MOST + 1, False)]
)
def test_growing_too_large_is_evidence_where_the_cache_is_small(cached: int, counted: bool) -> None:
    driver = up(make_pool("orders", 1, restart=PATIENT, memory=MemoryLimits(kill_above=1000)))
    driver.tell(
        events.Measured(
            (events.Reading("orders-1", 1, rss=1001, pss=None, cached=cached, blocked=0, tasks=0),)
        )
    )
    assert driver.entity("orders-1").leaving is Leaving.TOO_LARGE
    estate = replace(holding(KILLER), cached=cached)
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL", "", estate, 0.0))
    assert (KILLER in driver.fleet.suspects) is counted


def test_nobody_is_condemned_for_what_a_nexus_task_may_have_done() -> None:
    driver = up(make_pool("orders", 1, restart=PATIENT, poison_after=2))
    for _ in range(3):
        crash(driver, KILLER, nexus_tasks=1)
        assert not any(verdict.poison for verdict in verdicts(driver).values())
    crash(driver, KILLER)
    assert [bool(verdict.poison) for verdict in verdicts(driver).values()] == [True]


def test_of_those_that_were_always_there_together_nobody_is_condemned() -> None:
    driver = fleet()
    for _ in range(8):
        crash(driver, KILLER, INNOCENT)
        assert poisoned(driver) == set()
    assert deaths(driver) == {KILLER: 8, INNOCENT: 8}


def test_suspects_are_retried_apart_and_ever_further_until_one_is_singled_out() -> None:
    driver = fleet()
    delays = []
    for _ in range(9):
        crash(driver, INNOCENT, KILLER, ALONE)
        delays.append([verdict.retry_after for verdict in verdicts(driver).values()])
    assert delays == [[], *([step, 2 * step] for step in (1, 2, 4, 8, 16, 30, 30, 30))]
    crash(driver, KILLER)
    assert poisoned(driver) == {_token(KILLER)}
    assert deaths(driver) == {}, "the deaths that the culprit explains stay with the others"


def test_the_likeliest_is_retried_first_so_that_it_is_alone_when_it_kills_again() -> None:
    driver = fleet(poison_after=9)
    crash(driver, KILLER)
    for _ in range(2):
        crash(driver, INNOCENT, KILLER)
    assert {token: verdict.retry_after for token, verdict in verdicts(driver).items()} == {
        _token(INNOCENT): 2.0
    }


def test_however_many_suspects_there_are_the_last_comes_within_the_minute() -> None:
    driver = fleet()
    many = [ActivityKey("order", "run", str(n)) for n in range(500)]
    for _ in range(3):
        crash(driver, *many)
    waits = sorted(verdict.retry_after for verdict in verdicts(driver).values())
    assert len(waits) == len(set(waits)) == 499
    assert waits[-1] == pytest.approx(LATEST)


def test_a_culprit_among_ever_new_others_is_singled_out() -> None:
    driver = fleet()
    fresh = (ActivityKey("order", f"run-{n}", "1") for n in count())
    for _ in range(3):
        crash(driver, next(fresh), KILLER, next(fresh))
    assert poisoned(driver) == {_token(KILLER)}


@pytest.mark.parametrize(("hours", "condemned"), [(0.1, True), (20.0, False)])
def test_what_runs_for_hours_is_not_condemned_for_being_at_the_deaths_of_a_day(
    hours: float, condemned: bool
) -> None:
    driver = fleet()
    fresh = (ActivityKey("order", f"run-{n}", "1") for n in count())
    for death in range(1, 4):
        crash(driver, next(fresh), KILLER, wall=death * hours * 3600, began=(death - 1) * hours * 3600)
    assert poisoned(driver) == ({_token(KILLER)} if condemned else set())
    # Alone it is, and the one that was condemned begins anew.
    crash(driver, KILLER, wall=4 * hours * 3600)
    assert (poisoned(driver) == {_token(KILLER)}) is not condemned


def test_one_that_works_long_beside_culprit_after_culprit_is_not_condemned() -> None:
    driver = fleet()
    for n in range(4):
        culprit = ActivityKey("order", f"run-{n}", "1")
        for _ in range(2):
            crash(driver, INNOCENT, culprit)
        crash(driver, culprit)
        assert poisoned(driver) == {_token(culprit)}
        assert deaths(driver) == {}


def test_an_activity_is_not_condemned_for_what_a_run_does() -> None:
    driver = fleet()
    for _ in range(5):
        crash(driver, INNOCENT, RUN)
        assert poisoned(driver) == set()
    assert verdicts(driver)[_token(INNOCENT)].retry_after > 0, "a run does not wait: the activity does"


# The runs


def test_a_run_that_was_at_so_many_deaths_is_reported_each_time_and_nothing_is_done_to_it() -> None:
    driver = fleet()
    reports = []
    for _ in range(4):
        crash(driver, RUN)
        assert verdicts(driver) == {}
        reports.append([line.message for line in told(driver, "workflow.suspect")])
    assert [len(lines) for lines in reports] == [0, 0, 1, 1]
    assert reports[-1][0].startswith("workflow order-7 (Order, run run-7) was active at 4 deaths, the last:")
    assert deaths(driver) == {RUN: 4}


def test_the_crashes_of_a_known_run_do_not_use_up_the_restart_intensity() -> None:
    strict = RestartPolicy(max_restarts=2, within=3600.0)
    driver = up(silent_pool("orders", 1, restart=strict))
    for _ in range(12):
        crash(driver, RUN)
    assert driver.state("orders-1") is State.BACKOFF, "its backoff does grow"
    assert len(driver.entity("orders-1").crashes) == 2
    crash(driver)
    assert driver.state("orders-1") is State.FAILED


def test_a_culprit_that_is_found_takes_its_deaths_off_the_runs() -> None:
    driver = fleet()
    for _ in range(2):
        crash(driver, KILLER, RUN)
    crash(driver, KILLER)
    assert deaths(driver) == {}


# What is remembered


def test_every_change_is_saved_the_oldest_first_and_the_next_supervisor_goes_on_from_there() -> None:
    driver = fleet()
    crash(driver, KILLER, RUN)
    crash(driver, INNOCENT)
    crash(driver, KILLER)
    (saved,) = driver.did(act.SaveSuspects)
    assert [(suspect.key, suspect.deaths) for suspect in saved.suspects] == [
        (RUN, 1),
        (INNOCENT, 1),
        (KILLER, 2),
    ]
    following = Driver()
    pools = by_name(silent_pool("orders", 1))
    following.tell(events.Started(pools, suspects=saved.suspects))
    following.prepare()
    following.boot()
    crash(following, KILLER)
    assert poisoned(following) == {_token(KILLER)}


def test_deaths_that_are_far_apart_do_not_add_up_whoever_supervised_then() -> None:
    driver = fleet()
    moment = 1.7e9
    for _ in range(5):
        crash(driver, KILLER, RUN, wall=moment)
        assert deaths(driver) == {KILLER: 1, RUN: 1}
        (saved,) = driver.did(act.SaveSuspects)
        driver = Driver()
        driver.tell(events.Started(by_name(silent_pool("orders", 1)), suspects=saved.suspects))
        driver.prepare()
        driver.boot()
        moment += WINDOW
    crash(driver, INNOCENT, wall=moment)
    assert deaths(driver) == {INNOCENT: 1}, "the old ones are no suspects any more"


def test_the_window_is_counted_from_the_last_death() -> None:
    driver = fleet()
    for day in range(3):
        crash(driver, KILLER, wall=1.7e9 + day * 0.9 * WINDOW)
    assert poisoned(driver) == {_token(KILLER)}


def test_what_happened_before_the_clock_was_set_back_by_far_counts_no_more() -> None:
    driver = fleet()
    crash(driver, KILLER, wall=1.7e9 + 2 * WINDOW)
    crash(driver, KILLER, wall=1.7e9)
    assert deaths(driver) == {KILLER: 1}


def test_of_too_many_the_oldest_are_forgotten() -> None:
    driver = fleet()
    for batch in range(3):
        crash(driver, *(ActivityKey("order", f"run-{batch}", str(n)) for n in range(400)))
    assert len(driver.fleet.suspects) == KEPT
    assert ActivityKey("order", "run-0", "0") not in driver.fleet.suspects
    assert ActivityKey("order", "run-2", "0") in driver.fleet.suspects


# All together


@pytest.mark.parametrize("seed", range(20))
def test_among_many_every_killer_is_found_and_no_innocent_is_condemned(seed: int) -> None:
    """Two entities take work in random order; a killer kills whoever has it in hand, an innocent takes its
    time and dies with its entity. Whoever is told to wait, waits."""
    random = Random(seed)
    driver = fleet(desired=2)
    killers = {ActivityKey("bad", f"run-{n}", "1") for n in range(4)}
    innocents = {ActivityKey("good", f"run-{n}", "1") for n in range(40)}
    due = {key: random.uniform(0.0, 20.0) for key in sorted(killers | innocents, key=str)}
    running: dict[ActivityKey, tuple[str, float]] = {}
    ended: set[ActivityKey] = set()
    condemned: set[ActivityKey] = set()
    for step in range(4000):
        now = step * 0.1
        for key, (_, until) in tuple(running.items()):
            if until <= now and key in innocents:
                del running[key]
                ended.add(key)
        for key in [key for key, moment in due.items() if moment <= now]:
            del due[key]
            running[key] = (random.choice(("orders-1", "orders-2")), now + random.uniform(0.1, 3.0))
        dying = {name for key, (name, until) in running.items() if key in killers and until - 2.5 <= now}
        for name in sorted(dying):
            held = [key for key, (where, _) in running.items() if where == name]
            crash(driver, *held, name=name)
            rulings = verdicts(driver)
            for key in held:
                del running[key]
                ruling = rulings.get(_token(key), ActivityVerdict(b""))
                if ruling.poison:
                    condemned.add(key)
                else:
                    due[key] = now + ruling.retry_after + 0.05
    assert condemned == killers
    assert ended == innocents
