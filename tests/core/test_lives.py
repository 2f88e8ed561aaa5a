"""One life of an entity: its deadline before its fork, its silence, its end, and what is stale."""

from dataclasses import replace

import pytest

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperState, Leaving, Load, MemoryLimits, Pool
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool


def test_the_boot_deadline_is_armed_before_anything_of_the_fork_is_heard() -> None:
    driver = Driver(make_pool("orders", 1, boot=7.0))
    driver.prepare()
    assert driver.did(act.Fork)
    assert driver.entity("orders-1").deadline == driver.now + 7.0


def test_one_stuck_in_boot_writes_its_stacks_and_is_killed() -> None:
    driver = Driver(make_pool("orders", 1, boot=7.0))
    driver.prepare()
    driver.tell(events.Forked("orders-1", 1, 41))
    driver.wait(7.0)
    assert driver.did(act.DumpStacks) == [act.DumpStacks("orders-1", 1, 41)]
    assert not driver.did(act.Kill)
    driver.wait(1.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 41)]
    driver.die("orders-1", signal="SIGKILL")
    assert driver.entity("orders-1").reason == "not ready in time: killed by SIGKILL"


def test_a_silent_one_writes_its_stacks_and_is_killed() -> None:
    driver = up(make_pool("orders", 1, hang=10.0))
    driver.wait(9.0)
    driver.tell(events.Heard("orders-1", 1))
    driver.wait(9.9)
    assert driver.state("orders-1") is State.READY
    driver.wait(0.2)
    assert driver.did(act.DumpStacks)
    assert driver.entity("orders-1").leaving is Leaving.HUNG
    driver.wait(1.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


def test_a_kill_without_a_death_is_repeated() -> None:
    driver = up(make_pool("orders", 1, hang=10.0))
    driver.wait(11.0)
    for _ in range(3):
        assert driver.did(act.Kill)
        driver.last = ()
        driver.wait(5.0)


def test_silence_during_the_supervisors_own_stall_is_nobodys() -> None:
    driver = up(make_pool("orders", 1, hang=10.0))
    driver.now += 100.0
    driver.tell(events.Stalled(100.0))
    assert driver.state("orders-1") is State.READY
    driver.wait(9.0)
    assert driver.state("orders-1") is State.READY


def test_one_that_boots_gets_time_after_a_stall() -> None:
    driver = Driver(make_pool("orders", 1, boot=7.0))
    driver.prepare()
    driver.now += 100.0
    driver.tell(events.Stalled(100.0))
    driver.wait(1.0)
    driver.boot()
    assert driver.state("orders-1") is State.READY


def test_one_that_drains_too_long_is_killed_after_drain_and_five_seconds() -> None:
    driver = up(make_pool("orders", 1, drain=30.0))
    driver.tell(events.StopRequested(now=False))
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]
    driver.wait(12.0)
    driver.tell(events.Heard("orders-1", 1))
    driver.wait(12.0)
    driver.tell(events.Heard("orders-1", 1))
    driver.wait(10.9)
    assert not driver.did(act.Kill)
    driver.wait(0.2)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


@pytest.mark.parametrize(
    "wanted",
    [[], [make_pool("orders", 0, drain=1.0, hang=1000.0, digest="d2")]],
    ids=["its pool is gone", "its pool gives others less"],
)
def test_one_that_drains_has_the_time_that_it_was_given_at_its_start(wanted: list[Pool]) -> None:
    """As it tells its activities: killed before, they would not have been cancelled."""
    driver = up(make_pool("orders", 1, drain=600.0, hang=1000.0))
    driver.tell(events.ReloadRequested("a", by_name(*wanted)))
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]
    driver.wait(604.9)
    assert not driver.did(act.Kill)
    driver.wait(0.2)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


