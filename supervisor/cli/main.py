"""The command `temporal-fleet`: its group, and how every command ends. The commands stand beside it.

Exit status: 0, 1 (it failed, or whoever read our output went away), 2 (misuse), 130 (Ctrl-C).
"""

import io
import os
import sys
from typing import NoReturn

import click

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli.change import reload, restart, stop
from temporal_fleet.supervisor.cli.changes import changes
from temporal_fleet.supervisor.cli.check import check
from temporal_fleet.supervisor.cli.completion import PROGRAM, VARIABLE, completion
from temporal_fleet.supervisor.cli.demo import demo
from temporal_fleet.supervisor.cli.doctor import doctor
from temporal_fleet.supervisor.cli.drain import drain, resume
from temporal_fleet.supervisor.cli.dump import dump
from temporal_fleet.supervisor.cli.events import events
from temporal_fleet.supervisor.cli.evict import evict
from temporal_fleet.supervisor.cli.executions import executions
from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.init import init
from temporal_fleet.supervisor.cli.logs import logs
from temporal_fleet.supervisor.cli.plan import plan
from temporal_fleet.supervisor.cli.quiet import quiet
from temporal_fleet.supervisor.cli.scale import scale
from temporal_fleet.supervisor.cli.start import run, up
from temporal_fleet.supervisor.cli.status import status
from temporal_fleet.supervisor.cli.systemd import systemd
from temporal_fleet.supervisor.cli.top import top
from temporal_fleet.supervisor.cli.upgrade import upgrade

_INTERRUPTED = 130


class _InOrder(click.Group):
    """Lists the commands in the order in which one meets them, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    click.echo(f"{PROGRAM} {__version__}")
    ctx.exit()


_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
    # https://no-color.org
    "color": False if os.environ.get("NO_COLOR") else None,
}


@click.group(cls=_InOrder, context_settings=_SETTINGS)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli() -> None:
    """Run ordinary Temporal Worker Programs as a supervised fleet of processes.

    \b
    Try it:    temporal-fleet demo
    No file:   temporal-fleet run shop.orders -q orders -n 4 --embedded
    A file:    temporal-fleet init && temporal-fleet up
    """


for command in (
    demo,
    run,
    init,
    check,
    up,
    status,
    top,
    executions,
    events,
    logs,
    doctor,
    plan,
    reload,
    scale,
    restart,
    changes,
    drain,
    resume,
    quiet,
    evict,
    dump,
    stop,
    upgrade,
    systemd,
    completion,
):
    cli.add_command(command)


def main() -> NoReturn:
    """The entry point. Never a traceback for a failure that was to be expected."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Not every text that is logged or told can be written in every encoding, nor a lone surrogate in any.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status_code = cli.main(prog_name=PROGRAM, complete_var=VARIABLE, standalone_mode=False)
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except ProtocolMisuse as error:
        say(f"Error: {error}")
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    sys.exit(status_code)


if __name__ == "__main__":
    main()
