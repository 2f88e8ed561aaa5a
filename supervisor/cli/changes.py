"""`changes`: what was asked of the fleet, and what became of it."""

from collections.abc import Callable

import click
import msgspec

from temporal_fleet.protocol.control import ChangesReply, GetChanges
from temporal_fleet.protocol.report import ChangeReport
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.columns import lines
from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.human import clock, duration
from temporal_fleet.supervisor.cli.place import Place, fleet_options

_COLUMNS: dict[str, Callable[[ChangeReport], str]] = {
    "id": lambda change: str(change.id),
    "asked at": lambda change: clock(change.asked_at),
    "took": lambda change: duration(change.seconds),
    "command": lambda change: change.command,
    "state": lambda change: change.state,
    "what became of it": lambda change: change.message,
}


@click.command()
@click.argument("change", metavar="[ID]", type=click.IntRange(min=1), required=False)
@fleet_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def changes(place: Place, change: int | None, as_json: bool) -> None:
    """Show the last changes, and what became of them, the newest first.

    With an ID, as --no-wait prints it, that one alone. A change is `importing` while its programs are loaded,
    then `rolling` until the fleet has converged: `done`. One of which nothing came is `rejected`, one that
    was taken back is `failed`, one in whose place a newer one came is `superseded`."""
    with Supervisor(place) as supervisor:
        found = supervisor.ask(GetChanges(id=new_id(), change=change), ChangesReply).changes
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"changes": found}), indent=2))
    elif found:
        click.echo("\n".join(lines(found, _COLUMNS, numbers=("id", "took"))))
    else:
        say("nothing was asked of this fleet yet")
