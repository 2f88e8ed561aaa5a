"""From one state to the next by a table of transitions. The tables stand where their states do."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
C = TypeVar("C", bound=Enum)


class IllegalTransition(Exception):
    """The core asked for a transition that is not in the table: a bug."""


def following(table: Mapping[tuple[S, C], S], state: S, change: C) -> S:
    """The state after a change.

    Raises IllegalTransition when the table has no such row.
    """
    try:
        return table[state, change]
    except KeyError:
        raise IllegalTransition(f"{state.value} cannot {change.value}") from None
