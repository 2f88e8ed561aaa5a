"""Whether the code that is installed now could run the fleet of a file. Run as a module by a supervisor that
is about to become that code, with the file as its argument; the last line it prints is its version, or what
is wrong.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from temporal_fleet.protocol.blackbox import VERSION, read_head
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.process import is_alive
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli import main as command
from temporal_fleet.supervisor.cli import start
from temporal_fleet.supervisor.config.reader import ConfigError, load
from temporal_fleet.supervisor.shell import supervise

_IMPORTED = command, start, supervise
"""All that `up` needs: it is tried here."""


def main() -> None:
    try:
        config = load(Path(sys.argv[1]), os.environ)
    except ConfigError as error:
        sys.exit("; ".join(str(problem) for problem in error.problems))
    layouts = sorted(_foreign_layouts(RunDirectory(config.fleet.run_dir)))
    if layouts:
        sys.exit(
            f"what its entities hold is written in layout {', '.join(map(str, layouts))}, and this code "
            f"reads layout {VERSION}: stop the fleet, and start it with this code"
        )
    print(__version__)


def _foreign_layouts(run: RunDirectory) -> set[int]:
    """Of the black boxes of entities that live, those that cannot be read: nothing could be recovered."""
    found = set()
    for path in run.entities.glob("*.blackbox"):
        with suppress(OSError, PeerRubbish):
            head = read_head(path)
            if head.layout != VERSION and is_alive(head.process):
                found.add(head.layout)
    return found


if __name__ == "__main__":
    main()
