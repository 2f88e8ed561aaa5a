"""What a pool does next, from any state."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import Entity, Exit, Leaving, Load, Pool, Rollout, Standing
from temporal_fleet.supervisor.core.moves import Moves, is_settled, moves
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

AT_REST = {State.READY, State.STOPPED, State.FAILED, State.WAITING}


def place(ordinal: int, state: State = State.READY, version: str = "d1.0", **rest: Any) -> Entity:
    return Entity(f"orders-{ordinal}", "orders", ordinal, state, 0.0, version=version, **rest)


def stand_in(ordinal: int, state: State = State.READY, **rest: Any) -> Entity:
    return place(ordinal, state, standing=Standing.STAND_IN, **rest)


def retired(ordinal: int, state: State) -> Entity:
    return place(ordinal, state, standing=Standing.RETIRED)


def orders(desired: int, surge: int = 1, unavailable: int = 0) -> Pool:
    return make_pool("orders", desired, rollout=Rollout(surge, unavailable))


def test_nothing_to_do_is_nothing_done() -> None:
    assert moves(orders(2), [place(1), place(2)]) == Moves()


def test_missing_places_are_made_and_waiting_ones_started() -> None:
    assert moves(orders(3), [place(2, State.WAITING)]) == Moves(add=(1, 3), start=("orders-2",))


def test_a_free_ordinal_is_taken_again_the_lowest_first() -> None:
    assert moves(orders(4), [place(1), place(3)]).add == (2, 4)


def test_scaling_down_takes_the_highest_first_of_those_that_do_nothing() -> None:
    assert moves(orders(2), [place(n) for n in range(1, 6)]).retire == ("orders-5", "orders-4", "orders-3")


def test_scaling_down_takes_who_costs_least() -> None:
    members = [
        place(1, load=Load(activities=2)),
        place(2, load=Load(activities=1, cached=9)),
        place(3, load=Load(activities=1, cached=10)),
        place(4, load=Load(activities=3)),
    ]
    assert moves(orders(3), members).retire == ("orders-2",)
    assert moves(orders(1), members).retire == ("orders-2", "orders-3", "orders-1")


def test_a_place_that_is_missing_in_the_middle_is_nobodys_loss() -> None:
    assert moves(orders(3), [place(1), place(3), place(4)]) == Moves()


def test_scaling_down_takes_the_outdated_before_the_new() -> None:
    members = [place(1), place(2), place(3, version="old"), place(4)]
    assert moves(orders(2), members).retire == ("orders-3", "orders-4")


def test_scaling_down_takes_who_has_no_process_first() -> None:
    members = [place(1, State.FAILED), place(2, State.BACKOFF), place(3, State.WAITING), place(4), place(5)]
    assert moves(orders(2), members) == Moves(remove=("orders-1", "orders-2", "orders-3"))
    assert moves(orders(4), members) == Moves(remove=("orders-1",), start=("orders-3",))


def test_one_that_was_told_to_go_for_good_does_not_come_back() -> None:
    members = [place(1), retired(2, State.DRAINING), place(3)]
    assert moves(orders(2), members) == Moves()
    assert moves(orders(3), members) == Moves(add=(4,))
    members[1] = retired(2, State.WAITING)
    assert moves(orders(2), members) == Moves(remove=("orders-2",))


def test_what_still_drains_counts_against_the_limit() -> None:
    members = [place(1, State.WAITING), place(2, State.WAITING), retired(3, State.DRAINING)]
    assert moves(orders(2), members).start == ("orders-1", "orders-2")
    members[2:] = [retired(3, State.DRAINING), retired(4, State.DRAINING)]
    assert moves(orders(2), members).start == ("orders-1",)


def test_a_quiet_ones_place_is_taken_by_another_at_once() -> None:
    members = [place(1), retired(2, State.QUIET), place(3)]
    assert moves(orders(3), members) == Moves(add=(4,))
    members.append(place(4, State.WAITING))
    assert moves(orders(3, surge=0, unavailable=1), members) == Moves(start=("orders-4",))


def test_a_quiet_one_is_passed_by_whatever_comes() -> None:
    members = [place(1), place(3), retired(2, State.QUIET)]
    for changed in (orders(2), replace(orders(2), digest="d2"), orders(0)):
        told = moves(changed, members)
        assert "orders-2" not in (*told.replace, *told.retire, *told.remove)


def test_an_outdated_one_that_is_not_ready_goes_at_once() -> None:
    members = [place(1, State.STARTING, "old"), place(2, version="old")]
    assert moves(orders(2), members).replace == ("orders-1",)


def test_a_stand_in_stays_while_a_wanted_one_may_come_back() -> None:
    for state in (State.STARTING, State.BACKOFF, State.WAITING, State.DRAINING):
        assert moves(orders(2), [place(1), place(2, state), stand_in(3)]).retire == ()
    assert moves(orders(2), [place(1), place(2, State.FAILED), stand_in(3)]).retire == ("orders-3",)


def test_a_stand_in_that_is_wanted_for_good_is_one_of_them_from_then_on() -> None:
    members = [place(1, version="old"), place(2), stand_in(3)]
    assert moves(orders(3), members) == Moves(promote=("orders-3",), stand_in=(4,))


def test_one_to_be_recycled_is_replaced_like_an_outdated_one() -> None:
    members = [place(1, recycle="old"), place(2)]
    assert moves(orders(2), members) == Moves(stand_in=(3,))
    members.append(stand_in(3))
    assert moves(orders(2), members) == Moves(replace=("orders-1",))
    members[0] = place(1, State.WAITING)
    assert moves(orders(2), members) == Moves(start=("orders-1",))


def test_a_surplus_one_to_be_recycled_goes_first_and_once() -> None:
    members = [place(1), place(2), place(3, recycle="old"), place(4)]
    assert moves(orders(2), members).retire == ("orders-3", "orders-4")


@pytest.mark.parametrize(("meaning", "goes_on"), [(Verdict.LEFT, True), (Verdict.CRASH, False)])
def test_a_roll_goes_past_a_place_that_ended_in_order_and_waits_at_one_that_crashed(
    meaning: Verdict, goes_on: bool
) -> None:
    ended = Exit(0.0, 0, None, "ended", meaning)
    members = [place(1, version="old"), place(2, State.STOPPED, last_exit=ended), stand_in(3)]
    assert bool(moves(orders(2), members).replace) is goes_on


def test_a_stand_in_that_ended_stands_in_for_nobody() -> None:
    ended = Exit(0.0, 0, None, "ended", Verdict.LEFT)
    members = [place(1), place(2, State.STARTING), stand_in(3, State.STOPPED, last_exit=ended), stand_in(4)]
    assert moves(orders(2), members) == Moves(remove=("orders-3",))


def test_a_stand_in_that_gave_up_is_not_tried_again_and_again() -> None:
    members = [place(1, version="old"), stand_in(2, State.FAILED)]
    assert moves(orders(1), members) == Moves()


@pytest.mark.parametrize(
    ("members", "settled"),
    [
        ([place(1), place(2)], True),
        ([place(1), place(5)], True),
        ([place(1)], False),
        ([place(1), place(2, version="old")], False),
        ([place(1), place(2, State.STARTING)], False),
        ([place(1), place(2, State.BACKOFF)], False),
        ([place(1), place(2, State.STOPPED)], True),
        ([place(1), place(2, State.FAILED)], True),
        ([place(1), place(2), place(3)], False),
        ([place(1), place(2), stand_in(3)], False),
        ([place(1), place(2), retired(3, State.DRAINING)], False),
        ([place(1), place(2), retired(3, State.QUIET)], True),
        ([place(1), place(2, recycle="old"), stand_in(3)], True),
        ([place(1, State.FAILED), place(2, version="old"), stand_in(3, State.FAILED)], True),
    ],
)
def test_a_pool_is_settled_when_it_has_what_it_is_to_have_and_nothing_is_under_way(
    members: list[Entity], settled: bool
) -> None:
    assert is_settled(orders(2), members) is settled


@given(
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(
        st.tuples(
            st.sampled_from([state for state in State if state is not State.QUIET]),
            st.sampled_from(["d1.0", "old"]),
            st.sampled_from([Standing.MEMBER, Standing.STAND_IN]),
            st.integers(0, 2),
        ),
        max_size=7,
    ),
)
def test_whatever_the_places_are_the_pool_keeps_what_it_has_and_can_be_left_to_itself(
    desired: int, surge: int, unavailable: int, drawn: list[tuple[State, str, Standing, int]]
) -> None:
    """Nobody is told to go who is not there, nobody gets an id that is taken; and once all has happened that
    was asked for, nothing else is."""
    pool = orders(desired, surge, max(unavailable, 0 if surge else 1))
    members = [
        place(n, state, version, standing=standing, load=Load(activities=hands))
        for n, (state, version, standing, hands) in enumerate(drawn, start=1)
    ]
    for _ in range(200):
        told = moves(pool, members)
        if told == Moves() and all(e.state in AT_REST for e in members):
            break
        leaving = {*told.replace, *told.retire}
        known = {e.id: e for e in members}
        assert not {*told.add, *told.stand_in} & {e.ordinal for e in members}
        assert all(known[name].is_live and known[name].state is not State.DRAINING for name in leaving)
        lost = sum(known[name].state is State.READY for name in leaving)
        gave_up = sum(e.state in {State.FAILED, State.STOPPED} for e in members)
        ready = sum(e.state is State.READY for e in members) - lost
        assert not lost or ready >= desired - pool.rollout.max_unavailable - gave_up
        members = follow(members, told)
    else:
        pytest.fail(f"never comes to rest: {pool}, {members}")
    assert not any(e.state is State.WAITING for e in members), "waits for ever"
    if not any(e.state in {State.FAILED, State.STOPPED} for e in members):
        assert is_settled(pool, members)


def follow(members: list[Entity], told: Moves) -> list[Entity]:
    """A world that does at once what a pool asks for: whoever starts gets ready, whoever drains is done."""
    made = [place(n, State.WAITING) for n in told.add] + [stand_in(n, State.WAITING) for n in told.stand_in]
    kept = [e for e in members if e.id not in told.remove]
    return sorted((followed(e, told) for e in (*kept, *made)), key=lambda e: e.ordinal)


def followed(entity: Entity, told: Moves) -> Entity:
    standing = entity.standing
    if entity.id in told.promote:
        standing = Standing.MEMBER
    elif entity.id in told.retire:
        standing = Standing.RETIRED
    if entity.id in {*told.replace, *told.retire} or entity.state in {State.DRAINING, State.BACKOFF}:
        return replace(entity, state=State.WAITING, recycle="", standing=standing)
    if entity.id in told.start:
        return replace(entity, state=State.READY, version="d1.0", standing=standing)
    if entity.state is State.STARTING:
        return replace(entity, state=State.READY, standing=standing)
    return replace(entity, standing=standing)


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


def test_a_restart_by_name_replaces_one_entity_in_its_place() -> None:
    driver = up(orders(2))
    driver.tell(events.RestartRequested("r", "orders-2"))
    assert driver.entity("orders-2").leaving is Leaving.ORDERED
    driver.leave("orders-2")
    assert driver.entity("orders-2").incarnation == 2
    assert driver.entity("orders-1").incarnation == 1
