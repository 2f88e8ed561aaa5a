"""The reference of the command line: every command, as click has it."""

import inspect
from collections.abc import Iterator

import click

from docs.generators.markdown import block, code, table
from temporal_fleet.supervisor.cli.completion import PROGRAM
from temporal_fleet.supervisor.cli.main import cli

_HEAD = """\
# Commands

Each command finds its fleet by `-c FILE` (`fleet.toml` in the present folder, or what
`TEMPORAL_FLEET_CONFIG` names), or by `--fleet NAME`. What was asked for goes to the standard output, as a
table or, with `--json`, for scripts; messages go to the standard error.

| Exit status | |
|---|---|
| 0 | It is done. |
| 1 | It failed, and says why and what to do next; or whoever read the output went away. |
| 2 | Misuse: an option, or a name, that there is not. Nothing was done. |
| 130 | Ctrl-C. What was asked of the fleet goes on. |
"""

_PARENT = click.Context(cli, **cli.context_settings)


def page() -> str:
    return "\n".join([_HEAD, *(_section(name, command) for name, command in commands())])


def commands(group: click.Group = cli, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, and the words that name it after the program's."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{words}{name} ")
        elif command is not None and not command.hidden:
            yield f"{words}{name}", command


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, _PARENT, f"{PROGRAM} {name}", color=False)
    usage = " ".join([f"{PROGRAM} {name}", *command.collect_usage_pieces(context)])
    parts = [f"## {name}\n", block("text", usage), _help(command)]
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    rows = [_option(option, context) for option in options if not option.hidden]
    return "\n".join([*parts, table(["Option", ""], rows)])


def _help(command: click.Command) -> str:
    """Its paragraphs; one that click must not rewrap begins with \\b."""
    paragraphs = inspect.cleandoc(command.help or "").replace("\b\n", "\b").split("\n\n")
    return "\n".join(
        block("text", each.removeprefix("\b")) if each.startswith("\b") else f"{each}\n"
        for each in paragraphs
    )


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    record = option.get_help_record(context)
    if record is None:
        raise ValueError(f"the option {option.name} has no line in --help")
    names, told = record
    return code(names), told.replace("[", "\\[").replace("  \\[", " \\[")
