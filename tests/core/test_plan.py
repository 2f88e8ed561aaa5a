"""What a pool does next, from any state; and what an operator reads before a reload."""

from dataclasses import replace
from typing import Any

import pytest

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import Entity, Exit, Leaving, Pool, Rollout
from temporal_fleet.supervisor.core.moves import Moves, moves
from temporal_fleet.supervisor.core.plan import Step, reload_steps
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool


def place(ordinal: int, state: State = State.READY, version: str = "d1.0", **rest: Any) -> Entity:
    return Entity(f"orders-{ordinal}", "orders", ordinal, state, 0.0, version=version, **rest)


def orders(desired: int, surge: int = 1, unavailable: int = 0) -> Pool:
    return make_pool("orders", desired, rollout=Rollout(surge, unavailable))


def test_nothing_to_do_is_nothing_done() -> None:
    assert moves(orders(2), [place(1), place(2)]) == Moves()


def test_missing_places_are_made_and_waiting_ones_started() -> None:
    assert moves(orders(3), [place(2, State.WAITING)]) == Moves(add=(1, 3), start=("orders-2",))


def test_scaling_down_takes_the_highest_first() -> None:
    assert moves(orders(2), [place(n) for n in range(1, 6)]).leave == ("orders-5", "orders-4", "orders-3")


def test_scaling_down_takes_the_outdated_before_the_new() -> None:
    members = [place(1), place(2), place(3, version="old"), place(4)]
    assert moves(orders(2), members).leave == ("orders-3", "orders-4")


def test_unwanted_places_without_a_process_go() -> None:
    members = [place(1), place(2, State.BACKOFF), place(3, State.FAILED), place(4, State.DRAINING)]
    assert moves(orders(1), members).remove == ("orders-2", "orders-3")


def test_what_still_drains_counts_against_the_limit() -> None:
    members = [place(1, State.WAITING), place(2, State.WAITING), place(3, State.DRAINING)]
    assert moves(orders(2), members).start == ("orders-1", "orders-2")
    members[2:] = [place(3, State.DRAINING), place(4, State.DRAINING)]
    assert moves(orders(2), members).start == ("orders-1",)


def test_an_outdated_one_that_is_not_ready_goes_at_once() -> None:
    members = [place(1, State.STARTING, "old"), place(2, version="old")]
    assert moves(orders(2), members).leave == ("orders-1",)


def test_a_surplus_one_stays_while_a_wanted_one_may_come_back() -> None:
    for state in (State.STARTING, State.BACKOFF, State.WAITING, State.DRAINING):
        assert moves(orders(2), [place(1), place(2, state), place(3)]).leave == ()
    assert moves(orders(2), [place(1), place(2, State.FAILED), place(3)]).leave == ("orders-3",)


def test_one_to_be_recycled_is_replaced_like_an_outdated_one() -> None:
    members = [place(1, recycle="old"), place(2)]
    assert moves(orders(2), members) == Moves(add=(3,))
    members.append(place(3))
    assert moves(orders(2), members) == Moves(leave=("orders-1",))
    members[0] = place(1, State.WAITING)
    assert moves(orders(2), members) == Moves(start=("orders-1",))


def test_a_surplus_one_to_be_recycled_goes_first_and_once() -> None:
    members = [place(1), place(2), place(3, recycle="old"), place(4)]
    assert moves(orders(2), members).leave == ("orders-3", "orders-4")


@pytest.mark.parametrize(("meaning", "goes_on"), [(Verdict.LEFT, True), (Verdict.CRASH, False)])
def test_a_roll_goes_past_a_place_that_ended_in_order_and_waits_at_one_that_crashed(
    meaning: Verdict, goes_on: bool
) -> None:
    ended = Exit(0.0, 0, None, "ended", meaning)
    members = [place(1, version="old"), place(2, State.STOPPED, last_exit=ended), place(3)]
    assert bool(moves(orders(2), members).leave) is goes_on


def test_a_surplus_place_that_ended_stands_in_for_nobody() -> None:
    ended = Exit(0.0, 0, None, "ended", Verdict.LEFT)
    members = [place(1), place(2, State.STARTING), place(3, State.STOPPED, last_exit=ended), place(4)]
    assert moves(orders(2), members) == Moves(remove=("orders-3",))


