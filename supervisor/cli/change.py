"""`reload`, `restart`, `stop`: commands that the supervisor carries out by itself once it accepted them."""

import click

from temporal_fleet.protocol.control import Accepted, ControlRequest, Reload, Restart, Stop
from temporal_fleet.supervisor.cli.client import Supervisor, SupervisorGone, find, new_id
from temporal_fleet.supervisor.cli.completion import targets
from temporal_fleet.supervisor.cli.failure import Failure, must_exist, say
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.cli.presence import Absent, look
from temporal_fleet.supervisor.cli.watch import until_ended, until_settled

no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Return when the fleet has accepted, not when it is done."
)


@click.command()
@fleet_options
@no_wait_option
def reload(place: Place, no_wait: bool) -> None:
    """Make the fleet follow its config file.

    A file with errors, or a program that cannot be imported, changes nothing."""
    with Supervisor(place) as supervisor:
        carry_out(supervisor, Reload(id=new_id()), wait=not no_wait)


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@fleet_options
@no_wait_option
def restart(place: Place, target: str | None, no_wait: bool) -> None:
    """Replace entities one by one.

    TARGET is a pool, all of whose code is imported anew, and where each new entity starts before an old one
    stops; or an entity, which restarts in place: it drains first, then gets the code that its pool has.
    Without a TARGET every pool is meant. Clears `failed`."""
    with Supervisor(place) as supervisor:
        if target is not None:
            report = supervisor.status()
            known = [*(pool.name for pool in report.pools), *(entity.id for entity in report.entities)]
            must_exist("pool or entity", [target], known)
        carry_out(supervisor, Restart(id=new_id(), target=target), wait=not no_wait)


@click.command()
@fleet_options
@click.option("--now", is_flag=True, help="Kill what still runs instead of letting it drain.")
def stop(place: Place, now: bool) -> None:
    """Drain and stop the fleet.

    Waits until it is gone; Ctrl-C ends the waiting, not the draining."""
    with Supervisor(place) as supervisor:
        try:
            say(supervisor.ask(Stop(id=new_id(), now=now), Accepted).message)
        except SupervisorGone:
            pass
        else:
            until_ended(supervisor)
    _confirm_gone(place)


def _confirm_gone(place: Place) -> None:
    match look(place.run):
        case Absent(orphans=()):
            say(f"the fleet {place.name} has stopped")
        case Absent():
            find(place)
        case _:
            raise Failure(f"another supervisor has taken {place.run.path} over already")


def carry_out(supervisor: Supervisor, request: ControlRequest, *, wait: bool) -> None:
    """Sends a request for a change, tells what is said about it, waits until the fleet has followed."""
    say(supervisor.ask(request, Accepted).message)
    if wait:
        until_settled(supervisor)
    else:
        say(f"look at it with: {supervisor.place.command('status')}")
