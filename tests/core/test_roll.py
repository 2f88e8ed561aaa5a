"""What comes of a change that is in force: it converges, it is overtaken, or it is taken back."""

from dataclasses import replace

import pytest

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperState, Pool, RecyclePolicy
from temporal_fleet.supervisor.core.ledger import OrderState
from temporal_fleet.supervisor.core.restart import Policy, RestartPolicy
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

AWAY = events.ClusterChanged(reachable=False, refused=False, reason="no answer at shop:7233")
BACK = events.ClusterChanged(reachable=True, refused=False, reason="")
AS_BEFORE = "the fleet is as it was before, at generation 1"


def reload(driver: Driver, *pools: Pool, request: str = "a") -> None:
    driver.tell(events.ReloadRequested(request, by_name(*pools)))
    driver.prepare()


def roll(driver: Driver) -> None:
    """The world does what it is told until nothing is left to do."""
    while driver.named(State.STARTING) or driver.named(State.DRAINING):
        driver.boot()
        driver.leave()


def outcomes(driver: Driver) -> list[OrderState]:
    return [order.state for order in driver.fleet.changes]


def failures(driver: Driver) -> list[act.Failed]:
    return [action for action in driver.all if isinstance(action, act.Failed)]


def converged(driver: Driver) -> list[str]:
    return [action.request for action in driver.all if isinstance(action, act.Converged)]


def test_a_roll_has_converged_when_the_last_one_is_there_and_the_last_old_one_is_gone() -> None:
    driver = up(make_pool("orders", 1))
    reload(driver, make_pool("orders", 1, digest="d2"))
    driver.boot("orders-2")
    driver.leave("orders-1")
    driver.boot("orders-1")
    assert outcomes(driver) == [OrderState.ROLLING]
    driver.leave("orders-2")
    assert driver.did(act.Converged) == [act.Converged("a", "reloaded: replace orders", 1)]
    assert outcomes(driver) == [OrderState.DONE]
    assert driver.fleet.roll is None


def test_a_change_that_changes_nothing_has_converged_at_once_whatever_fails_beside_it() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1, restart=RestartPolicy(max_restarts=0)))
    driver.die("mail-1", code=1)
    driver.tell(events.ReloadRequested("a", driver.fleet.pools))
    assert converged(driver) == ["a"]


def test_a_change_of_policies_alone_has_converged_at_once() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=0)))
    driver.die("orders-1", code=1)
    reload(driver, make_pool("orders", 1, hang=3.0))
    assert converged(driver) == ["a"]


def test_a_pool_that_goes_is_waited_for() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1))
    reload(driver, make_pool("orders", 1))
    assert converged(driver) == []
    driver.leave("mail-1")
    assert converged(driver) == ["a"]


def test_who_ended_in_order_under_never_is_at_rest() -> None:
    pool = make_pool("orders", 1, restart=RestartPolicy(Policy.NEVER))
    driver = up(pool)
    driver.die("orders-1", code=ExitCode.STOPPED)
    reload(driver, pool, make_pool("mail", 1))
    driver.boot()
    assert converged(driver) == ["a"]


def test_a_version_that_cannot_run_is_taken_back_and_the_old_ones_never_left() -> None:
    driver = up(make_pool("orders", 2))
    before = {name: driver.entity(name) for name in ("orders-1", "orders-2")}
    pools = driver.fleet.pools
    reload(driver, make_pool("orders", 2, revision="r2", digest="d2"), make_pool("mail", 1))
    driver.boot("mail-1")
    driver.die("orders-3", code=ExitCode.PROGRAM_UNUSABLE)
    (failed,) = failures(driver)
    first, second = failed.problems
    assert first.startswith("reload failed: orders-3 failed: exit status")
    assert (second, failed.restored, failed.change) == (AS_BEFORE, 1, 1)
    assert driver.fleet.pools == pools
    assert driver.fleet.generation == 1
    assert outcomes(driver) == [OrderState.FAILED]
    assert {name: driver.entity(name) for name in before} == before
    assert driver.named(State.DRAINING) == ["mail-1"]
    assert "orders-3" not in driver.fleet.entities
    assert [emit.kind for emit in driver.did(act.Emit) if emit.level is act.Level.ERROR][-1] == (
        "fleet.change-failed"
    )


