"""Within which limits, and as whom, a process that we start runs. Set between fork and exec, so that nothing
of a program ever runs otherwise, not even its import; its forks inherit all of it. Whether the host allows it
is checked in the config, before."""

import os
import resource
import stat
from pathlib import Path

from temporal_fleet.protocol.spec import Limits
from temporal_fleet.supervisor.config.host import Account, account, become
from temporal_fleet.supervisor.shell.inherited import Inherited

_OF_THE_SUPERVISOR = "XDG_"
"""How variables begin that name folders of the user who runs the supervisor."""


class Confinement:
    """Raises OSError when there is no such user (any more)."""

    def __init__(self, limits: Limits, inherited: Inherited | None = None) -> None:
        """`inherited`: for what runs a program; we ourselves have what is better for us."""
        self._limits = limits
        self._inherited = inherited
        self._user = named(limits.user) if limits.user is not None else None

    def environment(self) -> dict[str, str]:
        """Ours, as that user has it."""
        if self._user is None:
            return dict(os.environ)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SUPERVISOR)}
        return {**kept, "HOME": self._user.home, "USER": self._user.name, "LOGNAME": self._user.name}

    def enter(self) -> None:
        """In the child that was just forked. The user comes last: the rest may take our rights.

        Raises OSError, ValueError.
        """
        limits = self._limits
        if self._inherited is not None:
            self._inherited.restore()
        if limits.nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
        if limits.cpus is not None:
            os.sched_setaffinity(0, limits.cpus)
        if limits.open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
        if limits.memory_max is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_max, limits.memory_max))
        if self._user is not None:
            become(self._user)


def named(user: str) -> Account:
    """Raises OSError when there is no such user (any more)."""
    found = account(user)
    if found is None:
        raise OSError(f"there is no user {user}")
    return found


def make_log_folder(log_dir: Path, user: Account) -> None:
    """The folder that is that user's in the one of all logs. Raises OSError."""
    log_dir.mkdir(parents=True, exist_ok=True)
    # To be passed through; what may be read in it is another matter.
    log_dir.chmod(stat.S_IMODE(log_dir.stat().st_mode) | 0o011)
    folder = log_dir / user.name
    folder.mkdir(mode=0o700, exist_ok=True)
    # Whoever may write to the folder above could have put a link there.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, user.uid, user.gid)
    finally:
        os.close(descriptor)
