"""`quiet`: an entity that polls no more, and stays for a look."""

import click

from temporal_fleet.protocol.control import QuietEntity
from temporal_fleet.supervisor.cli.change import carry_out, no_wait_option
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.completion import entity_names
from temporal_fleet.supervisor.cli.failure import must_exist
from temporal_fleet.supervisor.cli.place import Place, fleet_options


@click.command()
@click.argument("entity", shell_complete=entity_names)
@fleet_options
@no_wait_option
def quiet(place: Place, entity: str, no_wait: bool) -> None:
    """Have an entity stop polling, and go on with what it has.

    Another takes its place at once. It stays, for a look at it, until `restart ENTITY` drains it, its pool
    goes or the fleet stops: there is no way back."""
    with Supervisor(place) as supervisor:
        must_exist("entity", [entity], [each.id for each in supervisor.status().entities])
        carry_out(supervisor, QuietEntity(id=new_id(), entity=entity, wait=not no_wait))
