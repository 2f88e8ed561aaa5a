"""Recoveries: which deaths need one, who is told and when, and what a fleet that stops waits for."""

import pytest

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life, RecoveryState
from temporal_fleet.supervisor.core.fleet import AGENT, DEV_SERVER, Phase
from temporal_fleet.supervisor.core.recoveries import LAST_WAIT, OVERDUE_AFTER
from temporal_fleet.supervisor.core.restart import Policy, RestartPolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import FleetState, fleet_state
from tests.core.driver import Driver, up
from tests.core.pools import make_pool

LEFT_BEHIND = Estate(cached=3, connected=True)
CONNECTED = Estate(connected=True)


def die(
    driver: Driver,
    name: str = "orders-1",
    *,
    code: int | None = None,
    signal: str | None = None,
    estate: Estate = LEFT_BEHIND,
) -> Life:
    life = Life(name, driver.entity(name).incarnation)
    driver.tell(events.Died(name, life.incarnation, code, signal, "", estate))
    return life


def recovered(life: Life, problem: str = "") -> events.Recovered:
    return events.Recovered(life, 20, 2, 1, 3, 4, 0.12, problem)


def told(driver: Driver, kind: str) -> list[act.Emit]:
    return [action for action in driver.did(act.Emit) if action.kind == kind]


# Who needs one


def test_one_that_was_killed_is_recovered_after_its_replacement_was_ordered() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    orders = [action for action in driver.last if isinstance(action, act.Fork | act.Recover)]
    assert orders == [
        act.Fork("orders-1", 2, "orders", driver.server("orders")),
        act.Recover(life, "SIGKILL", "killed by SIGKILL", ()),
    ]
    assert not driver.did(act.Forget), "its black box goes before the agent read it"


@pytest.mark.parametrize("code", [ExitCode.STOPPED, ExitCode.ORPHANED])
def test_one_that_drained_leaves_nothing_to_recover(code: int) -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, code=code, estate=NOTHING)
    assert driver.did(act.Forget) == [act.Forget(life)]
    assert not driver.did(act.Recover)


@pytest.mark.parametrize("code", [ExitCode.STOPPED, ExitCode.ORPHANED])
@pytest.mark.parametrize("estate", [CONNECTED, LEFT_BEHIND])
def test_one_that_ends_as_if_it_had_drained_is_recovered_and_crashed(code: int, estate: Estate) -> None:
    restart = RestartPolicy(policy=Policy.ON_FAILURE)
    driver = up(make_pool("orders", 1, restart=restart))
    life = die(driver, code=code, estate=estate)
    assert [order.life for order in driver.did(act.Recover)] == [life]
    assert not driver.did(act.Forget)
    (line,) = told(driver, "entity.died")
    assert (line.level, f"exit status {int(code)} without a drain" in line.message) == (act.Level.ERROR, True)
    assert driver.did(act.Fork), "it did not end as one that is done"


@pytest.mark.parametrize(
    "code", [ExitCode.CLUSTER_UNREACHABLE, ExitCode.NO_BLACK_BOX, ExitCode.PROGRAM_UNUSABLE]
)
def test_one_that_gave_up_in_its_boot_leaves_nothing(code: int) -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    life = die(driver, code=code, estate=CONNECTED)
    assert driver.did(act.Forget) == [act.Forget(life)]
    assert not driver.fleet.recoveries


def test_one_that_the_cluster_turned_away_in_the_middle_of_its_work_is_recovered() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, code=ExitCode.CLUSTER_REFUSED, estate=CONNECTED)
    assert [order.life for order in driver.did(act.Recover)] == [life]


@pytest.mark.parametrize(("code", "signal"), [(1, None), (70, None), (None, "SIGSEGV"), (None, None)])
def test_any_other_end_is_recovered_and_one_that_never_came_so_far_is_not(
    code: int | None, signal: str | None
) -> None:
    driver = up(make_pool("orders", 2))
    life = die(driver, "orders-1", code=code, signal=signal, estate=CONNECTED)
    assert [order.life for order in driver.did(act.Recover)] == [life]
    life = die(driver, "orders-2", code=code, signal=signal, estate=NOTHING)
    assert driver.did(act.Forget) == [act.Forget(life)]
    assert not driver.did(act.Recover)


