"""The command `temporal-fleet`: its group, and how every command ends. The commands stand beside it.

Exit status: 0, 1 (it failed, or whoever read our output went away), 2 (misuse), 130 (Ctrl-C).
"""

import importlib
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli.completion import PROGRAM, VARIABLE
from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.stdout import Stdout

_COMMANDS = {
    "demo": "demo",
    "run": "start",
    "init": "init",
    "check": "check",
    "up": "start",
    "status": "status",
    "top": "top",
    "executions": "executions",
    "events": "events",
    "logs": "logs",
    "doctor": "doctor",
    "plan": "plan",
    "reload": "change",
    "scale": "scale",
    "restart": "change",
    "changes": "changes",
    "drain": "drain",
    "resume": "drain",
    "quiet": "quiet",
    "evict": "evict",
    "dump": "dump",
    "stop": "change",
    "upgrade": "upgrade",
    "systemd": "systemd",
    "completion": "completion",
}
"""Each command, in the order in which one meets them, and the module that it stands in."""

_INTERRUPTED = 130


class _Commands(click.Group):
    """Imports no more than the command that is run: all of them together take twice the time of most."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"temporal_fleet.supervisor.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


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


@click.group(cls=_Commands, context_settings=_SETTINGS)
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


def main() -> NoReturn:
    """The entry point. Never a traceback for a failure that was to be expected."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = Stdout(sys.stdout)
    try:
        status_code = cli.main(prog_name=PROGRAM, complete_var=VARIABLE, standalone_mode=False)
    except click.ClickException as failure:
        failure.show()
        sys.exit(failure.exit_code)
    except ProtocolMisuse as error:
        say(f"Error: {error}")
        sys.exit(1)
    except FileNotFoundError:
        if not _is_nowhere():
            raise
        say("Error: the working directory was removed\n  go to another one: cd /")
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    sys.exit(status_code)


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


if __name__ == "__main__":
    main()