def roll(driver: Driver) -> list[str]:
    """What a roll does, told in order, by a world that does what it is told at once."""
    story = []
    while driver.named(State.STARTING) or driver.named(State.DRAINING):
        if starting := driver.named(State.STARTING):
            driver.boot(starting[0])
            story.append(f"+{starting[0]}")
        elif draining := driver.named(State.DRAINING):
            driver.leave(draining[0])
            story.append(f"-{draining[0]}")
    return story


def reload(driver: Driver, **changed: Any) -> None:
    pools = {name: replace(pool, **changed) for name, pool in driver.fleet.pools.items()}
    driver.tell(events.ReloadRequested("r", pools))


def test_a_roll_starts_before_it_stops_and_ends_with_the_places_it_began_with() -> None:
    driver = up(orders(3))
    reload(driver, digest="d2")
    assert roll(driver) == [
        *("+orders-4", "-orders-1", "+orders-1", "-orders-2", "+orders-2", "-orders-3", "+orders-3"),
        "-orders-4",
    ]
    assert sorted(driver.fleet.entities) == ["orders-1", "orders-2", "orders-3"]
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d2.0"}


def test_a_roll_without_surge_stops_before_it_starts_one_at_a_time() -> None:
    driver = up(orders(2, surge=0, unavailable=1))
    reload(driver, digest="d2")
    assert roll(driver) == ["-orders-1", "+orders-1", "-orders-2", "+orders-2"]


def test_a_wider_roll_goes_in_wider_steps() -> None:
    driver = up(orders(4, surge=2, unavailable=1))
    reload(driver, digest="d2")
    assert driver.named(State.DRAINING) == ["orders-1"]
    assert driver.named(State.STARTING) == ["orders-5", "orders-6"]


def test_a_roll_to_code_that_crashes_stands_still_and_keeps_what_runs() -> None:
    driver = up(make_pool("orders", 3, restart=RestartPolicy(max_restarts=2), hang=10_000.0))
    reload(driver, digest="d2")
    while driver.state("orders-4") is not State.FAILED:
        driver.wait(1.0)
        if driver.state("orders-4") is State.STARTING:
            driver.die("orders-4", code=1)
    driver.wait(1000.0)
    assert driver.named(State.READY) == ["orders-1", "orders-2", "orders-3"]


def test_a_roll_that_is_overtaken_goes_on_to_the_newest_wish() -> None:
    driver = up(orders(2))
    reload(driver, digest="d2")
    driver.boot("orders-3")
    driver.leave("orders-1")
    reload(driver, digest="d3")
    roll(driver)
    assert {entity.version for entity in driver.fleet.entities.values()} == {"d3.0"}


def test_an_outdated_one_that_dies_comes_back_new() -> None:
    driver = up(orders(2))
    reload(driver, digest="d2")
    driver.die("orders-2", code=1)
    driver.boot("orders-3")
    assert driver.entity("orders-2").version == "d2.0"
    assert driver.entity("orders-2").crashes == ()


def test_a_pool_that_is_gone_drains_and_its_fork_server_goes_after_its_last_entity() -> None:
    driver = up(make_pool("orders", 2), make_pool("billing", 1, revision="r2"))
    driver.tell(events.ReloadRequested("r", by_name(driver.fleet.pools["orders"])))
    gone = make_pool("billing", 1, revision="r2").fork_server
    assert driver.named(State.DRAINING) == ["billing-1"]
    assert act.StopHelper(gone) not in driver.last
    driver.leave("billing-1")
    assert driver.did(act.StopHelper) == [act.StopHelper(gone)]


def test_pools_of_one_revision_share_a_fork_server() -> None:
    driver = up(make_pool("orders", 1), make_pool("billing", 1))
    assert driver.fork_servers() == {"r1.0"}


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
    pools = by_name(orders(1))
    entities = {entity.id: entity for entity in (place(1, recycle="old"), place(2))}
    assert reload_steps(pools, entities, pools) == (Step("keep", "1 entity", "untouched"),)


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


def test_a_restart_by_name_replaces_one_entity_in_its_place() -> None:
    driver = up(orders(2))
    driver.tell(events.RestartRequested("r", "orders-2"))
    assert driver.entity("orders-2").leaving is Leaving.ORDERED
    driver.leave("orders-2")
    assert driver.entity("orders-2").incarnation == 2
    assert driver.entity("orders-1").incarnation == 1