def test_places_that_were_replaced_already_are_rolled_back_from_the_old_fork_server() -> None:
    driver = up(make_pool("orders", 2))
    old = driver.server("orders")
    reload(driver, make_pool("orders", 2, revision="r2", digest="d2"))
    driver.boot("orders-3")
    driver.leave("orders-1")
    assert driver.fleet.helpers[old].state is HelperState.READY
    driver.boot("orders-1")
    driver.leave("orders-2")
    assert driver.fleet.helpers[old].state is HelperState.READY, "nobody of it lives, but it may be wanted"
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    assert failures(driver)
    roll(driver)
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d1.0"}
    assert sorted(driver.fleet.entities) == ["orders-1", "orders-2"]
    assert old.name in driver.fork_servers()
    driver.helper_dies(next(key for key in driver.fleet.helpers if key.name == "r2.0"))
    assert driver.fork_servers() == {"r1.0"}


def test_the_next_generation_after_a_failure_is_one_that_there_never_was() -> None:
    driver = up(make_pool("orders", 1))
    reload(driver, make_pool("orders", 1, digest="d2"))
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    reload(driver, make_pool("orders", 1, digest="d3"), request="b")
    assert [accept.generation for accept in driver.all if isinstance(accept, act.Accept)] == [2, 3]


def test_three_deaths_in_a_row_before_it_is_ready_are_enough() -> None:
    driver = up(make_pool("orders", 1))
    reload(driver, make_pool("orders", 1, digest="d2"))
    for _ in range(2):
        driver.die("orders-2", code=1)
        driver.wait(1.0)
    assert not failures(driver)
    driver.die("orders-2", code=1)
    (failed,) = failures(driver)
    assert failed.problems[0].startswith(
        "reload failed: orders-2 died 3 times before it was ready, the last: "
    )


def test_deaths_of_one_that_was_ready_between_them_are_not_in_a_row() -> None:
    driver = up(make_pool("orders", 2, hang=1e6))
    reload(driver, make_pool("orders", 2, digest="d2", hang=1e6))
    for _ in range(4):
        driver.boot("orders-3")
        driver.die("orders-3", code=1)
        driver.wait(5.0)
    assert not failures(driver)


def test_a_crash_loop_of_the_new_version_is_taken_back() -> None:
    driver = up(make_pool("orders", 2, restart=RestartPolicy(max_restarts=1)))
    reload(driver, replace(driver.fleet.pools["orders"], digest="d2"))
    for _ in range(2):
        driver.boot("orders-3")
        driver.die("orders-3", code=1)
    (failed,) = failures(driver)
    assert failed.problems[0].startswith("reload failed: orders-3 failed: crash loop: 2 deaths")


def test_one_that_is_not_ready_in_time_is_taken_back() -> None:
    driver = up(make_pool("orders", 1, boot=20.0, hang=1e6))
    reload(driver, make_pool("orders", 1, digest="d2", boot=20.0, hang=1e6))
    driver.wait(19.9)
    assert not failures(driver)
    driver.wait(0.2)
    (failed,) = failures(driver)
    assert failed.problems[0].startswith("reload failed: orders-2 was not ready 20 s after its first fork")
    assert driver.state("orders-1") is State.READY


def test_the_time_counts_from_the_first_fork_not_from_the_last() -> None:
    driver = up(make_pool("orders", 1, boot=20.0, hang=1e6))
    reload(driver, make_pool("orders", 1, digest="d2", boot=20.0, hang=1e6))
    driver.wait(15.0)
    driver.die("orders-2", code=1)
    driver.wait(5.1)
    assert failures(driver)


