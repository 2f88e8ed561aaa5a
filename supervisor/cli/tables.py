"""What `status` looks like on a screen. Reports in, rich renderables out; the only module of ours
that imports rich, so it is imported only where a table is printed.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from temporal_fleet.protocol.report import (
    EntityReport,
    PoolReport,
    StatusReport,
)
from temporal_fleet.protocol.rundir import routing_id
from temporal_fleet.supervisor.cli.caches import no_room
from temporal_fleet.supervisor.cli.columns import GAP, fitting
from temporal_fleet.supervisor.cli.human import count, duration, size
from temporal_fleet.supervisor.core.names import listed

R = TypeVar("R")

_DISPENSABLE = (
    *("evicted", "resurrected", "blocked", "RSS", "cached", "activities", "restarts", "PSS", "up"),
    *("program", "task queue"),
)
"""What a screen that is too narrow does without, the first one first."""

_MOST_LOSSES = 5
"""Lines: a death with a hundred activities in hand leaves a hundred suspects."""

_COLOURS = {
    "running": "green",
    "ready": "green",
    "starting": "cyan",
    "reloading": "cyan",
    "quiet": "cyan",
    "draining": "yellow",
    "degraded": "yellow",
    "backoff": "yellow",
    "failed": "bold red",
    "stopped": "dim",
}


def console() -> Console:
    """Stdout. As wide as the table when it is no terminal: a pipe has no edge to fold a line at."""
    wide = Console(highlight=False, emoji=False, markup=False)
    return wide if wide.is_terminal else Console(highlight=False, emoji=False, markup=False, width=1000)


def status(report: StatusReport, width: int, now: float | None = None) -> RenderableType:
    """The fleet, its Cluster, its pools and its entities, for a screen so wide."""
    at = time.time() if now is None else now
    notes = _notes(report, at)
    parts: list[RenderableType] = [headline(report), cluster_line(report)]
    if report.fleet.reason and not _is_told(report.fleet.reason, [report.cluster.reason, *notes]):
        parts.append(Text(report.fleet.reason, "yellow"))
    if report.fleet.http_reason:
        parts.append(Text(f"web server: {report.fleet.http_reason}", "yellow"))
    if told := _last_change(report):
        parts.append(Text(told, "yellow"))
    parts += [Text(), _pools(report.pools, width)]
    if report.entities:
        parts += [Text(), _entities(report.entities, width)]
    if notes:
        parts += [Text(), *(Text(f"{listed(names)}: {note}", "yellow") for note, names in notes.items())]
    losses = [*_recoveries(report), *_suspects(report)]
    if losses:
        parts += [Text(), *(Text(line, "yellow") for line in losses)]
    return Group(*parts)


def _last_change(report: StatusReport) -> str:
    """What is under way, or came to nothing; empty when that is no news."""
    last = report.last_change
    if last is None or last.state in ("done", "superseded"):
        return ""
    if not last.message:
        return f"change {last.id}, {last.command}, {last.state}"
    if _is_told(last.message, [report.fleet.reason]):
        return ""
    return f"change {last.id}, {last.command}, {last.state}: {last.message}"


def _notes(report: StatusReport, now: float) -> dict[str, list[str]]:
    """What there is to say of pools and entities that no cell has room for, and of whom, each thing once."""
    notes: dict[str, list[str]] = {}
    for entity in report.entities:
        if entity.reason and not _is_told(entity.reason, [report.cluster.reason]):
            notes.setdefault(entity.reason, []).append(entity.id)
    for pool in report.pools:
        if pool.reason and not _is_told(pool.reason, [report.cluster.reason, *notes]):
            notes.setdefault(pool.reason, []).append(pool.name)
    for entity in report.entities:
        if entity.unrecorded:
            notes.setdefault(no_room(entity.unrecorded), []).append(entity.id)
    for entity in report.entities:
        ended = _last_exit(entity, now)
        if ended:
            notes.setdefault(ended, []).append(entity.id)
    return notes


def _recoveries(report: StatusReport) -> list[str]:
    """Deaths whose work is not free yet."""
    lines = []
    for recovery in report.recoveries[:_MOST_LOSSES]:
        reason = f": {recovery.reason}" if recovery.reason else ""
        lines.append(
            f"{routing_id(recovery.entity, recovery.incarnation)} died {duration(recovery.since_s)} ago, and "
            f"its work is not free yet{reason}"
        )
    return lines + _and_more(report.recoveries_total)


def _suspects(report: StatusReport) -> list[str]:
    """What entities died of, as far as anyone can tell: most deaths first."""
    worst = sorted(report.suspects, key=lambda suspect: -suspect.deaths)
    lines = []
    for suspect in worst[:_MOST_LOSSES]:
        of = f" of workflow {suspect.workflow_id}" if suspect.workflow_id else ""
        what = (
            f"activity {suspect.activity_id}{of}" if suspect.kind == "activity" else of.removeprefix(" of ")
        )
        lines.append(
            f"suspect: {suspect.type}, {what} (run {suspect.run_id}), in hand at "
            f"{count(suspect.deaths, 'death')}"
        )
    return lines + _and_more(report.suspects_total)


def _and_more(total: int) -> list[str]:
    more = total - _MOST_LOSSES
    return [f"and {more} more: see `status --json`"] if more > 0 else []


def _is_told(reason: str, told: Iterable[str]) -> bool:
    return any(reason in each for each in told)


def headline(report: StatusReport) -> Text:
    fleet = report.fleet
    line = Text.assemble(
        (fleet.name, "bold"),
        "  ",
        state_text(fleet.state),
        f"  generation {fleet.generation}  up {duration(fleet.uptime_s)}  supervisor PID {fleet.pid}, "
        f"{size(fleet.rss_bytes)}",
    )
    if fleet.config is not None:
        line.append(f"  {fleet.config}", "dim")
    if fleet.http is not None:
        line.append(f"  http://{fleet.http}", "dim")
    if fleet.dropped_messages:
        line.append(f"  {fleet.dropped_messages} messages dropped", "yellow")
    return line


def cluster_line(report: StatusReport) -> Text:
    cluster = report.cluster
    line = Text.assemble(
        f"Cluster {cluster.address}, namespace {cluster.namespace}  ",
        ("reachable", "green") if cluster.reachable else ("unreachable", "bold red"),
    )
    if cluster.ui is not None:
        line.append(f"  UI {cluster.ui}")
    if cluster.reason:
        line.append(f"  {cluster.reason}", "yellow")
    return line


def _pools(pools: Sequence[PoolReport], width: int) -> Table:
    return _table(
        pools,
        width,
        {
            "pool": lambda pool: pool.name,
            "program": lambda pool: pool.program,
            "task queue": lambda pool: pool.task_queue,
            ">ready": lambda pool: Text(
                f"{pool.ready}/{pool.desired}", "green" if pool.ready == pool.desired else "yellow"
            ),
        },
    )


def _entities(entities: Sequence[EntityReport], width: int) -> Table:
    return _table(
        entities,
        width,
        {
            "entity": lambda entity: entity.id,
            ">PID": lambda entity: "-" if entity.pid is None else str(entity.pid),
            "state": lambda entity: state_text(entity.state),
            ">life": lambda entity: str(entity.incarnation),
            ">restarts": lambda entity: str(entity.restarts),
            ">up": lambda entity: "-" if entity.pid is None else duration(entity.uptime_s),
            ">RSS": lambda entity: size(entity.rss_bytes),
            ">PSS": lambda entity: size(entity.pss_bytes),
            ">cached": lambda entity: str(entity.cached_executions),
            ">blocked": lambda entity: str(entity.blocked_executions),
            ">evicted": lambda entity: str(entity.evictions),
            ">resurrected": lambda entity: str(entity.resurrections),
            ">activities": lambda entity: str(entity.inflight_activities),
        },
    )


def _last_exit(entity: EntityReport, now: float) -> str:
    """`last exit 12s ago: killed by SIGKILL`; nothing when it is no news: it left in order and is back, or
    its reason tells it."""
    report = entity.last_exit
    if report is None or (report.code == 0 and entity.state == "ready"):
        return ""
    how = report.signal or ("unknown" if report.code is None else f"exit status {report.code}")
    cause = report.cause or how
    return "" if cause in entity.reason else f"last exit {duration(now - report.time)} ago: {cause}"


def state_text(state: str) -> Text:
    return Text(state, _COLOURS.get(state, ""))


def _table(rows: Sequence[R], width: int, columns: Mapping[str, Callable[[R], str | Text]]) -> Table:
    """`>` before a title: numbers, to the right. No cell is cut: columns are left out until it fits, and
    the names in the first one are folded when even that is not enough."""
    filled = {title: [cell(row) for row in rows] for title, cell in columns.items()}
    widths = {title.lstrip(">"): _width(title.lstrip(">"), cells) for title, cells in filled.items()}
    taken = fitting(widths, _DISPENSABLE, width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for index, title in enumerate(filled):
        name = title.lstrip(">")
        if name in taken:
            justify: Literal["left", "right"] = "right" if title.startswith(">") else "left"
            table.add_column(name, justify=justify, no_wrap=index > 0, overflow="fold")
    shown = [cells for title, cells in filled.items() if title.lstrip(">") in taken]
    for cells_of_row in zip(*shown, strict=True):
        table.add_row(*cells_of_row)
    return table


def _width(title: str, cells: Iterable[str | Text]) -> int:
    return max(cell_len(str(each)) for each in (title, *cells))
