"""What the next supervisor makes of what the last one knew, and of who lives."""

from dataclasses import replace

import pytest

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.books import Books, books
from temporal_fleet.supervisor.core.estate import ActivityInHand, ActivityKey, Estate, Life
from temporal_fleet.supervisor.core.fleet import Pool, Standing
from temporal_fleet.supervisor.core.ledger import OrderState
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import fleet_state
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

HELD = Estate(activities=(ActivityInHand(ActivityKey("w", "r", "1"), "pay", 1, b"t"),), connected=True)
WORKED = Estate(connected=True)


def successor(before: Driver, *pools: Pool, dead: dict[str, Estate] | None = None) -> Driver:
    """Who has a process lives on, but those that are dead and left so much; the file says `pools`, or the
    same."""
    left = dead or {}
    live = [e for e in before.fleet.entities.values() if e.is_live and e.id not in left]
    following = Driver(
        *(pools or (replace(pool, epoch=0, turn=0) for pool in before.fleet.pools.values())),
        books=books(before.fleet),
        found=tuple(events.Found(e.id, e.incarnation, e.pid or 99) for e in live),
        dead=tuple(
            events.FoundDead(name, before.entity(name).incarnation, estate) for name, estate in left.items()
        ),
        now=before.now + 1.0,
    )
    following.prepare("code")
    return following


def greet(driver: Driver, *names: str) -> None:
    """They find the new supervisor, and tell where they stand."""
    for name in names:
        entity = driver.entity(name)
        driver.tell(events.Greeted(name, entity.incarnation, entity.pid or 0))


def test_nobody_is_touched_where_nothing_changed() -> None:
    before = up(make_pool("orders", 2))
    before.die("orders-1")
    before.boot()
    before.tell(events.RestartRequested("r", None))
    for _ in range(4):
        before.prepare()
        before.boot()
        before.leave()
    after = successor(before)
    assert not [a for a in after.all if isinstance(a, act.Fork | act.TellDrain | act.Kill)]
    for name, was in before.fleet.entities.items():
        now = after.entity(name)
        assert (now.state, now.pid, now.incarnation, now.version) == (
            was.state,
            was.pid,
            was.incarnation,
            was.version,
        )
        assert (now.restarts, now.last_exit, now.forked_at) == (was.restarts, was.last_exit, was.forked_at)
        assert now.adopted
    assert after.fleet.generation == before.fleet.generation
    assert [order.id for order in after.fleet.changes] == [1]


def test_counters_and_the_ledger_go_on() -> None:
    before = up(make_pool("orders", 1))
    before.die("orders-1")
    before.boot()
    before.tell(events.ScaleRequested("a", {"orders": 2}))
    before.boot()
    after = successor(before)
    after.tell(events.Died("orders-1", 2, None, None, "", WORKED))
    assert after.entity("orders-1").restarts == 2
    assert after.state("orders-1") is State.BACKOFF, "it is its second death in a row"
    after.tell(events.DrainRequested("b", "orders"))
    assert [order.id for order in after.fleet.changes] == [1, 2]


def test_one_that_starts_gets_its_boot_anew_and_one_that_drains_what_is_left_of_its_time() -> None:
    before = up(make_pool("orders", 1, drain=60.0, boot=20.0), make_pool("mail", 1, boot=20.0))
    before.die("mail-1")
    before.wait(5.0)
    before.tell(events.RestartRequested("r", "orders-1"))
    after = successor(before)
    assert after.state("mail-1") is State.STARTING
    assert after.entity("mail-1").deadline == after.now + 20.0
    assert after.entity("orders-1").deadline == before.entity("orders-1").deadline
    greet(after, "orders-1")
    assert act.TellDrain("orders-1", 1) in after.last
    after.tell(events.BecameReady("mail-1", 2))
    assert after.state("mail-1") is State.READY