def test_a_cluster_that_is_away_fails_no_roll_and_does_not_stop_the_clock_for_ever() -> None:
    driver = up(make_pool("orders", 1, boot=20.0, hang=1e6))
    reload(driver, make_pool("orders", 1, digest="d2", boot=20.0, hang=1e6))
    driver.wait(10.0)
    driver.tell(AWAY)
    driver.die("orders-2", code=ExitCode.CLUSTER_UNREACHABLE)
    driver.wait(1000.0)
    assert not failures(driver)
    driver.tell(BACK)
    driver.wait(9.9)
    assert not failures(driver)
    driver.wait(0.2)
    assert failures(driver)


def test_a_change_to_a_cluster_that_cannot_be_used_is_taken_back() -> None:
    here, there = {"[cluster] address": "shop:7233"}, {"[cluster] address": "shpo:7233"}
    driver = up(make_pool("orders", 1, boot=20.0, hang=1e6, traits=here))
    reload(driver, make_pool("orders", 1, boot=20.0, hang=1e6, digest="d2", traits=there))
    driver.tell(AWAY)
    driver.wait(19.9)
    assert not failures(driver)
    driver.wait(0.2)
    (failed,) = failures(driver)
    assert failed.problems[0] == (
        "reload failed: the Cluster that it names cannot be used: no answer at shop:7233"
    )
    assert driver.fleet.pools["orders"].version == "d1.0"


def test_a_stall_of_the_supervisor_is_nobodys_lateness() -> None:
    driver = up(make_pool("orders", 1, boot=20.0, hang=1e6))
    reload(driver, make_pool("orders", 1, digest="d2", boot=20.0, hang=1e6))
    driver.now += 100.0
    driver.tell(events.Stalled(100.0))
    assert not failures(driver)
    driver.boot("orders-2")
    roll(driver)
    assert converged(driver) == ["a"]


def test_a_fork_server_of_the_new_version_that_cannot_come_back_is_taken_back() -> None:
    driver = up(make_pool("orders", 1))
    new = make_pool("orders", 1, revision="r2", digest="d2")
    reload(driver, new)
    driver.helper_dies(new.fork_server)
    driver.helper_refuses(new.fork_server, "orders.program: SyntaxError")
    (failed,) = failures(driver)
    assert "orders.program: SyntaxError" in failed.problems[0]
    assert driver.fleet.pools["orders"].version == "d1.0"


def test_what_was_broken_in_a_pool_that_the_change_does_not_touch_fails_nothing() -> None:
    mail = make_pool("mail", 1, restart=RestartPolicy(max_restarts=5))
    driver = up(make_pool("orders", 1), mail)
    reload(driver, make_pool("orders", 1, digest="d2"), mail)
    for _ in range(6):
        driver.wait(3.0)
        driver.die("mail-1", code=1)
    assert driver.state("mail-1") is State.FAILED
    assert not failures(driver)
    roll(driver)
    assert converged(driver) == ["a"]


def test_a_scale_that_brings_nobody_up_is_taken_back_and_its_own_old_ones_are_not_blamed() -> None:
    driver = up(make_pool("orders", 2, hang=1e6))
    driver.tell(events.ScaleRequested("a", {"orders": 3}))
    for _ in range(4):
        driver.die("orders-1", code=1)
        driver.wait(2.0)
    assert not failures(driver)
    driver.die("orders-3", code=ExitCode.PROGRAM_UNUSABLE)
    (failed,) = failures(driver)
    assert failed.problems[0].startswith("scale failed: orders-3 ")
    assert driver.fleet.pools["orders"].desired == 2
    assert "orders-3" not in driver.fleet.entities


def test_who_did_not_become_ready_before_the_change_holds_it_up_as_little() -> None:
    policy = RestartPolicy(max_restarts=1000)
    driver = up(make_pool("orders", 1, restart=policy, hang=1e6))
    for _ in range(3):
        driver.die("orders-1", code=1)
        driver.wait(60.0)
    assert driver.state("orders-1") is State.STARTING
    driver.tell(events.ScaleRequested("a", {"orders": 2}))
    assert not converged(driver)
    driver.boot("orders-2")
    assert converged(driver) == ["a"]