def test_one_that_hangs_while_it_drains_is_killed_for_that() -> None:
    driver = up(make_pool("orders", 1, drain=600.0, hang=10.0))
    driver.tell(events.StopRequested(now=False))
    driver.wait(14.9)
    assert not driver.did(act.DumpStacks)
    driver.wait(0.2)
    assert driver.did(act.DumpStacks) == [act.DumpStacks("orders-1", 1, 11)]
    driver.wait(1.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


def test_a_death_is_heard_once() -> None:
    driver = up(make_pool("orders", 1))
    driver.die("orders-1")
    assert driver.entity("orders-1").incarnation == 2
    driver.tell(events.Died("orders-1", 1, None, "SIGKILL"))
    assert driver.entity("orders-1").incarnation == 2
    assert driver.state("orders-1") is State.STARTING


@pytest.mark.parametrize(
    "event",
    [
        events.BecameReady("orders-1", 1),
        events.Heard("orders-1", 1),
        events.Forked("orders-1", 1, 99),
        events.ForkRefused("orders-1", 1, "late"),
        events.LeftByItself("orders-1", 1, "signal"),
        events.BecameReady("nobody-9", 3),
    ],
)
def test_what_a_former_life_says_changes_nothing(event: events.Event) -> None:
    driver = up(make_pool("orders", 1))
    driver.die("orders-1")
    before = driver.fleet
    assert driver.tell(event) == ()
    assert driver.fleet == before


def test_a_stranger_is_welcomed_and_told_to_drain() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.Greeted("orders-1", 7, 99))
    assert driver.last == (act.Welcome("orders-1", 7), act.TellDrain("orders-1", 7))
    assert driver.entity("orders-1").pid == 11


def test_one_that_says_hello_late_hears_again_that_it_is_to_drain() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.tell(events.StopRequested(now=False))
    driver.tell(events.Greeted("orders-1", 1, 41))
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]


def test_a_refused_fork_waits_and_is_no_crash() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    for _ in range(40):
        driver.tell(events.ForkRefused("orders-1", driver.entity("orders-1").incarnation, "no memory"))
        assert driver.state("orders-1") is State.BACKOFF
        assert driver.entity("orders-1").reason == "fork refused: no memory"
        driver.wait(31.0)
    assert driver.entity("orders-1").crashes == ()


def test_a_refusal_of_one_that_was_announced_is_not_believed() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ForkRefused("orders-1", 1, "nonsense"))
    assert driver.state("orders-1") is State.READY


def test_who_a_dead_fork_server_did_not_announce_is_sought_and_another_comes() -> None:
    driver = Driver(make_pool("orders", 2))
    driver.prepare()
    driver.boot("orders-2")
    driver.helper_dies(driver.server("orders"))
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, None)]
    assert driver.state("orders-2") is State.READY
    driver.tell(events.Died("orders-1", 1, None, None))
    driver.prepare()
    assert driver.did(act.Fork) == [act.Fork("orders-1", 2, "orders", driver.server("orders"))]
    assert driver.entity("orders-1").crashes == ()


def test_a_search_that_takes_long_never_hits_the_next_fork_server() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.helper_dies(driver.server("orders"))
    driver.prepare()
    driver.wait(5.0)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, None)]
    assert not [action for action in driver.all if isinstance(action, act.KillHelper)]


def test_one_that_a_live_fork_server_never_announces_costs_that_fork_server() -> None:
    driver = Driver(make_pool("orders", 1, boot=7.0))
    driver.prepare()
    driver.wait(8.0)
    assert driver.did(act.KillHelper) == [act.KillHelper(driver.server("orders"))]
    assert not [action for action in driver.all if isinstance(action, act.Kill)]
    driver.helper_dies(driver.server("orders"))
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, None)]


def quiet(driver: Driver, name: str) -> None:
    driver.tell(events.QuietRequested(f"quiet {name}", name))


def test_a_quiet_one_is_told_once_and_keeps_its_id_while_another_takes_its_place() -> None:
    driver = up(make_pool("orders", 2))
    quiet(driver, "orders-1")
    assert driver.did(act.TellQuiet) == [act.TellQuiet("orders-1", 1)]
    assert driver.state("orders-1") is State.QUIET
    assert [fork.entity for fork in driver.did(act.Fork)] == ["orders-3"]
    driver.boot()
    driver.wait(1.0)
    assert not driver.did(act.TellQuiet)
    assert driver.named(State.READY) == ["orders-2", "orders-3"]


def test_a_quiet_one_that_says_hello_again_hears_again_that_it_is_quiet() -> None:
    driver = up(make_pool("orders", 1))
    quiet(driver, "orders-1")
    driver.tell(events.Greeted("orders-1", 1, 11))
    assert driver.last == (act.Welcome("orders-1", 1), act.TellQuiet("orders-1", 1))


