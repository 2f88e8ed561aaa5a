"""The ledger of changes: every command that an operator gave, and what became of it. Values and the only
table of their transitions; what a change does to the fleet stands in changes and roll.

    importing   its programs are imported, or it waits for an earlier change that is; nothing is changed yet
    rolling     in force; the fleet is on its way there
    done        the fleet is what it asked for
    failed      it was in force, and could not be carried through
    rejected    nothing was changed
    superseded  a newer one took its place
"""

from dataclasses import dataclass, replace
from enum import Enum

KEPT = 100
"""Orders in the ledger, the last ones."""


class OrderState(Enum):
    IMPORTING = "importing"
    ROLLING = "rolling"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


_TRANSITIONS = frozenset(
    {
        (OrderState.IMPORTING, OrderState.ROLLING),
        (OrderState.IMPORTING, OrderState.REJECTED),
        (OrderState.IMPORTING, OrderState.SUPERSEDED),
        (OrderState.ROLLING, OrderState.DONE),
        (OrderState.ROLLING, OrderState.FAILED),
        (OrderState.ROLLING, OrderState.SUPERSEDED),
    }
)
_OPEN = frozenset({OrderState.IMPORTING, OrderState.ROLLING})


@dataclass(frozen=True, slots=True)
class Order:
    """One command, and what became of it."""

    id: int
    """1, 2, …, for the life of the supervisor."""
    request: str
    """The token that its outcome is answered with."""
    command: str
    """As an operator would type it: `reload`, `scale orders=4`."""
    asked_at: float
    state: OrderState = OrderState.IMPORTING
    message: str = ""
    """What it does; of one that failed, why."""
    ended_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.state in _OPEN


Ledger = tuple[Order, ...]
"""The oldest first."""


def superseded_by(newer: Order) -> tuple[str, str]:
    """What is told of a change in whose place a newer one came, and what to do about it."""
    return (
        f"superseded by change {newer.id}: {newer.command}",
        "the fleet goes on to what that one asks for, and with what it leaves as it is; "
        f"what comes of it: temporal-fleet changes {newer.id}",
    )


def failed_for(order: Order, cause: str) -> str:
    """What is told of a change that could not be carried through, whether it was in force or not."""
    return f"{order.command.split()[0]} failed: {cause}"


class IllegalPass(Exception):
    """The core asked for a transition of an order that is not in the table: a bug."""


def opened(ledger: Ledger, request: str, command: str, now: float) -> Ledger:
    """The ledger with one more order, the last. One that is still open is never dropped."""
    order = Order(ledger[-1].id + 1 if ledger else 1, request, command, now)
    surplus = len(ledger) + 1 - KEPT
    kept = tuple(old for place, old in enumerate(ledger) if place >= surplus or old.is_open)
    return (*kept, order)


def passed(ledger: Ledger, order: int, state: OrderState, message: str, now: float) -> Ledger:
    """The ledger after an order went on to a state.

    Raises IllegalPass when the table has no such transition; KeyError when there is no such order.
    """
    before = find(ledger, order)
    if (before.state, state) not in _TRANSITIONS:
        raise IllegalPass(f"change {order} is {before.state.value} and cannot become {state.value}")
    ended = None if state in _OPEN else now
    after = replace(before, state=state, message=message, ended_at=ended)
    return tuple(after if old.id == order else old for old in ledger)


def find(ledger: Ledger, order: int) -> Order:
    """Raises KeyError when there is no such order (any more)."""
    for found in ledger:
        if found.id == order:
            return found
    raise KeyError(order)