def test_a_newer_change_that_is_in_force_overtakes_the_one_that_is_rolling() -> None:
    driver = up(make_pool("orders", 2))
    reload(driver, make_pool("orders", 2, digest="d2"))
    reload(driver, make_pool("orders", 2, digest="d3"), request="b")
    (overtaken,) = failures(driver)
    assert (overtaken.request, overtaken.change, overtaken.restored) == ("a", 1, None)
    assert overtaken.problems[0] == "superseded by change 2: reload"
    roll(driver)
    assert converged(driver) == ["b"]
    assert outcomes(driver) == [OrderState.SUPERSEDED, OrderState.DONE]
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d3.0"}


def test_a_newer_change_that_is_rejected_overtakes_nobody() -> None:
    driver = up(make_pool("orders", 2))
    reload(driver, make_pool("orders", 2, digest="d2"))
    bad = make_pool("orders", 2, revision="r3", digest="d3")
    driver.tell(events.ReloadRequested("b", by_name(bad)))
    driver.helper_refuses(bad.fork_server, "no")
    assert outcomes(driver) == [OrderState.ROLLING, OrderState.REJECTED]
    roll(driver)
    assert converged(driver) == ["a"]


def test_what_is_gone_back_to_is_what_worked_not_what_was_rolling() -> None:
    driver = up(make_pool("orders", 2))
    reload(driver, make_pool("orders", 2, revision="r2", digest="d2"))
    reload(driver, make_pool("orders", 2, revision="r3", digest="d3"), request="b")
    driver.leave()
    (starting,) = driver.named(State.STARTING)
    assert driver.entity(starting).version == "d3.0"
    driver.die(starting, code=ExitCode.PROGRAM_UNUSABLE)
    assert failures(driver)[-1].restored == 1
    assert driver.fleet.pools["orders"].version == "d1.0"
    roll(driver)
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d1.0"}


def test_what_is_pending_when_a_change_is_taken_back_is_made_from_what_is_in_force_again() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1))
    reload(driver, make_pool("orders", 1, revision="r2", digest="d2"), make_pool("mail", 1))
    driver.tell(events.RestartRequested("b", "mail"))
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    driver.prepare()
    assert outcomes(driver) == [OrderState.FAILED, OrderState.ROLLING]
    assert driver.fleet.pools["orders"].version == "d1.0"
    roll(driver)
    assert converged(driver) == ["b"]


def test_a_change_that_is_asked_back_in_the_middle_has_converged_when_all_are_back() -> None:
    driver = up(make_pool("orders", 2))
    reload(driver, make_pool("orders", 2, digest="d2"))
    driver.boot("orders-3")
    reload(driver, make_pool("orders", 2), request="b")
    assert converged(driver) == []
    roll(driver)
    assert converged(driver) == ["b"]
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d1.0"}


def test_who_stands_in_for_a_recycled_one_of_another_pool_is_no_matter_of_the_change() -> None:
    mail = make_pool("mail", 1, hang=1e6, boot=5.0, recycle=RecyclePolicy(max_tasks=1))
    driver = up(make_pool("orders", 1, hang=1e6), mail)
    reload(driver, make_pool("orders", 1, digest="d2", hang=1e6), mail)
    driver.tell(events.Measured((events.Reading("mail-1", 1, 1, None, 0, 0, 2),)))
    assert "mail-2" in driver.named(State.STARTING)
    driver.wait(30.0)
    assert not failures(driver)


def test_one_that_ends_before_it_is_ready_and_that_nobody_follows_is_taken_back() -> None:
    pool = make_pool("orders", 1, restart=RestartPolicy(Policy.NEVER))
    driver = up(pool)
    reload(driver, replace(pool, digest="d2"))
    driver.die("orders-2", code=1)
    assert failures(driver)[0].problems[0].startswith("reload failed: orders-2 died before it was ready: ")


