"""`up` and `run`: this process becomes the supervisor of a fleet, in the foreground.

So nothing may be imported here that the supervisor does not need: it would hold the memory for ever.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.failure import Misuse, Problems, say
from temporal_fleet.supervisor.cli.place import config_option
from temporal_fleet.supervisor.cli.presence import Absent, look
from temporal_fleet.supervisor.cli.watcher import start_watcher

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config


@click.command()
@config_option
@click.option("--watch", is_flag=True, help="For development: reload at every save of a program or the file.")
def up(config: Path, watch: bool) -> None:
    """Run the fleet of a config file in the foreground.

    TERM and Ctrl-C drain and stop it, a second one at once; HUP reloads the file; USR1 has it log how the
    fleet stands. Entities that a supervisor which died has left working are adopted as they are."""
    # The watcher would hold them for ever.
    if not watch:
        _hold_signals_of_the_first_process()
    loaded = configuration.load(config)
    if watch:
        start_watcher(config.absolute())
    _supervise(loaded)


@click.command()
@click.argument("program")
@click.option("-q", "--task-queue", required=True, metavar="QUEUE", help="The Task Queue to poll.")
@click.option(
    "-n",
    "--entities",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="How many Worker Entities.",
)
@click.option("--embedded", is_flag=True, help="Run a Temporal dev server beside it, on free ports.")
@click.option("--address", metavar="HOST:PORT", help="Of the Cluster; localhost:7233 when nothing is said.")
@click.option("--profile", metavar="NAME", help="A profile of Temporal's own environment configuration.")
@click.option("--namespace", metavar="NAME", help="The namespace; default: default.")
@click.option("--name", metavar="NAME", help="The fleet's name; default: PROGRAM's.")
@click.option(
    "--path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Put first on sys.path; default: the working directory.",
)
def run(
    *,
    program: str,
    task_queue: str,
    entities: int,
    embedded: bool,
    address: str | None,
    profile: str | None,
    namespace: str | None,
    name: str | None,
    path: Path | None,
) -> None:
    """Run PROGRAM as a fleet, without a file.

    It stays in the foreground, as `up` does.

    PROGRAM is a module, such as shop.orders, or module:attribute: a plugin or a factory."""
    _hold_signals_of_the_first_process()
    from temporal_fleet.supervisor.config.reader import for_run

    config = configuration.checked(
        "the options",
        lambda: for_run(
            program=program,
            task_queue=task_queue,
            entities=entities,
            embedded=embedded,
            address=address,
            namespace=namespace,
            profile=profile,
            name=name,
            environ=os.environ,
            cwd=path or Path.cwd(),
        ),
        failure=Misuse,
    )
    if isinstance(look(RunDirectory(config.fleet.run_dir)), Absent):
        say(f"talk to this fleet with: temporal-fleet status --fleet {config.fleet.name}")
    _supervise(config)


def _hold_signals_of_the_first_process() -> None:
    """The kernel takes from the first process of a container what that does not handle yet."""
    if os.getpid() == 1:
        from temporal_fleet.supervisor.shell.wakeup import hold_signals

        hold_signals()


def _supervise(config: "Config") -> None:
    from temporal_fleet.supervisor.shell.supervise import CannotStart, supervise

    try:
        status = supervise(config)
    except CannotStart as error:
        # Each says what to do.
        first, *others = str(error).splitlines()
        raise Problems(first, others) from error
    click.get_current_context().exit(status)
