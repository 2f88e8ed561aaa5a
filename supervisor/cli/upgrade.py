"""`upgrade`: the supervisor goes on as the code that is installed now."""

import json

import click

from temporal_fleet.protocol.control import Accepted, Upgrade
from temporal_fleet.supervisor.cli.client import Supervisor, SupervisorGone, new_id
from temporal_fleet.supervisor.cli.human import count
from temporal_fleet.supervisor.cli.place import Place, fleet_options

_WITHIN = 60.0
"""Seconds for the new code to take over."""


@click.command()
@fleet_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def upgrade(place: Place, as_json: bool) -> None:
    """Have the supervisor go on as the code that is installed now.

    It stays the same process; no entity restarts, and no activity is lost. The file is read anew, as by
    `reload`. The new code is tried first: where it does not start, or refuses the file, nothing happens. What
    the entities run stays what it is until `reload`."""
    with Supervisor(place) as supervisor:
        before = supervisor.status()
        supervisor.ask(Upgrade(id=new_id()), Accepted)
        try:
            after = supervisor.next_status(_WITHIN)
        except SupervisorGone as gone:
            gone.remedies = (
                *gone.remedies,
                "its entities work on for [fleet] orphan, and the next supervisor adopts them: "
                f"start it as it was started before, within that time: {place.start or 'temporal-fleet up'}",
            )
            raise
    adopted = sum(entity.adopted for entity in after.entities)
    if as_json:
        told = {
            "pid": after.fleet.pid,
            "before": before.fleet.version,
            "after": after.fleet.version,
            "adopted": adopted,
        }
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(
            f"upgraded: {before.fleet.version} -> {after.fleet.version}, PID {after.fleet.pid}, "
            f"{count(adopted, 'entity', 'entities')} adopted"
        )