def test_a_stop_ends_a_change_that_is_rolling() -> None:
    driver = up(make_pool("orders", 1))
    reload(driver, make_pool("orders", 1, digest="d2"))
    driver.tell(events.StopRequested(now=False))
    assert failures(driver) == [act.Failed("a", ("the fleet is stopping",), 1)]
    assert outcomes(driver) == [OrderState.FAILED]


def test_a_restart_of_one_entity_has_converged_when_it_is_ready_again() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.RestartRequested("a", "orders-2"))
    assert converged(driver) == []
    driver.leave("orders-2")
    driver.boot("orders-2")
    assert converged(driver) == ["a"]


def test_a_restart_of_one_entity_that_fails_leaves_the_config_in_force() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.RestartRequested("a", "orders-2"))
    driver.leave("orders-2")
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    (failed,) = failures(driver)
    assert failed.restored is None
    assert failed.problems[0].startswith("restart failed: orders-2 failed: ")
    assert driver.fleet.generation == 1


def test_a_drained_pool_stays_at_zero_until_it_is_resumed() -> None:
    driver = up(make_pool("orders", 2), make_pool("mail", 1))
    driver.tell(events.DrainRequested("a", "orders"))
    assert sorted(driver.named(State.DRAINING)) == ["orders-1", "orders-2"]
    assert "drains: its pool is drained" in [emit.message for emit in driver.did(act.Emit)]
    driver.leave()
    assert converged(driver) == ["a"]
    reload(driver, make_pool("orders", 3, digest="d2"), make_pool("mail", 1), request="b")
    driver.tell(events.ScaleRequested("c", {"orders": 4}))
    driver.tell(events.RestartRequested("d", "orders"))
    driver.prepare()
    assert driver.fleet.members("orders") == []
    assert converged(driver) == ["a", "b", "c", "d"]
    driver.tell(events.ResumeRequested("e", "orders"))
    assert len(driver.named(State.STARTING)) == 4
    driver.boot()
    assert converged(driver)[-1] == "e"


def test_a_drain_outlives_a_change_that_is_taken_back() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1))
    reload(driver, make_pool("orders", 1, digest="d2"), make_pool("mail", 1))
    driver.tell(events.DrainRequested("b", "mail"))
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    assert failures(driver)[-1].restored == 1
    assert driver.fleet.drained == {"mail"}


def test_a_pool_that_was_drained_and_resumed_meanwhile_is_not_drained_by_what_is_taken_back() -> None:
    mail = make_pool("mail", 1)
    driver = up(make_pool("orders", 1), mail)
    reload(driver, make_pool("orders", 1, revision="r2", digest="d2"), mail)
    driver.tell(events.DrainRequested("b", "mail"))
    driver.tell(events.ResumeRequested("c", "mail"))
    driver.die("orders-2", code=ExitCode.PROGRAM_UNUSABLE)
    assert outcomes(driver)[-1] is OrderState.FAILED
    assert driver.fleet.drained == frozenset()


def test_a_pool_that_cannot_be_resumed_is_drained_again() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.DrainRequested("a", "orders"))
    driver.leave()
    driver.tell(events.ResumeRequested("b", "orders"))
    driver.die("orders-1", code=ExitCode.PROGRAM_UNUSABLE)
    assert failures(driver)[-1].problems[0].startswith("resume failed: orders-1 failed: ")
    assert driver.fleet.drained == {"orders"}
    assert driver.fleet.entities == {}


def test_a_roll_that_one_holds_up_whom_its_policy_leaves_dead_is_taken_back() -> None:
    pool = make_pool("orders", 3, restart=RestartPolicy(Policy.NEVER))
    driver = up(pool)
    reload(driver, replace(pool, digest="d2"))
    driver.boot("orders-4")
    driver.leave("orders-1")
    driver.boot("orders-1")
    driver.die("orders-1", code=1)
    assert outcomes(driver) == [OrderState.ROLLING]
    driver.leave("orders-2")
    driver.boot("orders-2")
    (failed,) = failures(driver)
    assert failed.problems[0].startswith("reload failed: orders-1 died, and its restart policy leaves it")
    roll(driver)
    assert driver.named(State.READY) == ["orders-1", "orders-2", "orders-3"]


