"""How a command ends when it cannot do what was asked: what is wrong, what to do next, which status.

Expected failures only. An exception that nobody expected keeps its traceback: it is a bug of ours.
"""

from collections.abc import Collection, Iterable, Sequence

import click

from temporal_fleet.supervisor.core.names import listed


class Failure(click.ClickException):
    """The command failed (status 1). It says what to do next, a line for each way."""

    exit_code = 1

    def __init__(self, message: str, remedy: str, *more: str) -> None:
        super().__init__(message)
        self.remedies = (remedy, *more)

    def format_message(self) -> str:
        return "\n  ".join((self.message, *self.remedies))


class Problems(Failure):
    """Several things are wrong at once, each with its place, and mostly with its remedy."""

    def __init__(self, heading: str, problems: Sequence[str], *remedies: str) -> None:
        # Each problem may bring its own remedy, so that none beside them is asked for.
        click.ClickException.__init__(self, heading)
        self.remedies = remedies
        self.problems = tuple(problems)

    def format_message(self) -> str:
        # At the start of a line, where editors look for FILE:LINE.
        remedies = (f"  {remedy}" for remedy in self.remedies)
        return "\n".join((self.message, *self.problems, *remedies))


class Misuse(Problems):
    """What was typed cannot be right, wherever it is typed (status 2)."""

    exit_code = 2


class Interrupted(click.exceptions.Exit):
    """Ctrl-C, after the command has said what goes on without it (status 130)."""

    def __init__(self) -> None:
        super().__init__(130)


def say(message: str) -> None:
    """A message to the operator. Messages go to stderr, so that stdout holds only what was asked for."""
    click.echo(message, err=True)


def must_exist(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises UsageError for names that nothing has. `what`: the noun, in the singular."""
    unknown = [name for name in names if name not in known]
    if unknown:
        there = listed(sorted(known), most=20) or "none"
        raise click.UsageError(f"no {what} is named {listed(unknown)}; there are: {there}")