def test_whoever_is_silent_after_it_was_adopted_is_killed_later_than_one_that_hangs() -> None:
    after = successor(up(make_pool("orders", 1, hang=10.0)))
    after.wait(14.0)
    assert after.state("orders-1") is State.READY
    after.wait(3.0)
    assert act.Kill("orders-1", 1, 11) in after.all


def test_those_that_come_after_a_stop_that_was_cut_off_have_the_names_of_those_that_went() -> None:
    before = up(make_pool("orders", 2))
    before.tell(events.StopRequested(now=False))
    after = successor(before, dead={"orders-1": HELD, "orders-2": WORKED})
    after.boot()
    assert [(e.id, e.incarnation, e.state) for e in after.fleet.members("orders")] == [
        ("orders-1", 2, State.READY),
        ("orders-2", 2, State.READY),
    ]


def test_a_quiet_one_stays_quiet_and_a_drained_pool_at_zero() -> None:
    before = up(make_pool("orders", 2), make_pool("mail", 1))
    before.tell(events.QuietRequested("q", "orders-1"))
    before.boot()
    before.tell(events.DrainRequested("d", "mail"))
    before.leave()
    after = successor(before)
    assert after.state("orders-1") is State.QUIET
    greet(after, "orders-1")
    assert act.TellQuiet("orders-1", 1) in after.last
    assert not after.fleet.members("mail")
    after.tell(events.ResumeRequested("r", "mail"))
    assert [fork.entity for fork in after.did(act.Fork)] == ["mail-1"]


def test_what_the_file_says_now_is_come_to_by_the_ordinary_moves() -> None:
    before = up(make_pool("orders", 2), make_pool("mail", 2), make_pool("gone", 1))
    after = successor(before, make_pool("orders", 2, digest="d2"), make_pool("mail", 1))
    assert after.state("gone-1") is State.DRAINING
    assert after.named(State.DRAINING) == ["mail-2", "gone-1"]
    assert after.entity("orders-3").standing is Standing.STAND_IN
    assert {after.state("orders-1"), after.state("orders-2")} == {State.READY}
    assert after.fleet.generation == before.fleet.generation + 1


def test_a_roll_in_the_middle_goes_on_and_its_change_is_told_as_interrupted() -> None:
    before = up(make_pool("orders", 2))
    before.tell(events.ReloadRequested("a", by_name(make_pool("orders", 2, digest="d2"))))
    before.boot()
    assert before.fleet.roll is not None
    after = successor(before)
    assert after.fleet.changes[-1].state is OrderState.FAILED
    assert "the supervisor ended meanwhile" in after.fleet.changes[-1].message
    for _ in range(6):
        after.boot()
        after.leave()
    assert sorted(after.fleet.entities) == ["orders-1", "orders-2"]
    assert {e.version for e in after.fleet.entities.values()} == {"d2.0"}


def test_a_pending_change_is_told_as_nothing() -> None:
    before = up(make_pool("orders", 1))
    before.tell(events.ReloadRequested("a", by_name(make_pool("orders", 1, revision="r2", digest="d2"))))
    assert before.fleet.pending is not None
    after = successor(before)
    assert after.fleet.changes[-1].state is OrderState.REJECTED
    assert not after.named(State.DRAINING)


def test_a_forced_roll_in_the_middle_is_not_forgotten() -> None:
    before = up(make_pool("orders", 2))
    pools = by_name(make_pool("orders", 2))
    before.tell(events.ReloadRequested("a", pools, forced=("orders",)))
    before.prepare()
    assert before.fleet.pools["orders"].turn == 1
    after = successor(before)
    assert after.fleet.pools["orders"].version == before.fleet.pools["orders"].version
    assert after.entity("orders-3").standing is Standing.STAND_IN


