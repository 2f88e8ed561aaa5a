"""mkdocs' hooks: which pages and parts of pages are generated, and what no page may have. What is generated
is in the modules of docs.generators."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.generators import commands, configuration, events, json_output, metrics, states

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "reference/configuration.md": configuration.page,
    "reference/commands.md": commands.page,
    "reference/events.md": events.page,
    "reference/json.md": json_output.page,
    "reference/metrics.md": metrics.page,
}
PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "<!-- generated: states -->": states.drawing,
    "<!-- generated: transitions -->": states.transitions,
}
"""By the line of a page that each takes the place of."""

_REMOTE: Final = re.compile(
    r"<(?:script|link(?![^>]*canonical)|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>"
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    for line, part in PARTS.items():
        if line in markdown:
            markdown = markdown.replace(line, part())
    if "<!-- generated:" in markdown:
        raise PluginError(f"{page.file.src_uri} asks for a part that nothing generates")
    return markdown


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """The site is read where there is no network."""
    if remote := _REMOTE.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from elsewhere: {remote[0]}")
    return output
