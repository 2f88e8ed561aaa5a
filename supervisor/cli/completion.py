"""Shell completion: the script for a shell, and the names of what runs: fleets, their pools, their entities.

Whatever goes wrong while somebody presses Tab is silent: no names are offered then.
"""

import sys
from collections.abc import Callable

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.report import StatusReport
from temporal_fleet.supervisor.cli.failure import say

_PATIENCE = 0.5
VARIABLE = "_TEMPORAL_FLEET_COMPLETE"
PROGRAM = "temporal-fleet"

_INSTALL = {
    "bash": f'eval "$({PROGRAM} completion bash)"   in ~/.bashrc',
    "zsh": f'eval "$({PROGRAM} completion zsh)"   in ~/.zshrc',
    "fish": f"{PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish",
}

_SCRIPTS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


def entity_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _offered(incomplete, lambda report: [entity.id for entity in report.entities], ctx)


def pools(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _offered(incomplete, lambda report: [pool.name for pool in report.pools], ctx)


def targets(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pools, and entities."""
    return _offered(
        incomplete,
        lambda report: [*(pool.name for pool in report.pools), *(entity.id for entity in report.entities)],
        ctx,
    )


def pool_sizes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`orders=4`, with the size that the pool has."""
    return _offered(incomplete, lambda report: [f"{pool.name}={pool.desired}" for pool in report.pools], ctx)


def fleet_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Fleets that run."""
    from temporal_fleet.supervisor.cli.place import running

    try:
        return [CompletionItem(name) for name in running() if name.startswith(incomplete)]
    except (ProtocolMisuse, OSError):
        return []


def _offered(
    incomplete: str, names: Callable[[StatusReport], list[str]], ctx: click.Context
) -> list[CompletionItem]:
    try:
        report = _report(ctx)
    except (click.ClickException, ProtocolMisuse, OSError):
        return []
    return [CompletionItem(name) for name in names(report) if name.startswith(incomplete)]


def _report(ctx: click.Context) -> StatusReport:
    from temporal_fleet.supervisor.cli.client import Supervisor
    from temporal_fleet.supervisor.cli.place import locate

    with Supervisor(locate(ctx), patience=_PATIENCE) as supervisor:
        return supervisor.status()


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    script = _SCRIPTS[shell](ctx.find_root().command, {}, PROGRAM, VARIABLE)
    click.echo(script.source())
    if sys.stdout.isatty():
        say(f"to install it: {_INSTALL[shell]}")
