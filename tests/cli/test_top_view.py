"""What keys make of the view of `top`, and how entities stand in it: values only."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.cli.keyboard import names
from temporal_fleet.supervisor.cli.top_rates import Rates, is_old, rates
from temporal_fleet.supervisor.cli.top_view import (
    ACTS,
    Act,
    Mode,
    Order,
    Quit,
    Run,
    View,
    arranged,
    pressed,
    selected,
)
from tests.cli.wire import entity, report

SHOWN = ("orders-1", "orders-2", "orders-3")
FURTHEST = 40
"""Lines of output above the screen."""


def after(
    keys: Iterable[str], view: View | None = None, shown: tuple[str, ...] = SHOWN
) -> tuple[View, list[Quit | Run]]:
    """The view, and what was wished for on the way."""
    now, wishes = view or View(), list[Quit | Run]()
    for key in keys:
        now, wish = pressed(now, key, shown, furthest=FURTHEST)
        wishes += [wish] if wish is not None else []
    return now, wishes


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), "orders-1"),
        (("j",), "orders-2"),
        (("down", "down", "down"), "orders-3"),
        (("G", "k"), "orders-2"),
        (("end", "up", "home"), "orders-1"),
        (("page down",), "orders-3"),
        (("j", "page up"), "orders-1"),
    ],
)
def test_moving(keys: tuple[str, ...], expected: str) -> None:
    view, wishes = after(keys)
    assert selected(view, SHOWN) == expected
    assert wishes == []


def test_who_is_gone_is_no_longer_selected() -> None:
    view, _ = after(("j",))
    assert selected(view, ("orders-1", "orders-3")) == "orders-1"
    assert selected(view, ()) == ""
    assert after(("j", "d", "y"), shown=()) == (View(), [])


@pytest.mark.parametrize(("key", "act"), ACTS.items())
def test_an_act_waits_for_a_yes(key: str, act: Act) -> None:
    asked, wishes = after(("j", key))
    assert (asked.mode, asked.act, wishes) == (Mode.CONFIRM, act, [])
    done, wishes = after(("y",), asked)
    assert wishes == [Run(act, "orders-2")]
    assert (done.mode, done.act) == (Mode.OUTPUT, None)
    for other in ("n", "escape", "enter", "q", key):
        assert after((other,), asked) == (replace(asked, mode=Mode.LIST, act=None), [])


def test_an_act_is_for_nobody_else_when_its_entity_is_gone_before_the_yes() -> None:
    asked, _ = after(("j", "r"))
    _, wishes = after(("y",), asked, shown=("orders-1", "orders-3"))
    assert wishes == []


def test_the_words_of_the_acts_are_those_of_the_commands() -> None:
    assert Run(Act.EVICT, "orders-1").words == ("evict", "orders-1", "--all")
    assert Run(Act.DUMP, "orders-1").words == ("dump", "orders-1")


def test_a_filter_holds_while_it_is_typed_and_is_kept_or_left() -> None:
    entities = [entity("orders-1"), entity("orders-2", state="failed"), entity("billing-1")]
    typing, _ = after(("/", *"bilx", "backspace"))
    assert [each.id for each in arranged(entities, typing, {})] == ["billing-1"]
    kept, wishes = after(("enter",), typing)
    assert (kept.mode, kept.filter, wishes) == (Mode.LIST, "bil", [])
    left, _ = after(("escape",), typing)
    assert (left.mode, left.filter) == (Mode.LIST, "")
    assert after(("escape",), kept)[0].filter == ""
    assert [each.id for each in arranged(entities, replace(kept, filter="FAILED"), {})] == ["orders-2"]
    # Keys are letters there.
    assert after(("/", *"qdy"))[0].typed == "qdy"


def test_sorting_goes_round_and_can_be_turned() -> None:
    assert after("s" * len(Order)) == (View(), [])
    small, large = entity("orders-1"), msgspec.structs.replace(entity("orders-2"), rss_bytes=1 << 40)
    by_memory, _ = after(("s", "s"))
    assert by_memory.order is Order.MEMORY
    assert [each.id for each in arranged([small, large], by_memory, {})] == ["orders-2", "orders-1"]
    turned, _ = after(("S",), by_memory)
    assert [each.id for each in arranged([small, large], turned, {})] == ["orders-1", "orders-2"]
    by_tasks = View(order=Order.TASKS)
    found = arranged([small, large], by_tasks, {"orders-2": Rates(tasks=3.0)})
    assert [each.id for each in found] == ["orders-2", "orders-1"]


@pytest.mark.parametrize("order", Order)
def test_every_order_is_one(order: Order) -> None:
    entities = [entity("orders-1"), entity("orders-2", state="failed")]
    assert len(arranged(entities, View(order=order), {})) == 2


def test_output_and_help_lead_back() -> None:
    output, _ = after(("o", "k", "page up"))
    assert (output.mode, output.scroll) == (Mode.OUTPUT, 11)
    assert after(("G", "escape"), output)[0] == View()
    # From its first line it goes down again at once.
    assert after(("g", "j"), output)[0].scroll == FURTHEST - 1
    assert after(("g", "page up", "page down"), output)[0].scroll == FURTHEST - 10
    assert after(("?", "x"))[0] == View()
    assert after(("q",))[1] == [Quit()]
    assert after(("o", "q"))[1] == []


KEYS = st.sampled_from(
    [*"jkgGsS/dehorQq?yn ", "up", "down", "enter", "escape", "backspace", "page up", "end"]
)


@given(st.lists(st.tuples(KEYS, st.sampled_from([SHOWN, SHOWN[1:], ()])), max_size=60))
def test_whatever_is_typed_nothing_is_done_without_a_yes(
    typed: list[tuple[str, tuple[str, ...]]],
) -> None:
    view = View()
    for key, shown in typed:
        before = view
        view, wish = pressed(view, key, shown, furthest=FURTHEST)
        assert (view.act is not None) == (view.mode is Mode.CONFIRM)
        if isinstance(wish, Run):
            assert (before.mode, key) == (Mode.CONFIRM, "y")
            assert (wish.act, wish.entity) == (before.act, before.selected)
            assert wish.entity in shown


def test_rates_are_of_one_life_under_one_supervisor() -> None:
    then = report(entities=[entity("orders-1"), entity("orders-2")])
    later = msgspec.structs.replace(then.fleet, uptime_s=then.fleet.uptime_s + 4.0)
    busy = msgspec.structs.replace(entity("orders-1"), tasks=10, evictions=5)
    reborn = msgspec.structs.replace(entity("orders-2"), incarnation=9, tasks=10)
    now = msgspec.structs.replace(then, fleet=later, entities=[busy, reborn])
    assert rates(then, now) == {"orders-1": Rates(tasks=2.5, evictions=0.5)}
    assert rates(None, now) == {}
    assert rates(now, now) == {}
    other = msgspec.structs.replace(now, fleet=msgspec.structs.replace(later, pid=1))
    assert rates(then, other) == {}


@pytest.mark.parametrize(
    ("pid", "uptime", "old"),
    [(1, 60.0, False), (1, 56.0, False), (1, 50.0, True), (2, 59.0, True), (1, 4000.0, True)],
    ids=["itself", "just now", "long ago", "another process", "before an upgrade of the process"],
)
def test_a_report_is_old(pid: int, uptime: float, *, old: bool) -> None:
    newest = report()
    newest = msgspec.structs.replace(
        newest, fleet=msgspec.structs.replace(newest.fleet, pid=1, uptime_s=60.0)
    )
    former = msgspec.structs.replace(
        newest, fleet=msgspec.structs.replace(newest.fleet, pid=pid, uptime_s=uptime)
    )
    assert is_old(former, newest) is old


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("jq", ["j", "q"]),
        ("\x1b[A\x1bOB", ["up", "down"]),
        ("\x1b[5~\x1b[1;5C\x1b[F", ["page up", "end"]),
        ("\r\x7f", ["enter", "backspace"]),
        ("\x1b", ["escape"]),
        ("é\x01", ["é"]),
    ],
)
def test_what_a_terminal_sends(sent: str, keys: list[str]) -> None:
    assert names(sent) == keys
