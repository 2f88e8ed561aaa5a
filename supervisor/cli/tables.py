"""What `status` looks like on a screen. Reports in, rich renderables out; the only module of ours
that imports rich, so it is imported only where a table is printed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from temporal_fleet.protocol.report import EntityReport, PoolReport, StatusReport
from temporal_fleet.supervisor.cli.human import duration, size

R = TypeVar("R")

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


def status(report: StatusReport, now: float | None = None) -> RenderableType:
    """The fleet, its Cluster, its pools and its entities."""
    at = time.time() if now is None else now
    parts: list[RenderableType] = [_headline(report), _cluster(report)]
    if report.fleet.reason:
        parts.append(Text(report.fleet.reason, "yellow"))
    parts += [Text(), _pools(report.pools)]
    if report.entities:
        parts += [Text(), _entities(report.entities, at)]
    return Group(*parts)


def _headline(report: StatusReport) -> Text:
    fleet = report.fleet
    line = Text.assemble(
        (fleet.name, "bold"),
        "  ",
        _state(fleet.state),
        f"  generation {fleet.generation}  up {duration(fleet.uptime_s)}  supervisor PID {fleet.pid}, "
        f"{size(fleet.rss_bytes)}",
    )
    if fleet.config is not None:
        line.append(f"  {fleet.config}", "dim")
    if fleet.dropped_messages:
        line.append(f"  {fleet.dropped_messages} messages dropped", "yellow")
    return line


def _cluster(report: StatusReport) -> Text:
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


def _pools(pools: Sequence[PoolReport]) -> Table:
    return _table(
        pools,
        {
            "pool": lambda pool: pool.name,
            "program": lambda pool: pool.program,
            "task queue": lambda pool: pool.task_queue,
            ">ready": lambda pool: Text(
                f"{pool.ready}/{pool.desired}", "green" if pool.ready == pool.desired else "yellow"
            ),
            "?reason": lambda pool: Text(pool.reason, "yellow"),
        },
    )


def _entities(entities: Sequence[EntityReport], now: float) -> Table:
    return _table(
        entities,
        {
            "entity": lambda entity: entity.id,
            ">PID": lambda entity: "-" if entity.pid is None else str(entity.pid),
            "state": lambda entity: _state(entity.state),
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
            "?last exit": lambda entity: _last_exit(entity, now),
            "?reason": lambda entity: Text(entity.reason, "yellow"),
        },
    )


def _last_exit(entity: EntityReport, now: float) -> str:
    """`12s ago: killed by SIGKILL`; nothing for one that left in order and is back: that is no news."""
    report = entity.last_exit
    if report is None or (report.code == 0 and entity.state == "ready"):
        return ""
    how = report.signal or ("unknown" if report.code is None else f"exit status {report.code}")
    return f"{duration(now - report.time)} ago: {report.cause or how}"


def _state(state: str) -> Text:
    return Text(state, _COLOURS.get(state, ""))


def _table(rows: Sequence[R], columns: Mapping[str, Callable[[R], str | Text]]) -> Table:
    """`>` before a title: numbers, to the right; `?`: no such column while it has nothing to say."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    filled = []
    for title, cell in columns.items():
        cells = [cell(row) for row in rows]
        if title.startswith("?") and not any(map(len, cells)):
            continue
        wide = title.startswith("?")
        table.add_column(
            title.lstrip(">?"), justify="right" if title.startswith(">") else "left", no_wrap=not wide
        )
        filled.append(cells)
    for cells_of_row in zip(*filled, strict=True):
        table.add_row(*cells_of_row)
    return table
