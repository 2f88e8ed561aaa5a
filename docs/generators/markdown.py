"""Pieces of Markdown that several pages are made of."""

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what a cell holds is Markdown, on one line."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def code(text: str) -> str:
    return f"`{text}`"


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def anchor(heading: str) -> str:
    """Of a heading, as the site and GitHub make it, for headings of words, dots and hyphens."""
    return "".join(each for each in heading.lower().replace(" ", "-") if each.isalnum() or each in "-_")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