def test_code_that_changed_meanwhile_rolls_those_that_were_forked_from_the_old() -> None:
    before = Driver(make_pool("orders", 1), make_pool("mail", 1, revision="r2"))
    before.prepare("old")
    before.boot()
    after = Driver(
        *before.fleet.pools.values(),
        books=books(before.fleet),
        found=(events.Found("orders-1", 1, 11), events.Found("mail-1", 1, 11)),
    )
    for helper in tuple(after.fleet.helpers.values()):
        code = "new" if helper.key == after.server("orders") else "old"
        after.tell(events.HelperReady(helper.key, helper.life, code))
    assert [e.id for e in after.fleet.entities.values() if e.state is State.STARTING] == ["orders-2"]
    assert after.state("mail-1") is State.READY
    after.boot()
    after.leave()
    after.boot()
    after.leave()
    assert [(e.id, e.code) for e in after.fleet.members("orders")] == [("orders-1", "new")]


def test_an_upgrade_in_place_leaves_entities_of_older_code_to_the_next_reload() -> None:
    before = Driver(make_pool("orders", 1))
    before.prepare("old")
    before.boot()
    after = Driver(
        make_pool("orders", 1),
        books=books(before.fleet),
        found=(events.Found("orders-1", 1, 11),),
        in_place=True,
    )
    after.prepare("new")
    assert after.named(State.READY) == ["orders-1"]
    assert list(after.fleet.entities) == ["orders-1"]
    codes = {after.server("orders").name: "new"}
    after.tell(events.ReloadRequested("r", by_name(make_pool("orders", 1)), codes=codes))
    assert after.entity("orders-2").standing is Standing.STAND_IN


def test_code_that_does_not_import_any_more_leaves_them_as_they_are_and_the_fleet_says_so() -> None:
    before = up(make_pool("orders", 1))
    after = Driver(
        make_pool("orders", 1), books=books(before.fleet), found=(events.Found("orders-1", 1, 11),)
    )
    after.helper_refuses(after.server("orders"), "orders.program does not import")
    assert after.state("orders-1") is State.READY
    assert fleet_state(after.fleet)[1] == "orders.program does not import"


def test_a_place_that_was_refused_its_program_is_judged_anew() -> None:
    before = Driver(make_pool("orders", 1))
    before.helper_refuses(before.server("orders"), "it does not import")
    assert before.state("orders-1") is State.FAILED
    after = successor(before)
    assert [fork.entity for fork in after.did(act.Fork)] == ["orders-1"]


def test_a_crash_loop_stays_given_up() -> None:
    before = up(make_pool("orders", 1))
    while before.state("orders-1") is not State.FAILED:
        before.boot()
        before.die("orders-1")
        before.wait(2.0)
    after = successor(before)
    after.wait(100.0)
    assert after.state("orders-1") is State.FAILED
    assert "crash loop" in after.entity("orders-1").reason


def test_one_that_died_unseen_is_recovered_and_followed_at_once() -> None:
    after = successor(up(make_pool("orders", 1)), dead={"orders-1": HELD})
    assert [recover.life for recover in after.all if isinstance(recover, act.Recover)] == [
        Life("orders-1", 1)
    ]
    assert [(fork.entity, fork.incarnation) for fork in after.all if isinstance(fork, act.Fork)] == [
        ("orders-1", 2)
    ]
    assert after.entity("orders-1").restarts == 1


def test_one_that_drained_by_itself_meanwhile_is_followed_at_once_and_not_recovered() -> None:
    after = successor(up(make_pool("orders", 1)), dead={"orders-1": Estate()})
    assert not [action for action in after.all if isinstance(action, act.Recover)]
    assert act.Forget(Life("orders-1", 1)) in after.all
    assert [fork.incarnation for fork in after.all if isinstance(fork, act.Fork)] == [2]


def test_a_fork_that_was_never_done_is_done_again_under_another_number() -> None:
    before = Driver(make_pool("orders", 1))
    before.prepare()
    after = Driver(make_pool("orders", 1), books=books(before.fleet))
    after.prepare()
    assert [fork.incarnation for fork in after.did(act.Fork)] == [2]
    assert after.entity("orders-1").last_exit is None


