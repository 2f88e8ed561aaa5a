"""What an operator has set `top` to: selection, order, filter, what is asked and what is shown. Values, and
what a key makes of them; nothing is painted or carried out here.

    list     the entities; every other mode leads back here
    filter   a filter is being typed
    confirm  an act waits for y
    output   what the last act printed
    help     the keys
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from temporal_fleet.protocol.report import EntityReport
from temporal_fleet.supervisor.cli.top_rates import Rates

_PAGE = 10


class Mode(Enum):
    LIST = "list"
    FILTER = "filter"
    CONFIRM = "confirm"
    OUTPUT = "output"
    HELP = "help"


class Order(Enum):
    """By which column the entities stand, as that is named."""

    ENTITY = "entity"
    STATE = "state"
    MEMORY = "memory"
    CACHED = "cached"
    ACTIVITIES = "activities"
    TASKS = "tasks/s"
    RESTARTS = "restarts"
    UP = "up"


class Act(Enum):
    """What can be done to the entity that is selected."""

    DUMP = "dump"
    EVICT = "evict"
    RESTART = "restart"
    QUIET = "quiet"


ACTS = {"d": Act.DUMP, "e": Act.EVICT, "r": Act.RESTART, "Q": Act.QUIET}

WORDS = {Act.EVICT: ("--all",)}
"""What the command of an act takes besides its entity."""


@dataclass(frozen=True)
class View:
    mode: Mode = Mode.LIST
    selected: str = ""
    """An entity's id; it may be gone by now."""
    order: Order = Order.ENTITY
    reverse: bool = False
    filter: str = ""
    typed: str = ""
    """In the mode `filter`."""
    act: Act | None = None
    """In the mode `confirm`: about the selected one."""
    scroll: int = 0
    """In the mode `output`: lines up from the end."""


@dataclass(frozen=True)
class Quit:
    pass


@dataclass(frozen=True)
class Run:
    act: Act
    entity: str

    @property
    def words(self) -> tuple[str, ...]:
        """The command line after `temporal-fleet`."""
        return (self.act.value, self.entity, *WORDS.get(self.act, ()))


Wish = Quit | Run | None


def selected(view: View, shown: Sequence[str]) -> str:
    """The id of the one that is meant: the first where the selected one is not shown. Empty: none is."""
    if view.selected in shown:
        return view.selected
    return shown[0] if shown else ""


def pressed(view: View, key: str, shown: Sequence[str], *, furthest: int) -> tuple[View, Wish]:
    """What a key, by its name, makes of it. `shown`: the ids of the entities as they stand; `furthest`: by
    how many lines the output can be scrolled up."""
    seen = replace(view, scroll=min(view.scroll, furthest))
    return _HANDLERS[view.mode](seen, key, shown)


def _in_list(view: View, key: str, shown: Sequence[str]) -> tuple[View, Wish]:
    if key in _MOVES:
        return replace(view, selected=_moved(view, _MOVES[key], shown)), None
    if key in ACTS and (entity := selected(view, shown)):
        return replace(view, mode=Mode.CONFIRM, act=ACTS[key], selected=entity), None
    match key:
        case "q":
            return view, Quit()
        case "s":
            orders = [*Order]
            after = orders[(orders.index(view.order) + 1) % len(orders)]
            return replace(view, order=after, reverse=False), None
        case "S":
            return replace(view, reverse=not view.reverse), None
        case "/":
            return replace(view, mode=Mode.FILTER, typed=view.filter), None
        case "escape":
            return replace(view, filter=""), None
        case "o":
            return replace(view, mode=Mode.OUTPUT, scroll=0), None
        case "?" | "h":
            return replace(view, mode=Mode.HELP), None
        case _:
            return view, None


def _in_filter(view: View, key: str, _shown: Sequence[str]) -> tuple[View, Wish]:
    match key:
        case "enter":
            return replace(view, mode=Mode.LIST, filter=view.typed.strip(), typed=""), None
        case "escape":
            return replace(view, mode=Mode.LIST, typed=""), None
        case "backspace":
            return replace(view, typed=view.typed[:-1]), None
        case _:
            return replace(view, typed=view.typed + key if len(key) == 1 else view.typed), None


def _in_confirmation(view: View, key: str, shown: Sequence[str]) -> tuple[View, Wish]:
    """Nothing but y is a yes. Who is gone meanwhile is not acted upon, nor is another in its place."""
    assert view.act is not None
    back = replace(view, mode=Mode.LIST, act=None)
    if key not in ("y", "Y") or view.selected not in shown:
        return back, None
    return replace(back, mode=Mode.OUTPUT, scroll=0), Run(view.act, view.selected)


def _in_output(view: View, key: str, _shown: Sequence[str]) -> tuple[View, Wish]:
    match key:
        case "escape" | "q" | "enter" | "o":
            return replace(view, mode=Mode.LIST), None
        case "home" | "g":
            return replace(view, scroll=1_000_000), None
        case "end" | "G":
            return replace(view, scroll=0), None
        case _:
            return replace(view, scroll=max(0, view.scroll - _MOVES.get(key, 0))), None


def _in_help(view: View, _key: str, _shown: Sequence[str]) -> tuple[View, Wish]:
    return replace(view, mode=Mode.LIST), None


_HANDLERS: Mapping[Mode, Callable[[View, str, Sequence[str]], tuple[View, Wish]]] = {
    Mode.LIST: _in_list,
    Mode.FILTER: _in_filter,
    Mode.CONFIRM: _in_confirmation,
    Mode.OUTPUT: _in_output,
    Mode.HELP: _in_help,
}

_MOVES = {
    **dict.fromkeys(("down", "j"), 1),
    **dict.fromkeys(("up", "k"), -1),
    "page down": _PAGE,
    "page up": -_PAGE,
    **dict.fromkeys(("end", "G"), 1_000_000),
    **dict.fromkeys(("home", "g"), -1_000_000),
}
"""Lines."""


def _moved(view: View, by: int, shown: Sequence[str]) -> str:
    if not shown:
        return view.selected
    at = shown.index(selected(view, shown))
    return shown[min(max(0, at + by), len(shown) - 1)]


def arranged(entities: Sequence[EntityReport], view: View, rates: Mapping[str, Rates]) -> list[EntityReport]:
    """Those that the filter leaves, in the order that is wished for: numbers the largest first, else as the
    fleet has them. While a filter is typed it holds already."""
    wanted = (view.typed if view.mode is Mode.FILTER else view.filter).strip().lower()
    left = [each for each in entities if _matches(each, wanted)]
    key = _MEASURES.get(view.order)
    if key is not None:
        left.sort(key=lambda entity: -key(entity, rates))
    elif view.order is Order.STATE:
        left.sort(key=lambda entity: entity.state)
    return left[::-1] if view.reverse else left


def _matches(entity: EntityReport, wanted: str) -> bool:
    return not wanted or any(wanted in word.lower() for word in (entity.id, entity.pool, entity.state))


_MEASURES: Mapping[Order, Callable[[EntityReport, Mapping[str, Rates]], float]] = {
    Order.MEMORY: lambda entity, _: entity.rss_bytes or 0,
    Order.CACHED: lambda entity, _: entity.cached_executions,
    Order.ACTIVITIES: lambda entity, _: entity.inflight_activities,
    Order.TASKS: lambda entity, rates: rates[entity.id].tasks if entity.id in rates else 0.0,
    Order.RESTARTS: lambda entity, _: entity.restarts,
    Order.UP: lambda entity, _: entity.uptime_s,
}
