"""Changes that operators ask for: in force at once and wholly, or not at all."""

from dataclasses import replace

import pytest

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperState, Pool
from temporal_fleet.supervisor.core.ledger import OrderState
from temporal_fleet.supervisor.core.plan import Step
from temporal_fleet.supervisor.core.restart import Policy, RestartPolicy
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

NEW = make_pool("orders", 2, revision="r2", digest="d2")


def states(driver: Driver) -> list[OrderState]:
    return [order.state for order in driver.fleet.changes]


def accepted(driver: Driver) -> dict[str, str]:
    return {accept.request: accept.message for accept in driver.did(act.Accept)}


def test_a_reload_to_a_new_program_waits_until_it_is_imported() -> None:
    driver = up(make_pool("orders", 2))
    before = driver.fleet.pools
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    replaces = Step("replace", "orders", "program changed")
    assert driver.did(act.Tell) == [
        act.Tell("a", "replace orders", (replaces,)),
        act.Tell("a", "importing orders.program"),
    ]
    assert driver.fleet.pools == before
    driver.prepare()
    assert accepted(driver) == {"a": "reloaded: replace orders"}
    assert driver.fleet.pools["orders"].digest == "d2"
    assert driver.fleet.generation == 2


def test_a_reload_whose_program_does_not_import_changes_nothing_and_says_why() -> None:
    driver = up(make_pool("orders", 2))
    before = driver.fleet
    driver.tell(events.ReloadRequested("a", by_name(NEW, make_pool("more", 1))))
    driver.helper_refuses(NEW.fork_server, "shop.orders: no module named 'stripe'")
    problem = "reload failed: shop.orders: no module named 'stripe'"
    assert driver.did(act.Reject) == [act.Reject("a", (problem,), 1)]
    driver.helper_dies(NEW.fork_server)
    assert driver.fleet.pools == before.pools
    assert driver.fleet.entities == before.entities
    assert driver.fleet.helpers == before.helpers
    assert driver.fleet.generation == 1


def test_a_refused_program_is_forgotten_only_when_its_process_is_dead() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.helper_refuses(NEW.fork_server, "no")
    driver.wait(5.0)
    assert act.KillHelper(NEW.fork_server) in driver.all


def test_a_fork_server_that_dies_in_import_is_tried_once_more_then_the_change_is_rejected() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.helper_dies(NEW.fork_server, "killed by SIGSEGV")
    assert driver.fleet.pending is not None
    driver.helper_dies(NEW.fork_server, "killed by SIGSEGV")
    (rejected,) = driver.did(act.Reject)
    (problem,) = rejected.problems
    assert '"orders.program"' in problem
    assert "killed by SIGSEGV" in problem


def test_a_program_that_does_not_end_to_import_is_refused_by_the_time_that_it_had() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(replace(NEW, boot=5.0))))
    for _ in range(2):
        driver.wait(5.0)
        driver.helper_dies(NEW.fork_server, "killed by SIGKILL")
    (rejected,) = driver.did(act.Reject)
    assert "not imported within boot = 5 s" in rejected.problems[0]


def test_a_newer_reload_takes_the_place_of_one_that_is_importing() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.ReloadRequested("b", by_name(make_pool("orders", 3))))
    (overtaken,) = driver.did(act.Failed)
    assert (overtaken.request, overtaken.problems[0]) == ("a", "superseded by change 2: reload")
    assert "fleet.change-superseded" in [emit.kind for emit in driver.did(act.Emit)]
    assert "temporal-fleet changes 2" in overtaken.problems[1]
    assert accepted(driver) == {"b": "reloaded: start orders-3"}
    assert driver.fork_servers() == {"r1.0", "r2.0"}
    assert driver.fleet.helpers[NEW.fork_server].state is HelperState.STOPPING
    assert states(driver) == [OrderState.SUPERSEDED, OrderState.ROLLING]


def test_what_may_import_waits_for_what_is_importing_and_then_builds_on_it() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.RestartRequested("b", "orders"))
    assert driver.did(act.Tell) == [act.Tell("b", "waits for change 1")]
    assert states(driver) == [OrderState.IMPORTING, OrderState.IMPORTING]
    driver.prepare()
    assert accepted(driver) == {"a": "reloaded: replace orders"}
    driver.prepare()
    assert accepted(driver) == {"b": "restarts pool orders with newly imported code"}
    assert driver.fleet.pools["orders"].version == "d2.1"
    assert [action.problems[0] for action in driver.all if isinstance(action, act.Failed)] == [
        "superseded by change 2: restart orders"
    ]


def test_a_reload_that_overtakes_one_still_comes_after_what_was_asked_for_before_it() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.RestartRequested("b", "orders"))
    driver.tell(events.ReloadRequested("c", by_name(make_pool("orders", 3))))
    assert states(driver) == [OrderState.SUPERSEDED, OrderState.IMPORTING, OrderState.IMPORTING]
    driver.prepare()
    assert list(accepted(driver)) == ["b", "c"]
    assert states(driver) == [OrderState.SUPERSEDED, OrderState.SUPERSEDED, OrderState.ROLLING]


