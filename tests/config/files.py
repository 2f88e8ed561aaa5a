"""A config text that is all right, and the reading of texts, for the tests of this folder."""

from pathlib import Path

from temporal_fleet.supervisor.config.reader import Config, ConfigError, Problem, parse

FOLDER = Path("/usr")
"""A folder that exists: pools import from it by default."""
ENVIRON = {"HOME": "/home/nobody"}

POOL = """\
[pools.orders]
program = "shop.orders"
task_queue = "orders"
"""


def read(text: str, folder: Path = FOLDER, environ: dict[str, str] | None = None) -> Config:
    return parse(text, folder / "fleet.toml", ENVIRON if environ is None else environ)


def problems(text: str, folder: Path = FOLDER) -> tuple[Problem, ...]:
    """Every problem of a text; none when it is all right."""
    try:
        read(text, folder)
    except ConfigError as error:
        return error.problems
    return ()


def only_problem(text: str, folder: Path = FOLDER) -> Problem:
    found = problems(text, folder)
    assert len(found) == 1, "\n".join(map(str, found)) or "no problem was found"
    return found[0]
