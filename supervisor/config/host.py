"""What this host, and this process on it, can give to the processes of a pool. Looked at and told; whether it
is enough is in `resources.py`."""

import os
import pwd
import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Access = tuple[Path, int]
"""A path, and how somebody wants to use it: os.R_OK, os.X_OK or both."""

CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
}
"""Those that we may need, by capabilities(7), and their numbers."""

FOR_USERS: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL")
"""What it takes to run processes as another user, to read what they leave behind, and to end them."""


@dataclass(frozen=True)
class Account:
    """A user as the system knows it."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """All that it is in, its own included."""
    home: str


def account(name: str) -> Account | None:
    """None: there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def become(user: Account) -> None:
    """For good, in a process that was just forked. Raises OSError."""
    if user.uid == os.geteuid() == os.getuid():
        return
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)


def refused(user: Account, wanted: Sequence[Access]) -> list[Path]:
    """What of this the user may not use so, or is not there. Only for who may become that user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(user)
            answers = bytes(os.access(path, mode) for path, mode in wanted)
            os.write(writing, answers)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answers = pipe.read().ljust(len(wanted), b"\0")
    os.waitpid(child, 0)
    return [path for (path, _), allowed in zip(wanted, answers, strict=True) if not allowed]


@dataclass(frozen=True)
class Host:
    cpus: frozenset[int]
    """That this process may run on."""
    memory: int
    """Bytes."""
    open_files: int
    """The most that this process may allow."""
    lowest_nice: int
    """That this process may give."""
    uid: int
    capabilities: frozenset[str]
    """Of CAPABILITIES, those that this process has."""
    account: Callable[[str], Account | None] = account
    refused: Callable[[Account, Sequence[Access]], list[Path]] = refused


def this_host() -> Host:
    mask = _capability_mask()
    capabilities = frozenset(name for name, number in CAPABILITIES.items() if mask >> number & 1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    largest = int(Path("/proc/sys/fs/nr_open").read_text())
    nice, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return Host(
        cpus=frozenset(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        open_files=largest if "CAP_SYS_RESOURCE" in capabilities else hard,
        lowest_nice=-20 if "CAP_SYS_NICE" in capabilities else _lowest_nice(nice),
        uid=os.geteuid(),
        capabilities=capabilities,
    )


def missing(host: Host, needed: Iterable[str]) -> list[str]:
    return [name for name in needed if name not in host.capabilities]


def _lowest_nice(limit: int) -> int:
    """getrlimit(2): the ceiling is 20 minus it."""
    present = os.getpriority(os.PRIO_PROCESS, 0)
    return min(present, 20 - limit) if limit != resource.RLIM_INFINITY else -20


def _capability_mask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