def test_what_needs_no_import_is_done_at_once() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    for event in (
        events.RestartRequested("b", "orders-1"),
        events.QuietRequested("c", "orders-2"),
        events.DrainRequested("d", "orders"),
        events.ResumeRequested("e", "orders"),
    ):
        driver.tell(event)
        assert [accept.request for accept in driver.did(act.Accept)] == [event.request]
    assert states(driver)[0] is OrderState.IMPORTING


def test_one_that_waits_is_carried_out_though_what_it_waits_for_is_rejected() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.ScaleRequested("b", {"orders": 3}))
    driver.helper_refuses(NEW.fork_server, "no")
    assert driver.did(act.Reject) == [act.Reject("a", ("reload failed: no",), 1)]
    assert accepted(driver) == {"b": "scaled: orders=3"}


def test_changes_are_rejected_once_the_fleet_stops_the_pending_one_too() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.StopRequested(now=False))
    assert driver.did(act.Reject) == [act.Reject("a", ("the fleet is stopping",), 1)]
    requests: tuple[events.Event, ...] = (
        events.ReloadRequested("b", by_name(NEW)),
        events.ScaleRequested("c", {"orders": 1}),
        events.RestartRequested("d", "orders-1"),
        events.RestartRequested("e", "nowhere"),
    )
    for request in requests:
        driver.tell(request)
        assert [reject.problems for reject in driver.did(act.Reject)] == [("the fleet is stopping",)]


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"nowhere": 2}, "no pool 'nowhere'; there are: orders"),
        ({"orders": -1}, "orders=-1: give 0 or more"),
    ],
)
def test_a_scale_that_makes_no_sense_changes_nothing(sizes: dict[str, int], problem: str) -> None:
    driver = up(make_pool("orders", 2))
    before = driver.fleet
    driver.tell(events.ScaleRequested("a", {"orders": 5, **sizes}))
    assert driver.did(act.Reject) == [act.Reject("a", (problem,), 1)]
    assert driver.fleet == replace(before, changes=driver.fleet.changes)


def test_a_restart_of_nobody_is_rejected() -> None:
    driver = up(make_pool("orders", 1))
    driver.tell(events.RestartRequested("a", "order"))
    problem = "no pool or entity 'order'; there are: orders, orders-1"
    assert driver.did(act.Reject) == [act.Reject("a", (problem,), 1)]


def test_a_restart_imports_the_code_anew_and_replaces_every_entity() -> None:
    driver = up(make_pool("orders", 1), make_pool("billing", 1))
    driver.tell(events.RestartRequested("a", None))
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.1"]
    driver.prepare()
    assert accepted(driver) == {"a": "restarts every pool with newly imported code"}
    assert {pool.version for pool in driver.fleet.pools.values()} == {"d1.1"}


def test_a_restart_of_one_pool_leaves_the_others_on_their_fork_server() -> None:
    driver = up(make_pool("orders", 1), make_pool("billing", 1))
    driver.tell(events.RestartRequested("a", "orders"))
    driver.prepare()
    assert driver.fleet.pools["orders"].version == "d1.1"
    assert driver.fleet.pools["billing"].version == "d1.0"


def test_every_restart_gets_code_that_no_fork_server_has_had() -> None:
    driver = up(make_pool("orders", 1))
    for n in range(1, 4):
        driver.tell(events.RestartRequested(f"a{n}", "orders"))
        assert [action.key.name for action in driver.did(act.StartHelper)] == [f"r1.{n}"]
        driver.prepare()


def test_a_restart_clears_a_crash_loop() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=0)))
    driver.die("orders-1", code=1)
    assert driver.state("orders-1") is State.FAILED
    driver.tell(events.RestartRequested("a", "orders-1"))
    assert driver.state("orders-1") is State.STARTING
    driver.die("orders-1", code=1)
    driver.tell(events.RestartRequested("b", "orders"))
    driver.prepare()
    assert driver.state("orders-1") is State.STARTING


def test_a_reload_with_other_code_clears_a_crash_loop_and_one_without_does_not() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(max_restarts=0)))
    driver.die("orders-1", code=1)
    driver.tell(events.ReloadRequested("a", driver.fleet.pools))
    assert driver.state("orders-1") is State.FAILED
    driver.tell(events.ReloadRequested("b", by_name(replace(driver.fleet.pools["orders"], digest="d2"))))
    assert driver.state("orders-1") is State.STARTING


def test_a_reload_that_wants_always_brings_back_who_ended_under_never() -> None:
    driver = up(make_pool("orders", 1, restart=RestartPolicy(Policy.NEVER)))
    driver.die("orders-1", code=ExitCode.STOPPED)
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1))))
    assert driver.state("orders-1") is State.STARTING


