"""The config of a command: read from a file or from options, or every error in it told at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from temporal_fleet.supervisor.cli.failure import Problems
from temporal_fleet.supervisor.cli.human import count

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config

T = TypeVar("T")

# The models take longer to import than all else that `status` needs: only who reads a config imports them.


def load(path: Path) -> "Config":
    """Raises Problems with every error of the file, and with all that this host does not have."""
    from temporal_fleet.supervisor.config import reader
    from temporal_fleet.supervisor.config.host import this_host

    return checked(str(path), lambda: reader.load(path, os.environ, this_host()))


def checked(name: str, read: Callable[[], T], failure: type[Problems] = Problems) -> T:
    """What `read` returns; a failure, about `name`, when it raises ConfigError."""
    from temporal_fleet.supervisor.config.reader import ConfigError

    try:
        return read()
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
        raise failure(f"{count(len(problems), 'error')} in {name}", problems) from error