def test_the_verdicts_of_a_recovery_are_not_lost() -> None:
    before = up(make_pool("orders", 2, poison_after=1))
    before.tell(events.Died("orders-1", 1, None, "SIGKILL", "", HELD, 1.7e9))
    (ordered,) = before.fleet.recoveries.values()
    assert ordered.verdicts[0].poison
    after = Driver(
        make_pool("orders", 2, poison_after=1),
        books=books(before.fleet),
        found=(events.Found("orders-2", 1, 12),),
        dead=(events.FoundDead("orders-1", 1, HELD),),
    )
    after.prepare()
    (again,) = (action for action in after.all if isinstance(action, act.Recover))
    assert (again.verdicts, again.signal) == (ordered.verdicts, "SIGKILL")


@pytest.mark.parametrize(
    ("estate", "meaning"), [(WORKED, Verdict.CRASH), (HELD, Verdict.CRASH), (Estate(), Verdict.LEFT)]
)
def test_the_end_of_one_that_is_no_child_of_ours_is_told_by_what_it_left(
    estate: Estate, meaning: Verdict
) -> None:
    after = successor(up(make_pool("orders", 1)))
    after.tell(events.Died("orders-1", 1, None, None, "", estate, 1.7e9))
    last = after.entity("orders-1").last_exit
    assert last is not None
    assert (last.code, last.signal, last.meaning) == (None, None, meaning)
    assert last.cause == "exit status not known: not our child"
    assert (Life("orders-1", 1) in after.fleet.recoveries) == (estate != Estate())


def test_a_newborn_that_sees_that_its_supervisor_is_another_leaves_and_is_no_crash() -> None:
    before = Driver(make_pool("orders", 1))
    before.prepare()
    after = successor(before)
    after.tell(events.Died("orders-1", 1, None, None))
    assert after.entity("orders-1").incarnation == 2
    assert after.entity("orders-1").crashes == ()
    assert after.entity("orders-1").last_exit is None


def test_an_entity_says_where_it_stands_where_the_books_do_not() -> None:
    after = Driver(
        make_pool("orders", 2),
        books=Books(least=100),
        found=tuple(events.Found(f"orders-{n}", 5, n) for n in (1, 2)),
    )
    assert {after.state("orders-1"), after.state("orders-2")} == {State.READY}
    after.tell(events.LeftByItself("orders-1", 5, "told", told=True))
    after.tell(events.BecameReady("orders-2", 5, quiet=True))
    assert (after.state("orders-1"), after.state("orders-2")) == (State.DRAINING, State.QUIET)
    after.prepare()
    after.tell(events.Died("orders-1", 5, None, None))
    # Nobody knows which numbers others had.
    forks = {(fork.entity, fork.incarnation) for fork in after.all if isinstance(fork, act.Fork)}
    assert forks == {("orders-1", 6), ("orders-3", 101)}


@pytest.mark.parametrize("name", ["gone-3", "weird", "-", "gone-x"])
def test_one_of_no_pool_is_told_to_go_and_its_place_goes_with_it(name: str) -> None:
    driver = Driver(make_pool("orders", 1), found=(events.Found(name, 5, 77),))
    assert driver.state(name) is State.DRAINING
    driver.tell(events.Died(name, 5, None, None))
    assert list(driver.fleet.entities) == ["orders-1"]


def test_a_fleet_that_stopped_begins_anew_but_for_its_incarnations() -> None:
    before = up(make_pool("orders", 1))
    before.tell(events.DrainRequested("d", "orders"))
    before.tell(events.StopRequested(now=False))
    before.leave()
    for helper in tuple(before.fleet.helpers.values()):
        before.helper_dies(helper.key)
    assert act.Finish() in before.all
    assert books(before.fleet) == Books(incarnations={"orders-1": 1})
