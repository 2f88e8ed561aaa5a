"""Every fleet.toml that a page shows holds, and the reference of its keys is that of the code."""

import re
from pathlib import Path

import pytest

from docs.generators import configuration
from docs.generators.configuration import Change
from temporal_fleet.supervisor.config.reader import ConfigError
from tests.config.files import ENVIRON, POOL, read
from tests.docs.pages import PAGES, REPOSITORY
from tests.pages import blocks


def configs(page: Path) -> list[str]:
    """What names no program is to be added to a file that does."""
    shown = [block for language, block in blocks(page.read_text()) if language == "toml"]
    return [block if "program = " in block else f"{POOL}\n{block}" for block in shown]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_config_files_of_a_page_hold(page: Path, tmp_path: Path) -> None:
    for text in configs(page):
        # What the reader makes on the host: a folder, and credentials.
        here = text.replace("/srv/shop", str(tmp_path))
        for name in re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/([\w.-]+)", text):
            (tmp_path / name).touch()
        assert read(here, environ={**ENVIRON, "CREDENTIALS_DIRECTORY": str(tmp_path)}).pools


def test_config_files_are_found_where_there_are_some() -> None:
    assert len(configs(REPOSITORY / "README.md")) > 1
    assert len(configs(REPOSITORY / "docs" / "programs.md")) > 1
    with pytest.raises(ConfigError):
        read(configs(REPOSITORY / "README.md")[0].replace("entities", "entitees"))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("fleet.name", Change.NEVER),
        ("fleet.memory_budget", Change.AT_ONCE),
        ("fleet.log_level", Change.AT_ONCE),
        ("fleet.orphan", Change.ROLL_OF_ALL),
        ("cluster.address", Change.ROLL_OF_ALL),
        ("cluster.embedded.port", Change.NEVER),
        ("pools.NAME.entities", Change.ENTITIES),
        ("pools.NAME.hang", Change.AT_ONCE),
        ("pools.NAME.drain", Change.ROLL),
        ("pools.NAME.env", Change.ROLL),
        ("pools.NAME.memory.kill_above", Change.AT_ONCE),
        ("pools.NAME.worker.max_cached_workflows", Change.ROLL),
        ("pools.NAME.resources.user", Change.ROLL),
    ],
)
def test_the_reference_says_what_a_reload_does_about_a_key(key: str, change: Change) -> None:
    assert configuration.change(tuple(key.split("."))) is change


def test_the_reference_has_every_key_with_its_bounds() -> None:
    page = configuration.page()
    for key in configuration.every_key():
        assert page.count(f"\n### {'.'.join(key)}\n") == 1
    assert '- Type: duration, at least `"5s"`, or `"never"`' in page
    assert "- Type: integer, at least 0, at most 1000\n- Default: `1`\n" in page
    assert 'Example: `env = { REGION = "eu" }`' in page
    assert page.count("- Default: none: it must be given\n") == 2
