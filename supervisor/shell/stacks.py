"""The Python stacks of an entity: asking for them, reading what it wrote. Who wants them is not known here.

An entity appends them to its stacks file when it gets the signal.
"""

import stat
from dataclasses import dataclass
from pathlib import Path

from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.signals import DUMP_STACKS, TAKES_SIGNAL
from temporal_fleet.supervisor.shell.children import Children, EntityLife


@dataclass(frozen=True)
class Dump:
    """The stacks stand in `path` from `offset` on, as soon as the entity has written them."""

    pid: int
    path: Path
    offset: int


def ask_for_stacks(paths: RunDirectory, children: Children, life: EntityLife) -> Dump | None:
    """None when there is no process of ours to ask, or none that can take the signal yet."""
    path = paths.stacks(life.entity, life.incarnation)
    pid = children.pid_of(life)
    try:
        found = path.stat()
    except OSError:
        return None
    is_deadly = stat.S_IMODE(found.st_mode) != TAKES_SIGNAL
    if is_deadly or pid is None or not children.signal(life, DUMP_STACKS):
        return None
    return Dump(pid, path, found.st_size)


def read_stacks(dump: Dump) -> str:
    """What it wrote by now; empty when it wrote nothing, or nothing that can be read."""
    try:
        with dump.path.open("rb") as file:
            file.seek(dump.offset)
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
