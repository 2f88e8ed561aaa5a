"""Whether the code that is installed now could run the fleet of a file. Run as a module by a supervisor that
is about to become that code, with the file as its argument; the last line it prints is its version, or what
is wrong.
"""

import os
import sys
from pathlib import Path

from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli import main as command
from temporal_fleet.supervisor.cli import start
from temporal_fleet.supervisor.config.reader import ConfigError, load
from temporal_fleet.supervisor.shell import supervise

_IMPORTED = command, start, supervise
"""All that `up` needs: it is tried here."""


def main() -> None:
    try:
        load(Path(sys.argv[1]), os.environ)
    except ConfigError as error:
        sys.exit("; ".join(str(problem) for problem in error.problems))
    print(__version__)


if __name__ == "__main__":
    main()
