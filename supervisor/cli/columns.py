"""Rows of text under titles, for lists of any length: a line each, whose cells are never cut. Plain text,
since a table of rich's takes half a millisecond a row. What stands in the cells does not belong here.
"""

import shutil
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import click

from temporal_fleet.supervisor.cli.human import printable

R = TypeVar("R")

GAP = 2
"""Columns between two cells."""


def screen_width() -> int | None:
    """None where stdout is no terminal: a pipe has no edge."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitting(widths: Mapping[str, int], dispensable: Iterable[str], within: int | None) -> list[str]:
    """The titles whose columns, so wide, go on a screen, without as many of the dispensable ones as it takes,
    the first one first."""
    taken = dict(widths)
    for title in dispensable:
        if within is None or sum(taken.values()) + GAP * (len(taken) - 1) <= within:
            break
        taken.pop(title, None)
    return list(taken)


def lines(
    rows: Sequence[R],
    columns: Mapping[str, Callable[[R], str]],
    *,
    numbers: Collection[str] = (),
    dispensable: Iterable[str] = (),
    within: int | None = None,
) -> Iterator[str]:
    """The titles, then a line for each row. `numbers`: titles of columns that stand to the right."""
    filled = {title: [printable(cell(row)) for row in rows] for title, cell in columns.items()}
    widths = {title: max(_width(each) for each in (title, *cells)) for title, cells in filled.items()}
    taken = fitting(widths, dispensable, within)
    yield click.style(_line(taken, taken, widths, numbers), bold=True)
    for cells in zip(*(filled[title] for title in taken), strict=True):
        yield _line(cells, taken, widths, numbers)


def _line(
    cells: Iterable[str], titles: Iterable[str], widths: Mapping[str, int], numbers: Collection[str]
) -> str:
    parts = []
    for cell, title in zip(cells, titles, strict=True):
        space = " " * (widths[title] - _width(cell))
        parts.append(space + cell if title in numbers else cell + space)
    return (" " * GAP).join(parts).rstrip()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )
