"""Which supervisor, if any, owns a run directory, and how it is. Looks only: takes no lock, since even a
shared one held for a moment would make a supervisor that starts just then give up.
"""

import os
import pwd
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from temporal_fleet.protocol.blackbox import read_head
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.process import is_alive
from temporal_fleet.protocol.rundir import RunDirectory

_CONNECT_WITHIN = 1.0
_PEER_CREDENTIALS = struct.Struct("iII")

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in an uninterruptible wait",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "a zombie",
    "X": "dead",
}


@dataclass(frozen=True)
class Listening:
    """A supervisor has its control socket open. It may still be stopped, or hang."""

    pid: int


@dataclass(frozen=True)
class Busy:
    """A supervisor owns the directory, and has no control socket: it starts, or it ends."""

    pid: int


@dataclass(frozen=True)
class Orphan:
    """An entity whose supervisor is gone."""

    entity: str
    pid: int


@dataclass(frozen=True)
class Absent:
    """No supervisor owns the directory. `orphans`: entities that a dead one left behind."""

    orphans: tuple[Orphan, ...]


@dataclass(frozen=True)
class Forbidden:
    """The directory belongs to somebody else."""

    owner: str


Presence = Listening | Busy | Absent | Forbidden


def look(run: RunDirectory) -> Presence:
    try:
        pid = _listener(run.control)
        if pid is not None:
            return Listening(pid or _written(run.pid) or 0)
        holder = _holder(run)
        if holder is not None:
            return Busy(holder)
        return Absent(orphans=_orphans(run))
    except PermissionError:
        return Forbidden(_owner(run.path))


def process_state(pid: int) -> str | None:
    """`stopped (state T)`; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    letter = stat[stat.rindex(")") + 2]
    return f"{_STATES.get(letter, 'in a state of its own')} (state {letter})"


def _listener(path: Path) -> int | None:
    """The process that listens on a socket path (0: one whose PID is not visible here); None: nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_WITHIN)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except (BlockingIOError, TimeoutError):
            # Its queue of connections is full: it lives, and accepts nothing.
            return 0
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid: int = _PEER_CREDENTIALS.unpack(credentials)[0]
    return pid


def _holder(run: RunDirectory) -> int | None:
    """The process that holds the lock of a run directory, as the kernel lists it (proc_locks(5))."""
    try:
        inode = run.lock.stat().st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
    written = _written(run.pid)
    for line in _locks() + _locks():
        fields = line.split()
        # "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END"; waiters have "->" after the number.
        if fields[1] != "FLOCK" or int(fields[5].rsplit(":", 1)[1]) != inode:
            continue
        pid = int(fields[4])
        # Another file system may have the same inode number, so the PID must agree; while a supervisor
        # has not yet written its own, the file is empty.
        if written in (None, pid):
            return pid
    return None


def _locks() -> list[str]:
    """The list comes in pieces: where a lock goes between two of them, another one is left out."""
    return Path("/proc/locks").read_text().splitlines()


def _written(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _orphans(run: RunDirectory) -> tuple[Orphan, ...]:
    found = []
    for path in sorted(run.entities.glob("*.blackbox")):
        try:
            process = read_head(path).process
        except (FileNotFoundError, PeerRubbish):
            # Gone since, or never completed: no sign of a live entity.
            continue
        if is_alive(process):
            found.append(Orphan(path.stem.rpartition(".")[0], process.pid))
    return tuple(found)


def _owner(path: Path) -> str:
    for folder in (path, *path.parents):
        try:
            uid = folder.stat().st_uid
        except (PermissionError, FileNotFoundError):
            continue
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"
    return "somebody else"
