"""Staying, and showing a thing anew every second: on a screen of its own on a terminal, one after the other
in a pipe. What is shown does not belong here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click
import msgspec

from temporal_fleet.supervisor.cli.client import Supervisor, SupervisorGone
from temporal_fleet.supervisor.cli.failure import Failure

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

T = TypeVar("T")

_REFRESH = 1.0


def stay(
    supervisor: Supervisor,
    look: Callable[[], T],
    draw: "Callable[[T, Console], RenderableType]",
    *,
    as_json: bool,
) -> NoReturn:
    """Shows what `look` returns, until Ctrl-C; as JSON one document a line.

    Raises Failure when the supervisor ends.
    """
    try:
        _show(supervisor, look, draw, as_json=as_json)
    except SupervisorGone:
        raise _has_ended(supervisor) from None


def _show(
    supervisor: Supervisor,
    look: Callable[[], T],
    draw: "Callable[[T, Console], RenderableType]",
    *,
    as_json: bool,
) -> NoReturn:
    if as_json:
        while True:
            click.echo(msgspec.json.encode(look()))
            _pause(supervisor)
    from rich.live import Live

    from temporal_fleet.supervisor.cli import tables

    console = tables.console()
    if not console.is_terminal:
        while True:
            console.print(draw(look(), console))
            console.print()
            _pause(supervisor)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(draw(look(), console), refresh=True)
            _pause(supervisor)


def _pause(supervisor: Supervisor) -> None:
    if supervisor.ended_within(_REFRESH):
        raise _has_ended(supervisor)


def _has_ended(supervisor: Supervisor) -> Failure:
    return Failure(
        f"the supervisor (PID {supervisor.pid}) has ended",
        "its log says why; temporal-fleet status tells what there is now",
    )
