"""Values that must not be read in anything the fleet says: what they are, and how a text is rid of them.

Where a secret comes from is known by those who hold it; what a program says in other words cannot be known.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "[hidden]"
SHORTEST = 8
"""Characters. What is shorter stands in too many words that tell nothing."""
_SHORTEST_LINE = 16
"""Of a secret of several lines (a key in PEM), since programs print by lines."""

_ROTATIONS = 16
"""So many are remembered."""


def environment_secrets(environment: Mapping[str, str], told: Iterable[str | None]) -> list[str]:
    """Of a pool's `env`, what may be a secret: not what its config says openly elsewhere."""
    openly = set(told)
    return [value for value in environment.values() if value not in openly]


class Secrets:
    """Those that a process begins with, and those of late: a rotated key is hidden beside the ones before it,
    and a token that is renewed every few minutes makes no line longer to write."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._first = _forms_of(values)
        self._learnt: deque[frozenset[str]] = deque(maxlen=_ROTATIONS)
        self._forms: tuple[str, ...] = ()
        """The longest first: one may be part of another."""
        self._sort()

    def learn(self, values: Iterable[str]) -> None:
        """All that are in use from now on, or are to be tried."""
        found = _forms_of(values)
        is_new = found not in self._learnt
        if not is_new:
            self._learnt.remove(found)
        self._learnt.append(found)
        if is_new:
            self._sort()

    def _sort(self) -> None:
        self._forms = tuple(sorted(self._first.union(*self._learnt), key=len, reverse=True))

    def hide(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text

    def hide_in(self, value: Any) -> Any:
        """The same of whatever a log line holds; what is no text, number or container is told by its repr."""
        match value:
            case str():
                return self.hide(value)
            case None | bool() | int() | float():
                return value
            case dict():
                return {self.hide(str(key)): self.hide_in(each) for key, each in value.items()}
            case list() | tuple():
                return [self.hide_in(each) for each in value]
            case _:
                return self.hide(_repr(value))


def _forms_of(values: Iterable[str]) -> frozenset[str]:
    return frozenset(form for value in values for form in _forms(value))


def _forms(value: str) -> Iterable[str]:
    """As it is, as Python shows it, and each of its lines."""
    whole = value.strip()
    lines = whole.splitlines()
    if len(lines) > 1:
        # The frame of a PEM file is none of its secrets.
        parts = [line.strip() for line in lines if not line.startswith("-----")]
        yield from (part for part in parts if len(part) >= _SHORTEST_LINE)
    for form in (whole, repr(whole)[1:-1]):
        if len(form) >= SHORTEST:
            yield form


def _repr(value: Any) -> str:
    try:
        return repr(value)
    # The program's own: a line that names it is worth more than none.
    except Exception as error:
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