def test_one_that_was_killed_while_it_drained_is_recovered() -> None:
    driver = up(make_pool("orders", 1, drain=5.0))
    driver.tell(events.RestartRequested("request", "orders-1"))
    driver.wait(10.0)
    assert driver.state("orders-1") is State.DRAINING
    life = die(driver, signal="SIGKILL")
    assert [order.life for order in driver.did(act.Recover)] == [life]


def test_a_life_that_never_was_is_only_forgotten() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    life = die(driver, estate=NOTHING)
    assert driver.did(act.Forget) == [act.Forget(life)]
    assert not driver.fleet.recoveries


def test_what_is_said_twice_of_a_death_is_heard_once() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    driver.tell(recovered(life))
    again = driver.tell(events.Died(life.entity, life.incarnation, None, "SIGKILL", "", LEFT_BEHIND))
    assert not [action for action in again if isinstance(action, act.Recover | act.Forget)]


# The agent


def test_the_files_go_once_it_is_recovered_and_the_figures_are_told() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    driver.tell(recovered(life))
    assert driver.did(act.Forget) == [act.Forget(life)]
    assert not driver.fleet.recoveries
    (line,) = told(driver, "entity.recovered")
    assert (line.level, line.pool, line.entity, line.incarnation) == (act.Level.INFO, "orders", "orders-1", 1)
    assert line.message == (
        "recovered in 0.12 s: released executions: 20, Workflow Tasks freed: 2, queries answered: 1, "
        "activities failed: 3, refused as too late: 4"
    )
    driver.tell(recovered(life))
    assert not driver.last, "the answer of a former agent counts again"


def test_a_recovery_with_a_problem_is_a_warning_and_over_all_the_same() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    driver.tell(recovered(life, "the Cluster was away for too long"))
    (line,) = told(driver, "entity.recovered")
    assert line.level is act.Level.WARNING
    assert line.message.endswith("; the Cluster was away for too long")
    assert driver.did(act.Forget) == [act.Forget(life)]


def test_without_an_agent_it_waits_for_the_next() -> None:
    driver = up(make_pool("orders", 1))
    driver.helper_dies(AGENT)
    life = die(driver, signal="SIGKILL")
    assert driver.fleet.recoveries[life].state is RecoveryState.WAITING
    assert not driver.did(act.Recover)
    driver.wait(1.0)
    driver.prepare()
    assert [order.life for order in driver.all if isinstance(order, act.Recover)] == [life]


def test_what_the_dead_agent_had_in_hand_is_ordered_from_the_next() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    first = driver.did(act.Recover)
    driver.helper_dies(AGENT)
    assert driver.fleet.recoveries[life].state is RecoveryState.WAITING
    driver.wait(1.0)
    driver.all.clear()
    driver.prepare()
    assert [order for order in driver.all if isinstance(order, act.Recover)] == first


def test_where_the_cluster_is_embedded_it_waits_until_there_is_one() -> None:
    driver = Driver(make_pool("orders", 1), embedded=True)
    life = Life("orders-1", 7)
    driver.tell(events.FoundDead(life.entity, life.incarnation, LEFT_BEHIND))
    driver.prepare()
    assert driver.fleet.recoveries[life].state is RecoveryState.WAITING
    driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    assert [order.life for order in driver.did(act.Recover)] == [life]


def test_an_outage_is_told_once_and_not_for_each_death_in_it() -> None:
    driver = up(make_pool("orders", 2))
    lives = [die(driver, f"orders-{n}", signal="SIGKILL") for n in (1, 2)]
    levels = []
    for life in (*lives, lives[0]):
        driver.tell(events.RecoveryDelayed(life, "no Cluster at localhost:7233"))
        levels += [line.level for line in told(driver, "entity.recovery-delayed")]
    assert levels == [act.Level.WARNING, act.Level.DEBUG, act.Level.DEBUG]
    assert {r.reason for r in driver.fleet.recoveries.values()} == {"no Cluster at localhost:7233"}


def test_an_agent_that_says_nothing_is_told_of_once() -> None:
    driver = up(make_pool("orders", 1))
    life = die(driver, signal="SIGKILL")
    driver.all.clear()
    driver.boot()
    for _ in range(int(2 * OVERDUE_AFTER)):
        driver.wait(1.0)
        driver.tell(events.Heard("orders-1", 2))
    lines = [a for a in driver.all if isinstance(a, act.Emit) and a.kind == "entity.recovery-delayed"]
    assert [line.level for line in lines] == [act.Level.WARNING]
    assert driver.fleet.recoveries[life].reason == "the cluster agent does not answer for 60 s"


def test_a_silent_agent_is_killed_once_and_the_next_one_takes_over() -> None:
    driver = up(make_pool("orders", 2, hang=1e6))
    lives = [die(driver, f"orders-{n}", signal="SIGKILL") for n in (1, 2)]
    driver.boot()
    driver.all.clear()
    driver.wait(OVERDUE_AFTER - 1.0)
    assert act.KillHelper(AGENT) not in driver.all
    driver.wait(2.0)
    assert [action for action in driver.all if isinstance(action, act.KillHelper)] == [act.KillHelper(AGENT)]
    assert "helper.killed" in {action.kind for action in driver.all if isinstance(action, act.Emit)}
    silent = driver.fleet.helpers[AGENT].life
    driver.helper_dies(AGENT)
    driver.prepare()
    assert driver.fleet.helpers[AGENT].life > silent
    assert [order.life for order in driver.all if isinstance(order, act.Recover)] == lives
    driver.all.clear()
    driver.wait(3 * OVERDUE_AFTER)
    assert act.KillHelper(AGENT) not in driver.all, "a long recovery is begun again for ever"
    for life in lives:
        driver.tell(recovered(life))
    assert not driver.fleet.recoveries


def test_an_agent_that_says_why_it_takes_so_long_is_not_killed() -> None:
    driver = up(make_pool("orders", 1, hang=1e6))
    life = die(driver, signal="SIGKILL")
    driver.tell(events.RecoveryDelayed(life, "no Cluster at localhost:7233"))
    driver.wait(3 * OVERDUE_AFTER)
    assert act.KillHelper(AGENT) not in driver.all


def test_an_agent_answers_only_for_the_time_since_it_was_told() -> None:
    driver = up(make_pool("orders", 1, hang=1e6))
    driver.helper_dies(AGENT)
    life = die(driver, signal="SIGKILL")
    driver.wait(OVERDUE_AFTER - 10.0)
    driver.prepare()
    assert driver.fleet.recoveries[life].state is RecoveryState.ORDERED
    driver.wait(OVERDUE_AFTER - 1.0)
    assert act.KillHelper(AGENT) not in driver.all
    driver.wait(2.0)
    assert act.KillHelper(AGENT) in driver.all


def test_a_stall_of_the_supervisor_itself_is_not_the_agents_silence() -> None:
    driver = up(make_pool("orders", 1, hang=1e6))
    life = die(driver, signal="SIGKILL")
    driver.now += 2 * OVERDUE_AFTER
    driver.tell(events.Stalled(2 * OVERDUE_AFTER))
    assert act.KillHelper(AGENT) not in driver.all
    driver.tell(recovered(life))
    assert driver.did(act.Forget) == [act.Forget(life)]


# What an earlier supervisor left