def test_a_fork_server_that_dies_again_and_again_ends_a_change_that_needs_more_of_it() -> None:
    driver = up(make_pool("orders", 1))
    server = driver.server("orders")
    driver.helper_dies(server)
    driver.tell(events.ScaleRequested("a", {"orders": 2}))
    for _ in range(2):
        assert outcomes(driver) == [OrderState.ROLLING]
        driver.wait(1)
        driver.helper_dies(server)
    (failed,) = failures(driver)
    assert failed.problems[0].startswith("scale failed: orders-2 cannot be forked: ")
    assert list(driver.fleet.entities) == ["orders-1"]


def test_a_quiet_entity_can_be_told_to_leave_though_its_program_is_refused_by_now() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.QuietRequested("a", "orders-1"))
    driver.boot()
    driver.helper_dies(driver.server("orders"))
    driver.helper_refuses(driver.server("orders"), "shop.orders: no module named 'stripe'")
    driver.tell(events.RestartRequested("b", "orders-1"))
    assert driver.did(act.TellDrain) == [act.TellDrain("orders-1", 1)]
    driver.leave("orders-1")
    assert converged(driver) == ["a", "b"]


def test_tries_of_a_life_that_got_ready_since_do_not_speak_against_a_restart() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    for _ in range(3):
        driver.tell(events.Forked("orders-1", driver.entity("orders-1").incarnation, 5))
        driver.die("orders-1", code=1)
        driver.wait(5)
    driver.boot("orders-1")
    driver.tell(events.RestartRequested("a", "orders-1"))
    roll(driver)
    assert converged(driver) == ["a"]


def test_a_config_that_comes_back_in_the_middle_of_a_roll_finds_what_never_left() -> None:
    """With the fork server of then, though its epoch is not the first."""
    pool = make_pool("orders", 2)
    driver = up(pool)
    driver.tell(events.RestartRequested("a", "orders"))
    driver.prepare()
    roll(driver)
    before = dict(driver.fleet.entities)
    pools = driver.fleet.pools
    reload(driver, replace(pool, revision="r2", digest="d2"), request="b")
    reload(driver, pool, request="c")
    driver.leave()
    assert converged(driver) == ["a", "c"]
    assert driver.fleet.entities == before
    assert driver.fleet.pools == pools


def test_a_quiet_entity_has_another_in_its_place_and_stays() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.QuietRequested("a", "orders-1"))
    assert driver.did(act.TellQuiet) == [act.TellQuiet("orders-1", 1)]
    assert driver.named(State.STARTING) == ["orders-3"]
    assert converged(driver) == []
    driver.boot()
    assert converged(driver) == ["a"]
    assert driver.state("orders-1") is State.QUIET
    reload(driver, make_pool("orders", 2, digest="d2"), request="b")
    roll(driver)
    assert converged(driver) == ["a", "b"]
    assert driver.state("orders-1") is State.QUIET


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (events.DrainRequested("a", "order"), "no pool 'order'; there are: orders"),
        (events.ResumeRequested("a", "order"), "no pool 'order'; there are: orders"),
        (events.QuietRequested("a", "orders"), "no entity 'orders'; there are: orders-1"),
        (
            events.QuietRequested("a", "orders-1"),
            "orders-1 is starting: only a ready entity can be told to stop polling",
        ),
    ],
)
def test_what_cannot_be_done_is_rejected(event: events.ChangeRequest, problem: str) -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.tell(event)
    assert driver.did(act.Reject) == [act.Reject("a", (problem,), 1)]
    assert driver.fleet.roll is None


def test_the_first_config_has_nothing_to_go_back_to() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.die("orders-1", code=ExitCode.PROGRAM_UNUSABLE)
    assert driver.state("orders-1") is State.FAILED
    assert (driver.fleet.changes, failures(driver)) == ((), [])
