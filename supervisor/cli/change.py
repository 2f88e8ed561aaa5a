"""`reload`, `restart`, `stop`: commands that the supervisor carries out by itself once it accepted them, and
how any change is followed."""

import click

from temporal_fleet.protocol.control import Accepted, ChangeRequest, Progress, Reload, Restart, Stop
from temporal_fleet.supervisor.cli.client import ChangeFailed, Supervisor, SupervisorGone, find, new_id
from temporal_fleet.supervisor.cli.completion import pools, targets
from temporal_fleet.supervisor.cli.failure import Failure, Interrupted, must_exist, say
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.cli.plan import line
from temporal_fleet.supervisor.cli.presence import Absent, look
from temporal_fleet.supervisor.cli.watch import Meanwhile, conclude, until_ended

no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Return when the change is in force, not when the fleet has converged."
)


@click.command()
@fleet_options
@click.option(
    "--force",
    metavar="POOL",
    multiple=True,
    shell_complete=pools,
    help="Replace the entities of this pool, with newly imported code, though nothing changed. "
    "May be repeated.",
)
@no_wait_option
def reload(place: Place, force: tuple[str, ...], no_wait: bool) -> None:
    """Make the fleet follow its config file and the code of its programs.

    A file with errors, or a program that cannot be imported, changes nothing. When new entities do not become
    ready, the change is taken back: the old ones never left, or are rolled back to. `plan` tells beforehand
    what is to be done."""
    with Supervisor(place) as supervisor:
        if force:
            must_exist("pool", force, [pool.name for pool in supervisor.status().pools])
        carry_out(supervisor, Reload(id=new_id(), force=list(force), wait=not no_wait))


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@fleet_options
@no_wait_option
def restart(place: Place, target: str | None, no_wait: bool) -> None:
    """Replace entities one by one.

    TARGET is a pool, whose code is imported anew where it changed, and where each new entity starts before an
    old one stops; or an entity, which restarts in place: it drains first, then gets the code that its pool
    has. Without a TARGET every pool is meant. Clears `failed`."""
    with Supervisor(place) as supervisor:
        if target is not None:
            report = supervisor.status()
            known = [*(pool.name for pool in report.pools), *(entity.id for entity in report.entities)]
            must_exist("pool or entity", [target], known)
        carry_out(supervisor, Restart(id=new_id(), target=target, wait=not no_wait))


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
            raise Failure(
                f"another supervisor has taken {place.run.path} over already",
                "see which: temporal-fleet status; stop it, too, if it is to go",
            )


def carry_out(supervisor: Supervisor, request: ChangeRequest) -> None:
    """Asks for a change and tells what becomes of it: until the fleet has converged, or, where the request
    does not wait, until it is in force.

    Raises Refused, ChangeFailed, Interrupted on Ctrl-C.
    """
    told = set()

    def tell(progress: Progress) -> None:
        told.add(progress.message)
        for step in progress.steps:
            say(line(step))
        if not progress.steps:
            say(progress.message)

    try:
        accepted = supervisor.ask(request, Accepted, tell, Meanwhile())
    except KeyboardInterrupt:
        say(f"\nthe fleet goes on by itself; look at it with: {supervisor.place.command('changes')}")
        raise Interrupted from None
    except ChangeFailed as failed:
        look = f"look at it with: {supervisor.place.command('changes')}"
        failed.remedies = (f"mend it, then try again; {look}" if failed.restored else look,)
        raise
    if accepted.message not in told:
        say(accepted.message)
    if request.wait:
        conclude(supervisor)
    else:
        say(f"its outcome: {supervisor.place.command(f'changes {accepted.change}')}")
