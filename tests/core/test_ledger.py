"""The ledger of changes: ids that never repeat, one table of transitions, and an end to its length."""

import pytest

from temporal_fleet.supervisor.core.ledger import (
    KEPT,
    IllegalPass,
    Ledger,
    OrderState,
    find,
    opened,
    passed,
)


def ledger_of(count: int, *, ended: bool = True) -> Ledger:
    ledger: Ledger = ()
    for n in range(count):
        ledger = opened(ledger, f"r{n}", "reload", float(n))
        if ended:
            ledger = passed(ledger, ledger[-1].id, OrderState.REJECTED, "no", float(n))
    return ledger


def test_orders_are_numbered_from_one() -> None:
    assert [(order.id, order.request, order.state) for order in ledger_of(2, ended=False)] == [
        (1, "r0", OrderState.IMPORTING),
        (2, "r1", OrderState.IMPORTING),
    ]


def test_the_last_hundred_are_kept_and_no_number_comes_again() -> None:
    ledger = ledger_of(KEPT + 5)
    assert [order.id for order in ledger] == list(range(6, KEPT + 6))


def test_one_that_is_open_is_not_forgotten_however_many_come_after_it() -> None:
    ledger = opened((), "first", "reload", 0.0)
    for n in range(2 * KEPT):
        ledger = opened(ledger, f"r{n}", "quiet orders-1", 1.0)
        ledger = passed(ledger, ledger[-1].id, OrderState.REJECTED, "no", 1.0)
    assert find(ledger, 1).is_open
    assert len(ledger) <= KEPT + 1


def test_an_order_ends_once() -> None:
    ledger = passed(ledger_of(1, ended=False), 1, OrderState.ROLLING, "reloaded: replace orders", 3.0)
    assert find(ledger, 1).ended_at is None
    ledger = passed(ledger, 1, OrderState.DONE, "reloaded: replace orders", 5.0)
    assert find(ledger, 1).ended_at == 5.0
    assert not find(ledger, 1).is_open
    for state in OrderState:
        with pytest.raises(IllegalPass, match="change 1 is done"):
            passed(ledger, 1, state, "", 6.0)


@pytest.mark.parametrize("state", [OrderState.DONE, OrderState.FAILED, OrderState.IMPORTING])
def test_what_is_not_in_force_can_neither_be_done_nor_fail(state: OrderState) -> None:
    with pytest.raises(IllegalPass):
        passed(ledger_of(1, ended=False), 1, state, "", 1.0)


def test_what_is_in_force_cannot_be_rejected() -> None:
    ledger = passed(ledger_of(1, ended=False), 1, OrderState.ROLLING, "", 1.0)
    with pytest.raises(IllegalPass):
        passed(ledger, 1, OrderState.REJECTED, "", 2.0)


def test_an_order_that_there_is_not() -> None:
    with pytest.raises(KeyError):
        find(ledger_of(1), 2)