def test_the_black_boxes_that_are_found_are_recovered_and_their_incarnations_never_come_again() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.tell(events.FoundDead("orders-1", 7, LEFT_BEHIND))
    driver.tell(events.FoundDead("old-3", 2, NOTHING))
    assert driver.did(act.Forget) == [act.Forget(Life("old-3", 2))]
    driver.prepare()
    recoveries = [order.life for order in driver.all if isinstance(order, act.Recover)]
    assert recoveries == [Life("orders-1", 7)]
    assert [fork.incarnation for fork in driver.all if isinstance(fork, act.Fork)] == [8]
    assert not driver.fleet.suspects


# The stop


def stopping(*, now: bool = True, embedded: bool = False) -> tuple[Driver, Life]:
    """A fleet without entities, but for one that is dead and not recovered."""
    driver = up(make_pool("orders", 1), embedded=embedded)
    driver.tell(events.StopRequested(now=now))
    return driver, die(driver, signal="SIGKILL")


def end_helpers(driver: Driver) -> None:
    for key in tuple(driver.fleet.helpers):
        driver.helper_dies(key, "exit status 0")


def test_stop_now_recovers_whom_it_killed_and_the_agent_goes_last() -> None:
    driver, life = stopping(embedded=True)
    assert [order.life for order in driver.did(act.Recover)] == [life]
    assert {AGENT, DEV_SERVER} <= driver.fleet.helpers.keys()
    assert act.StopHelper(AGENT) not in driver.all
    assert fleet_state(driver.fleet) == (FleetState.DRAINING, "what 1 dead entity held is set free")
    driver.tell(recovered(life))
    assert act.StopHelper(AGENT) in driver.last
    assert act.StopHelper(DEV_SERVER) not in driver.last
    driver.helper_dies(AGENT, "exit status 0")
    assert driver.fleet.phase is Phase.CLOSING


def test_a_stop_that_nobody_died_in_waits_for_nothing() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.StopRequested(now=False))
    driver.leave()
    assert act.StopHelper(AGENT) in driver.last


def test_a_stop_gives_up_after_a_while_and_leaves_the_black_boxes_to_the_next_start() -> None:
    driver, life = stopping()
    driver.wait(LAST_WAIT - 0.1)
    assert act.StopHelper(AGENT) not in driver.all
    driver.wait(0.2)
    assert act.StopHelper(AGENT) in driver.all
    assert act.Forget(life) not in driver.all
    (line,) = told(driver, "fleet.unrecovered")
    assert line.level is act.Level.WARNING
    assert "orders-1.1" in line.message
    end_helpers(driver)
    assert driver.did(act.Finish)


def test_a_stop_waits_on_as_long_as_recoveries_get_done() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.StopRequested(now=True))
    lives = [die(driver, f"orders-{n}", signal="SIGKILL") for n in (1, 2)]
    driver.wait(LAST_WAIT - 1.0)
    driver.tell(recovered(lives[0]))
    driver.wait(LAST_WAIT - 1.0)
    assert lives[1] in driver.fleet.recoveries
    driver.tell(recovered(lives[1]))
    assert act.StopHelper(AGENT) in driver.last


def test_an_agent_that_dies_during_the_stop_is_replaced() -> None:
    driver, life = stopping()
    driver.helper_dies(AGENT)
    driver.wait(1.0)
    driver.prepare()
    assert [order.life for order in driver.all if isinstance(order, act.Recover)] == [life, life]
    driver.tell(recovered(life))
    assert act.StopHelper(AGENT) in driver.last


def test_a_stall_of_the_supervisor_itself_is_no_reason_to_give_up() -> None:
    driver, life = stopping()
    driver.now += 30.0
    driver.tell(events.Stalled(30.0))
    assert act.StopHelper(AGENT) not in driver.all
    driver.tell(recovered(life))
    assert driver.did(act.Forget) == [act.Forget(life)]


def test_to_be_told_again_to_stop_changes_nothing() -> None:
    driver, _ = stopping()
    for _ in range(3):
        driver.tell(events.StopRequested(now=True))
        assert act.StopHelper(AGENT) not in driver.all
    driver.wait(LAST_WAIT)
    end_helpers(driver)
    assert driver.did(act.Finish)
