"""Every command that a page names is one that click would take: its words, its options, its arguments."""

import re
import shlex
from pathlib import Path

import click
import pytest

from temporal_fleet.supervisor.cli.main import cli
from tests.docs.pages import PAGES, REPOSITORY
from tests.pages import blocks, lines

PROGRAM = "temporal-fleet"
_ENDS = {"|", "&&", ";", ">", ">>"}


def problem(command: str, *, complete: bool) -> str:
    """What click would refuse; empty: nothing. One within a sentence need not be complete."""
    words = shlex.split(command, comments=True)
    end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
    _, *rest = words[:end]
    found: click.Command = cli
    context = click.Context(cli, **cli.context_settings, resilient_parsing=not complete)
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        below = found.get_command(context, name)
        if below is None:
            return f"there is no command {name}"
        found, context = below, click.Context(below, context, name, resilient_parsing=not complete)
    try:
        given, left, _ = found.make_parser(context).parse_args(list(rest))
    except click.ClickException as error:
        return error.format_message()
    if left:
        return f"too many arguments: {' '.join(left)}"
    needed = [p for p in found.params if isinstance(p, click.Argument) and p.required]
    missing = [p.human_readable_name for p in needed if not isinstance(given.get(p.name or ""), str | tuple)]
    return f"there is no {' '.join(missing)}" if complete and missing else ""


def typed(text: str) -> list[str]:
    shell = [block for language, block in blocks(text) if language == "sh"]
    return [line for block in shell for line in lines(block) if line.startswith(f"{PROGRAM} ")]


def named(text: str) -> list[str]:
    """Within sentences and tables."""
    without_blocks = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(rf"`({PROGRAM}\s[^`]+)`", without_blocks)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_of_a_page_are_such_as_click_takes(page: Path) -> None:
    text = page.read_text()
    wrong = {line: why for line in typed(text) if (why := problem(line, complete=True))}
    wrong |= {words: why for words in named(text) if (why := problem(words, complete=False))}
    assert wrong == {}


def test_commands_are_found_where_there_are_some() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert "temporal-fleet evict orders --all" in typed(text)
    assert "temporal-fleet reload" in named(text)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("temporal-fleet statsu", "there is no command statsu"),
        ("temporal-fleet status --wach", "No such option"),
        ("temporal-fleet status orders", "too many arguments: orders"),
        ("temporal-fleet dump", "there is no ENTITY"),
        ("temporal-fleet systemd instal", "there is no command instal"),
        ("temporal-fleet reload --force", "requires an argument"),
        ("temporal-fleet status --json | jq .", ""),
        ("temporal-fleet scale orders=6 billing=2", ""),
    ],
)
def test_a_wrong_command_would_be_found(command: str, why: str) -> None:
    found = problem(command, complete=True)
    assert why in found
    assert bool(found) == bool(why)