def test_a_reload_that_changes_nothing_says_so() -> None:
    driver = up(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", driver.fleet.pools))
    assert accepted(driver) == {"a": "reloaded: nothing to change"}
    assert not driver.did(act.TellDrain)


def refused(*pools: Pool) -> Driver:
    """A fleet that started with a program that does not import."""
    driver = Driver(*pools)
    driver.helper_refuses(driver.server("orders"), "orders.program: SyntaxError")
    driver.prepare()
    return driver


def test_the_first_config_is_in_force_even_if_a_program_is_refused() -> None:
    driver = refused(make_pool("orders", 2), make_pool("billing", 1, revision="r2"))
    driver.boot()
    assert driver.named(State.FAILED) == ["orders-1", "orders-2"]
    assert driver.named(State.READY) == ["billing-1"]
    driver.helper_dies(driver.server("orders"))
    driver.wait(10_000.0)
    starts = [a for a in driver.all if isinstance(a, act.StartHelper) and a.key == driver.server("orders")]
    assert len(starts) == 1


def test_a_reload_imports_a_refused_program_again() -> None:
    driver = refused(make_pool("orders", 2))
    driver.tell(events.ReloadRequested("a", driver.fleet.pools))
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.1"]
    driver.prepare()
    assert accepted(driver) == {"a": "reloaded: replace orders"}
    assert driver.named(State.STARTING) == ["orders-1", "orders-2"]


def test_a_pool_that_goes_and_comes_back_never_takes_the_old_deaths_for_its_own() -> None:
    driver = refused(make_pool("orders", 1))
    key, life = driver.server("orders"), driver.fleet.helpers[driver.server("orders")].life
    driver.tell(events.ReloadRequested("a", {}))
    driver.helper_dies(key)
    driver.tell(events.ReloadRequested("b", by_name(make_pool("orders", 1))))
    driver.tell(events.HelperDied(key, life, "late"))
    assert driver.fleet.helpers[key].state is HelperState.STARTING


def test_a_restart_of_one_entity_cannot_mend_its_program_and_says_what_can() -> None:
    driver = refused(make_pool("orders", 1))
    driver.tell(events.RestartRequested("a", "orders-1"))
    advice = "mend it, then restart the whole pool: temporal-fleet restart orders"
    assert driver.did(act.Reject) == [act.Reject("a", (f"orders.program: SyntaxError; {advice}",), 1)]
    assert driver.state("orders-1") is State.FAILED


def test_a_file_that_says_nothing_usable_is_refused_and_stands_in_the_ledger() -> None:
    driver = up(make_pool("orders", 2))
    before = driver.fleet
    driver.tell(events.FileRefused("a", ("fleet.toml:3: x", "fleet.toml:9: y")))
    assert driver.did(act.Reject) == [act.Reject("a", ("fleet.toml:3: x", "fleet.toml:9: y"), 1)]
    assert replace(driver.fleet, changes=()) == before
    (order,) = driver.fleet.changes
    assert (order.command, order.state, order.message) == (
        "reload",
        OrderState.REJECTED,
        "fleet.toml:3: x; fleet.toml:9: y",
    )


def test_who_waits_behind_one_that_is_rejected_is_carried_out_too() -> None:
    driver = up(make_pool("orders", 1), make_pool("mail", 1))
    driver.tell(events.ReloadRequested("a", by_name(NEW)))
    driver.tell(events.RestartRequested("b", "mail"))
    driver.tell(events.RestartRequested("c", "orders"))
    driver.prepare()
    assert [rejected.request for rejected in driver.all if isinstance(rejected, act.Reject)] == ["b"]
    assert not driver.fleet.waiting
    assert driver.fleet.pending is not None
    assert driver.fleet.pending.change == 3
    driver.prepare()
    assert states(driver) == [OrderState.SUPERSEDED, OrderState.REJECTED, OrderState.ROLLING]


def test_who_waits_is_carried_out_though_what_it_waits_for_means_nothing_any_more() -> None:
    """The pool that it names was part of a change that was taken back."""
    driver = up(make_pool("orders", 1))
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1), make_pool("mail", 1))))
    driver.prepare()
    driver.tell(events.RestartRequested("b", "mail"))
    driver.tell(events.RestartRequested("c", "orders"))
    driver.die("mail-1", code=ExitCode.PROGRAM_UNUSABLE)
    assert not driver.fleet.waiting
    driver.prepare()
    assert states(driver) == [OrderState.FAILED, OrderState.REJECTED, OrderState.ROLLING]


def test_a_reload_that_waited_sees_code_that_changed_while_it_did() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare(code="first")
    driver.boot()
    driver.tell(events.RestartRequested("a", "orders"))
    driver.tell(events.ReloadRequested("b", by_name(make_pool("orders", 1)), codes={"r1.0": "third"}))
    driver.prepare(code="second")
    assert states(driver) == [OrderState.ROLLING, OrderState.IMPORTING]
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.2"]


def test_a_restart_with_code_that_is_the_same_imports_nothing() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare(code="same")
    driver.boot()
    driver.tell(events.RestartRequested("a", "orders", {"r1.0": "same"}))
    assert accepted(driver) == {"a": "restarts pool orders"}
    assert not driver.did(act.StartHelper)
    assert driver.named(State.STARTING) == ["orders-2"]
    driver.tell(events.RestartRequested("b", "orders", {"r1.0": "other"}))
    assert [action.key.name for action in driver.did(act.StartHelper)] == ["r1.2"]
