"""`executions`: which Workflow Executions the entities have cached, and which of them are blocked."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from temporal_fleet.protocol.report import ExecutionReport
from temporal_fleet.supervisor.cli import caches
from temporal_fleet.supervisor.cli.client import Supervisor
from temporal_fleet.supervisor.cli.columns import lines, screen_width
from temporal_fleet.supervisor.cli.completion import targets
from temporal_fleet.supervisor.cli.failure import must_exist, say
from temporal_fleet.supervisor.cli.human import duration
from temporal_fleet.supervisor.cli.live import stay
from temporal_fleet.supervisor.cli.place import Place, fleet_options

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ORDERS: dict[str, Callable[[ExecutionReport], float]] = {
    "idle": lambda execution: execution.idle_s,
    "history": lambda execution: execution.history_events,
    "age": lambda execution: execution.age_s,
}
_COLUMNS: dict[str, Callable[[ExecutionReport], str]] = {
    "entity": lambda execution: execution.entity,
    "workflow id": lambda execution: execution.workflow_id,
    "run id": lambda execution: execution.run_id,
    "type": lambda execution: execution.workflow_type,
    "state": lambda execution: "closed" if execution.closed else execution.state,
    "idle": lambda execution: duration(execution.idle_s),
    "age": lambda execution: duration(execution.age_s),
    "history": lambda execution: str(execution.history_events),
    "replayed": lambda execution: str(execution.replayed_events),
}
_NUMBERS = ("idle", "age", "history", "replayed")
_DISPENSABLE = ("run id", "replayed", "age", "history", "type", "idle")
"""What a screen that is too narrow does without, the first one first; what the list is sorted by stays."""


@click.command()
@click.argument("target", metavar="[POOL|ENTITY]", required=False, shell_complete=targets)
@fleet_options
@click.option("--blocked", is_flag=True, help="Only those that wait for an event: `evict` may take them.")
@click.option(
    "--sort",
    type=click.Choice(list(_ORDERS)),
    default="idle",
    show_default=True,
    help="The largest first: time without activity, length of the history, time in the cache.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one document a line.")
@click.option("-w", "--watch", is_flag=True, help="Stay, and show them anew every second.")
def executions(
    place: Place, target: str | None, blocked: bool, sort: str, as_json: bool, watch: bool
) -> None:
    """Show the Workflow Executions that the entities have cached.

    A screen that is too narrow shows fewer columns; --json, or a pipe, has all of them."""
    told: set[str] = set()

    def look() -> list[ExecutionReport]:
        report = supervisor.status()
        if target is not None:
            known = [*(pool.name for pool in report.pools), *(entity.id for entity in report.entities)]
            must_exist("pool or entity", [target], known)
        found = caches.read(report, target)
        for gap in found.gaps:
            if gap not in told:
                told.add(gap)
                say(gap)
        chosen = [each for each in found.executions if not blocked or each.state == "blocked"]
        return sorted(chosen, key=_ORDERS[sort], reverse=True)

    def draw(found: list[ExecutionReport], console: "Console") -> "RenderableType":
        from rich.text import Text

        shown = list(_lines(found, sort, screen_width()))
        if console.is_terminal and len(shown) > console.height:
            room = console.height - 1
            shown[room:] = [f"and {len(shown) - room} more"]
        return Text.from_ansi("\n".join(shown), no_wrap=console.is_terminal, overflow="fold")

    with Supervisor(place) as supervisor:
        if watch:
            stay(supervisor, look, draw, as_json=as_json)
        found = look()
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        elif found:
            click.echo("\n".join(_lines(found, sort, screen_width())))
        else:
            say(f"no execution is cached{' and blocked' if blocked else ''} there")


def _lines(found: list[ExecutionReport], sort: str, width: int | None) -> Iterator[str]:
    dispensable = [title for title in _DISPENSABLE if title != sort]
    return lines(found, _COLUMNS, numbers=_NUMBERS, dispensable=dispensable, within=width)
