"""What `top` looks like: a picture in, exactly as many lines as the screen has out. Imports rich, so it is
imported only where it is painted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from temporal_fleet.protocol.report import (
    EntityReport,
    EventReport,
    PoolReport,
    SlotsReport,
    StatusReport,
)
from temporal_fleet.supervisor.cli import events
from temporal_fleet.supervisor.cli.columns import GAP, fitting
from temporal_fleet.supervisor.cli.human import count, duration, size
from temporal_fleet.supervisor.cli.tables import cluster_line, headline, state_text
from temporal_fleet.supervisor.cli.top_rates import Rates, total
from temporal_fleet.supervisor.cli.top_view import Mode, Order, Run, View, arranged, selected

R = TypeVar("R")

_BETWEEN = "   "
_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEAST_ENTITIES = 4
"""Lines for entities, their titles included, before anything below the head gets one."""
_MOST_EVENTS = 8
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_FOOT = 1
"""Lines."""

_HELP = (
    "j k ↓ ↑ g G   another entity; Page Up and Page Down: ten further",
    "s             sort by the next column; S: the other way round",
    "/             filter by id, pool or state; Escape takes it away",
    "d             dump: the Python stacks of every thread of the entity",
    "e             evict: what is blocked leaves its cache, and its memory comes back",
    "r             restart: it drains, then starts again with the code that its pool has",
    "Q             quiet: it polls no more and stays for a look; another takes its place",
    "o             what the last act printed",
    "q             quit; nothing of the fleet ends",
    "",
    "Acts ask before they begin, and are the commands of the same names.",
    "Any key goes back.",
)

_DISPENSABLE = (
    *("resurrected/s", "evicted/s", "PID", "PSS", "blocked", "restarts", "workflow slots", "activity slots"),
    *("up", "activities", "tasks/s", "cached", "memory", "state"),
)
"""What a screen that is too narrow does without, the first one first."""
_POOL_DISPENSABLE = ("program", "task queue", "cached", "memory")


@dataclass(frozen=True)
class Picture:
    """All that there is to paint."""

    report: StatusReport | None = None
    """None: none came yet."""
    rates: Mapping[str, Rates] = field(default_factory=dict)
    events: Sequence[EventReport] = ()
    """The newest last."""
    gone: str = ""
    """Why nobody answers; empty: somebody does."""
    output: Sequence[str] = ()
    """Lines of the last act."""
    acting: str = ""
    """The command that runs now."""


def paint(picture: Picture, view: View, width: int, height: int) -> Group:
    """As many lines as the screen is high, none wider than it."""
    foot = [_foot(picture, view)]
    head = _head(picture, width)[: height - _FOOT]
    room = _room(head, height)
    if view.mode is Mode.HELP:
        body = [Text(line) for line in _HELP][:room]
    elif view.mode is Mode.OUTPUT:
        body = _output(picture.output, view.scroll, room)
    else:
        body = _body(picture, view, width, room)
    body += [Text()] * (room - len(body))
    lines = [*head, *body, *foot]
    return Group(*(_one_line(line, width) for line in lines))


def furthest(picture: Picture, width: int, height: int) -> int:
    """By how many lines the output can be scrolled up from its end."""
    return max(0, len(picture.output) - _room(_head(picture, width), height))


def _room(head: Sequence[Text], height: int) -> int:
    """Lines between the head and the foot."""
    return max(0, height - len(head) - _FOOT)


def _one_line(text: Text, width: int) -> Text:
    """Whatever a reason, or a program, has to say: a line is a line, and steers no terminal."""
    line = text.split("\n")[0] if "\n" in text.plain else text
    line.expand_tabs(8)
    line.plain = "".join(each if each.isprintable() else _UNPRINTABLE for each in line.plain)
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line


def _head(picture: Picture, width: int) -> list[Text]:
    report = picture.report
    if report is None:
        return [Text(picture.gone or "asks the supervisor", "yellow" if picture.gone else "")]
    lines = [headline(report)]
    if picture.gone:
        lines.append(Text(f"no answer, keeps trying; seen last: below. {picture.gone}", "bold red"))
    lines.append(cluster_line(report))
    if report.fleet.reason and report.fleet.reason != report.cluster.reason:
        lines.append(Text(report.fleet.reason, "yellow"))
    memory, work = _memory_of_all(report), _work_of_all(report, picture.rates)
    if memory.cell_len + len(_BETWEEN) + work.cell_len <= width:
        return [*lines, memory.append(_BETWEEN).append_text(work)]
    return [*lines, memory, work]


def _memory_of_all(report: StatusReport) -> Text:
    entities = report.entities
    ready = sum(entity.state == "ready" for entity in entities)
    memory = sum(entity.pss_bytes or entity.rss_bytes or 0 for entity in entities)
    budget = report.fleet.memory_budget_bytes
    line = Text(f"{count(ready, 'entity', 'entities')} ready of {len(entities)}{_BETWEEN}memory ")
    if budget is not None:
        line.append_text(_bar(memory, budget)).append(" ")
    return line.append(size(memory) + (f" of {size(budget)}" if budget is not None else ""))


def _work_of_all(report: StatusReport, rates: Mapping[str, Rates]) -> Text:
    entities, all_rates = report.entities, total(dict(rates))
    return Text(
        f"{sum(e.cached_executions for e in entities)} executions cached, "
        f"{sum(e.blocked_executions for e in entities)} blocked{_BETWEEN}"
        f"{sum(e.inflight_activities for e in entities)} activities{_BETWEEN}{all_rates.tasks:.1f} tasks/s  "
        f"{all_rates.evictions:.1f} evicted/s  {all_rates.resurrections:.1f} resurrected/s"
    )


def _body(picture: Picture, view: View, width: int, room: int) -> list[Text]:
    """Pools, entities, events. Entities get what is left; where that is little, the others give."""
    report = picture.report
    if report is None:
        return []
    shown = arranged(report.entities, view, picture.rates)
    spare = max(0, room - min(_LEAST_ENTITIES, len(shown) + 1) - 1)
    pools = _some(_pools(report, width), min(spare // 2, room // 4))
    spare -= len(pools)
    events_shown = min(len(picture.events), spare // 2, _MOST_EVENTS)
    told = [_event(event) for event in picture.events[-events_shown:]] if events_shown else []
    head = [Text(), *pools, Text()] if pools else []
    tail = [Text(), *told] if told else []
    left = max(0, room - len(head) - len(tail))
    entities = _entities(report, shown, view, picture.rates, width, left)
    return [*head, *entities, *[Text()] * (left - len(entities)), *tail][:room]


def _some(lines: list[Text], most: int) -> list[Text]:
    """As many as there is room for; the last one tells of the others. Nothing where only titles would fit."""
    if most < 2:
        return []
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"and {len(lines) - most + 1} more", "dim")]


def _pools(report: StatusReport, width: int) -> list[Text]:
    if not report.pools:
        return []
    of: dict[str, list[EntityReport]] = {pool.name: [] for pool in report.pools}
    for entity in report.entities:
        of.setdefault(entity.pool, []).append(entity)

    def ready(pool: PoolReport) -> Text:
        told = f"{pool.ready}/{pool.desired}" + (" drained" if pool.drained else "")
        return Text(told, "green" if pool.ready == pool.desired and not pool.drained else "yellow")

    return _grid(
        report.pools,
        {
            "pool": lambda pool: pool.name,
            "program": lambda pool: pool.program,
            "task queue": lambda pool: pool.task_queue,
            "ready": ready,
            ">memory": lambda pool: size(sum(e.pss_bytes or e.rss_bytes or 0 for e in of[pool.name])),
            ">cached": lambda pool: str(sum(e.cached_executions for e in of[pool.name])),
        },
        _POOL_DISPENSABLE,
        width,
    )


def _entities(
    report: StatusReport,
    shown: Sequence[EntityReport],
    view: View,
    rates: Mapping[str, Rates],
    width: int,
    room: int,
) -> list[Text]:
    """Those around the selected one, as many as there is room for."""
    if room < 2:
        return []
    if not shown:
        told = f"no entity matches {view.filter!r}" if report.entities else "there are no entities"
        return [Text(told, "dim")]
    ids = [entity.id for entity in shown]
    at = ids.index(selected(view, ids))
    first = max(0, min(at - (room - 1) // 2, len(shown) - (room - 1)))
    window = shown[first : first + room - 1]
    pools = {pool.name: pool for pool in report.pools}
    most = max((entity.rss_bytes or 0 for entity in shown), default=0)

    def memory(entity: EntityReport) -> Text:
        pool = pools.get(entity.pool)
        limit = pool.memory_limit_bytes if pool is not None else None
        bar = _bar(entity.rss_bytes or 0, limit or most, limited=limit is not None)
        return bar.append(f" {size(entity.rss_bytes):>9}")

    def cached(entity: EntityReport) -> str:
        pool = pools.get(entity.pool)
        limit = pool.max_cached_executions if pool is not None else None
        return f"{entity.cached_executions}" + (f"/{limit}" if limit is not None else "")

    def rate(entity: EntityReport, of: Callable[[Rates], float]) -> str:
        return f"{of(rates[entity.id]):.1f}" if entity.id in rates else "-"

    columns: dict[str, Callable[[EntityReport], str | Text]] = {
        "entity": lambda entity: entity.id,
        ">PID": lambda entity: "-" if entity.pid is None else str(entity.pid),
        "state": lambda entity: state_text(entity.state),
        ">restarts": lambda entity: str(entity.restarts),
        ">up": lambda entity: "-" if entity.pid is None else duration(entity.uptime_s),
        "memory": memory,
        ">PSS": lambda entity: size(entity.pss_bytes),
        ">cached": cached,
        ">blocked": lambda entity: str(entity.blocked_executions),
        ">activities": lambda entity: str(entity.inflight_activities),
        ">workflow slots": lambda entity: _slots(entity.workflow_slots),
        ">activity slots": lambda entity: _slots(entity.activity_slots),
        ">tasks/s": lambda entity: rate(entity, lambda each: each.tasks),
        ">evicted/s": lambda entity: rate(entity, lambda each: each.evictions),
        ">resurrected/s": lambda entity: rate(entity, lambda each: each.resurrections),
    }
    return _grid(window, columns, _DISPENSABLE, width, sorted_by=view.order, marked=at - first)


def _slots(slots: SlotsReport | None) -> str:
    if slots is None:
        return "-"
    return str(slots.used) if slots.free is None else f"{slots.used}/{slots.used + slots.free}"


def _grid(
    rows: Sequence[R],
    columns: Mapping[str, Callable[[R], str | Text]],
    dispensable: Sequence[str],
    width: int,
    sorted_by: Order | None = None,
    marked: int | None = None,
) -> list[Text]:
    """A line of titles and one for each row. `>` before a title: numbers, to the right; `marked`: the row
    that is selected."""
    filled = {title: [_text(cell(row)) for row in rows] for title, cell in columns.items()}
    names = {title: title.lstrip(">") for title in columns}
    by = None if sorted_by is None else sorted_by.value
    titles = {title: name + ("*" if name == by else "") for title, name in names.items()}
    widths = {
        names[title]: max(cell_len(text) for text in (titles[title], *(cell.plain for cell in cells)))
        for title, cells in filled.items()
    }
    kept = fitting(widths, dispensable, width)
    taken = [title for title in columns if names[title] in kept]
    lines = [_line({title: Text(titles[title], "bold") for title in taken}, names, widths)]
    lines += [_line({title: filled[title][at] for title in taken}, names, widths) for at in range(len(rows))]
    if marked is not None:
        line = lines[marked + 1]
        line.pad_right(max(0, width - cell_len(line.plain)))
        line.stylize("reverse")
    return lines


def _line(cells: Mapping[str, Text], names: Mapping[str, str], widths: Mapping[str, int]) -> Text:
    line = Text()
    for title, cell in cells.items():
        if line:
            line.append(" " * GAP)
        space = " " * (widths[names[title]] - cell_len(cell.plain))
        line = (
            line.append(space).append_text(cell)
            if title.startswith(">")
            else line.append_text(cell).append(space)
        )
    return line


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _bar(amount: int, whole: int, *, limited: bool = True) -> Text:
    """`█████▍    `: which part of the whole. Its colour warns where the whole is a limit."""
    part = min(1.0, amount / whole) if whole > 0 else 0.0
    eighths = round(part * _BAR * 8)
    drawn = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    colour = "cyan" if not limited else "red" if part > 0.9 else "yellow" if part > 0.7 else "green"
    return Text(drawn.ljust(_BAR), colour)


def _event(event: EventReport) -> Text:
    return Text.from_ansi(" ".join(events.line(event).splitlines()))


def _output(lines: Sequence[str], scroll: int, room: int) -> list[Text]:
    """The end of it, or so many lines further up."""
    if not lines:
        return [Text("no act has printed anything yet", "dim")][:room]
    last = max(min(len(lines), room), len(lines) - scroll)
    return [Text.from_ansi(line) for line in lines[max(0, last - room) : last]]


def _foot(picture: Picture, view: View) -> Text:
    match view.mode:
        case Mode.FILTER:
            return Text(f"filter: {view.typed}_   Enter: keep it   Escape: leave it", "bold")
        case Mode.CONFIRM if view.act is not None:
            words = " ".join(Run(view.act, view.selected).words)
            return Text(f"temporal-fleet {words}: go ahead? y / n", "bold yellow")
        case Mode.OUTPUT:
            running = f"{picture.acting} runs   " if picture.acting else ""
            return Text(f"{running}j k: scroll   Escape: back to the entities", "bold")
        case Mode.HELP:
            return Text("any key: back to the entities", "bold")
        case _:
            parts = [f"{picture.acting} runs (o: look)"] if picture.acting else []
            parts += [f"filter: {view.filter} (Escape: none)"] if view.filter else []
            parts.append("q quit  ? help  / filter  s sort  d dump  e evict  r restart  Q quiet")
            return Text("   ".join(parts), "dim")