def test_a_quiet_one_that_hangs_is_killed_and_nobody_comes_after_it() -> None:
    driver = up(make_pool("orders", 1, hang=10.0))
    quiet(driver, "orders-1")
    driver.boot("orders-2")
    driver.wait(9.0)
    driver.tell(events.Heard("orders-2", 1))
    driver.wait(2.1)
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]
    driver.die("orders-1")
    assert list(driver.fleet.entities) == ["orders-2"]
    assert not driver.did(act.Fork)


def test_a_quiet_one_that_grows_too_large_is_killed() -> None:
    driver = up(make_pool("orders", 1, memory=MemoryLimits(kill_above=100)))
    quiet(driver, "orders-1")
    driver.tell(events.Measured((events.Reading("orders-1", 1, 101, None, 0, 0, 0),)))
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]


def test_a_quiet_one_stays_through_rolls_scaling_and_a_drained_pool() -> None:
    pool = make_pool("orders", 2)
    driver = up(pool)
    quiet(driver, "orders-1")
    driver.boot("orders-3")
    driver.tell(events.ReloadRequested("a", by_name(replace(pool, digest="d2"))))
    while driver.named(State.STARTING) or driver.named(State.DRAINING):
        driver.boot()
        driver.leave()
    driver.tell(events.ScaleRequested("b", {"orders": 1}))
    driver.tell(events.DrainRequested("c", "orders"))
    driver.leave()
    assert driver.state("orders-1") is State.QUIET
    assert list(driver.fleet.entities) == ["orders-1"]
    assert act.TellDrain("orders-1", 1) not in driver.all


def test_a_quiet_one_that_is_restarted_leaves_and_nobody_comes_after_it() -> None:
    driver = up(make_pool("orders", 2))
    quiet(driver, "orders-2")
    driver.boot()
    driver.tell(events.RestartRequested("r", "orders-2"))
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-2", 1)]
    driver.leave()
    assert sorted(driver.fleet.entities) == ["orders-1", "orders-3"]
    assert not driver.did(act.Fork)


@pytest.mark.parametrize("stops", [False, True])
def test_a_quiet_one_leaves_with_its_pool_and_with_the_fleet(stops: bool) -> None:
    driver = up(make_pool("orders", 1))
    quiet(driver, "orders-1")
    driver.tell(events.StopRequested(now=False) if stops else events.ReloadRequested("a", {}))
    assert act.TellDrain("orders-1", 1) in driver.last


def test_what_an_entity_has_in_hand_is_of_one_life() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.Heard("orders-1", 1, 3, 40))
    assert driver.entity("orders-1").load == Load(activities=3, cached=40)
    driver.die("orders-1")
    assert driver.entity("orders-1").load == Load()


def test_scaling_down_takes_who_told_that_it_has_least_to_do() -> None:
    driver = up(make_pool("orders", 3))
    for name, activities in (("orders-1", 2), ("orders-2", 0), ("orders-3", 1)):
        driver.tell(events.Heard(name, 1, activities))
    driver.tell(events.ScaleRequested("a", {"orders": 2}))
    assert driver.named(State.DRAINING) == ["orders-2"]
    driver.leave()
    driver.tell(events.ScaleRequested("b", {"orders": 4}))
    assert sorted(driver.fleet.entities) == ["orders-1", "orders-2", "orders-3", "orders-4"]


def test_stop_now_kills_and_seeks_who_was_not_announced() -> None:
    driver = Driver(make_pool("orders", 2))
    driver.prepare()
    driver.boot("orders-1")
    driver.tell(events.StopRequested(now=True))
    assert driver.did(act.Kill) == [act.Kill("orders-1", 1, 11)]
    assert driver.did(act.KillHelper) == [act.KillHelper(driver.server("orders"))]


def test_a_stopped_fleet_ends_its_entities_then_its_helpers_the_dev_server_last() -> None:
    driver = up(make_pool("orders", 2), embedded=True)
    driver.tell(events.StopRequested(now=False))
    driver.leave()
    stopped = [action.key.kind.value for action in driver.all if isinstance(action, act.StopHelper)]
    assert stopped == ["cluster agent", "fork server"] or stopped == ["fork server", "cluster agent"]
    for helper in tuple(driver.fleet.helpers.values()):
        if helper.state is HelperState.STOPPING:
            driver.helper_dies(helper.key)
    assert [action.key.kind.value for action in driver.did(act.StopHelper)] == ["dev server"]
    assert not driver.did(act.Finish)
    driver.helper_dies(driver.did(act.StopHelper)[0].key)
    assert driver.did(act.Finish)
