"""`events`: what happens in the fleet, as it happens."""

import click
import msgspec

from temporal_fleet.protocol.report import EventReport
from temporal_fleet.supervisor.cli import client
from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.human import clock
from temporal_fleet.supervisor.cli.place import Place, fleet_options

_COLOURS = {"debug": "bright_black", "info": "green", "warning": "yellow", "error": "red"}


@click.command()
@fleet_options
@click.option("-f", "--follow", is_flag=True, help="For habit: events are always followed, none are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
def events(place: Place, follow: bool, as_json: bool) -> None:  # noqa: ARG001
    """Print what happens in the fleet, live.

    From now on, until the fleet ends or Ctrl-C."""

    def on_listening(pid: int) -> None:
        say(f"listening to {place.name} (PID {pid}); Ctrl-C ends it")

    for event in client.events(place, on_listening):
        click.echo(msgspec.json.encode(event) if as_json else line(event))
    say(f"the fleet {place.name} has ended")


def line(event: EventReport) -> str:
    """`15:04:05.123 error    orders-3.7  entity.died  killed by SIGKILL`: by its kind the runbook has it."""
    subject = event.entity or event.pool or "fleet"
    if event.entity and event.incarnation is not None:
        subject = f"{event.entity}.{event.incarnation}"
    level = click.style(f"{event.level:<7}", fg=_COLOURS.get(event.level))
    return f"{clock(event.time)} {level}  {subject}  {event.kind}  {event.message}"
