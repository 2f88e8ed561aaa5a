"""The processes under this supervisor: who they are, how they ended, killing them. No policy.

A child is known by its PID once it was spawned or announced. We are a subreaper, so entities forked by a
fork server, and whatever a dead entity leaves behind, become our children too.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum

import psutil

from temporal_fleet.protocol.process import ProcessIdentity, is_alive, is_there, parent, start_time
from temporal_fleet.supervisor.core.fleet import HelperKey

_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_SWEEP_LIMIT = 2.0
_LOOKS = 3
_LAST_PID = 1 << 22
"""The highest that there can be (proc(5), pid_max)."""
_LAST_LIMIT = 10.0


@dataclass(frozen=True)
class EntityLife:
    entity: str
    incarnation: int


@dataclass(frozen=True)
class HelperLife:
    key: HelperKey
    life: int


class Trial(Enum):
    """The one process that tries new code, when there is one."""

    TRIAL = "trial"


TRIAL = Trial.TRIAL
Owner = EntityLife | HelperLife | Trial


@dataclass(frozen=True)
class Ended:
    """With a code or a signal, or with neither when nobody could tell."""

    owner: Owner
    pid: int
    code: int | None
    signal: str | None


@dataclass(frozen=True)
class _Foreign:
    life: EntityLife
    process: ProcessIdentity


def become_subreaper() -> None:
    """Raises OSError when the kernel refuses."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Children:
    def __init__(self) -> None:
        self._owners: dict[int, Owner] = {}
        self._greeted: dict[int, EntityLife] = {}
        """By their own word: the one that was to announce them may have been killed before it spoke."""
        self._foreign: dict[int, _Foreign] = {}
        """Survivors of an earlier supervisor, by pidfd."""

    def claim(self, pid: int, owner: Owner) -> None:
        """This PID, alive or a zombie that nobody waited for yet, is that one."""
        self._greeted.pop(pid, None)
        self._owners[pid] = owner

    def greeted(self, pid: int, life: EntityLife) -> None:
        """That life says that it has this PID. It is believed as far as it is a child of ours."""
        if pid not in self._owners and self._pidfd_of(life) is None:
            self._greeted[pid] = life

    def may_be_new(self, pid: int) -> bool:
        """Whether somebody's word may be true that this is the PID of an entity that was just forked: we may
        kill whom it names."""
        may_be = 1 < pid <= _LAST_PID and pid != os.getpid() and pid not in self._owners
        return may_be and not _is_elsewhere(pid)

    def is_known(self, pid: int) -> bool:
        return pid in self._owners or pid in self._greeted

    def lives(self) -> list[EntityLife]:
        """Of the entities that have a process."""
        everybody = (*self._owners.values(), *self._greeted.values())
        ours = [owner for owner in everybody if isinstance(owner, EntityLife)]
        return ours + [foreign.life for foreign in self._foreign.values()]

    def claim_if_ours(self, process: ProcessIdentity, life: EntityLife) -> bool:
        """Whether this process, alive or a zombie, is a child of ours; then it is claimed. The entities of a
        supervisor that was this very process are."""
        ours = is_ours(process)
        if ours:
            self.claim(process.pid, life)
        return ours

    def watch_foreign(self, process: ProcessIdentity, life: EntityLife) -> int | None:
        """A pidfd that becomes readable when this process, no child of ours, ends; None: it is gone."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return None
        if not is_alive(process):
            # It ended meanwhile, and what we opened may be another one with its PID.
            os.close(pidfd)
            return None
        self._foreign[pidfd] = _Foreign(life, process)
        return pidfd

    def foreign_ended(self, pidfd: int) -> Ended:
        foreign = self._foreign.pop(pidfd)
        os.close(pidfd)
        pid = foreign.process.pid
        # The number of a group with members is given to no new process: then it is still the dead one's.
        if start_time(pid) is None:
            _kill_group(pid)
        return Ended(foreign.life, pid, None, None)

    def pid_of(self, owner: Owner) -> int | None:
        if (pidfd := self._pidfd_of(owner)) is not None:
            return self._foreign[pidfd].process.pid
        claimed = next((pid for pid, known in self._owners.items() if known == owner), None)
        if claimed is not None:
            return claimed
        greeted = next((pid for pid, known in self._greeted.items() if known == owner), None)
        return greeted if greeted is not None and _is_child(greeted) else None

    def kill(self, owner: Owner) -> bool:
        """SIGKILL; False when there is no such process (any more)."""
        return self.signal(owner, signal.SIGKILL)

    def signal(self, owner: Owner, number: int) -> bool:
        """False when there is no such process (any more)."""
        if (pidfd := self._pidfd_of(owner)) is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
            return True
        pid = self.pid_of(owner)
        if pid is not None:
            # Ours and not yet waited for, so the PID cannot have been given to another process.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid is not None

    def reap(self, hear_announcements: Callable[[], None]) -> Iterator[Ended]:
        """Every known child that ended since the last time.

        `hear_announcements` is called at each dead child that nobody claimed: an entity may be dead before
        its PID is read. Whoever was announced, was announced before it became our child.
        """
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            pid = info.si_pid
            if pid not in self._owners:
                hear_announcements()
            owner = self._owners.pop(pid, None) or self._greeted.pop(pid, None)
            if isinstance(owner, EntityLife):
                # It led a session of its own; what it left there goes with it. It is not waited for yet,
                # so its PID still means its group.
                _kill_group(pid)
            code, signal_name = _how(info)
            os.waitpid(pid, 0)
            if owner is not None:
                yield Ended(owner, pid, code, signal_name)

    def _pidfd_of(self, owner: Owner) -> int | None:
        """Of one that is no child of ours."""
        return next((pidfd for pidfd, foreign in self._foreign.items() if foreign.life == owner), None)

    def kill_everything(self) -> None:
        """The last act of a supervisor: nothing outlives a stopped fleet."""
        limit = time.monotonic() + _LAST_LIMIT
        while time.monotonic() < limit:
            leftovers = _descendants()
            if not leftovers:
                return
            kill_children(leftovers)


def kill_children(pids: Collection[int]) -> None:
    """SIGKILL children and wait for them, within a limit: a process in a dead file system may linger."""
    for pid in pids:
        # One that changed its user (sudo in an activity) is not ours to kill.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + _SWEEP_LIMIT
    remaining = set(pids)
    while remaining and time.monotonic() < limit:
        for pid in tuple(remaining):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                remaining.discard(pid)
        time.sleep(0.001)


def marked(*markers: str) -> list[int]:
    """Our direct children whose command line has one of the markers."""
    commands = {pid: _command(pid) for pid, its in _parents().items() if its == os.getpid()}
    return [pid for pid, command in commands.items() if any(marker in command for marker in markers)]


def _descendants() -> list[int]:
    """The nearest first."""
    above = _parents()
    found = [pid for pid, its in above.items() if its == os.getpid()]
    for known in found:
        found.extend(pid for pid, its in above.items() if its == known)
    return found


def _parents() -> dict[int, int]:
    """Of all processes that are told to us: those of other users may be hidden (hidepid)."""
    found = ((pid, parent(pid)) for pid in psutil.pids())
    return {pid: its for pid, its in found if its is not None}


def _is_elsewhere(pid: int) -> bool:
    """Whether it is seen to be no child of ours, nor a child of one, and so on."""
    for _ in range(_LOOKS):
        above: int | None = pid
        while above is not None:
            if above == os.getpid():
                return False
            if above <= 1:
                return True
            above = parent(above)
        # It, or one above it, ended meanwhile: then it has another parent.
    return False


def is_ours(process: ProcessIdentity) -> bool:
    """Whether that very process is a child of ours, alive or a zombie."""
    return is_there(process) and _is_child(process.pid)


def _is_child(pid: int) -> bool:
    """Whether it is a child of ours, alive or a zombie."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how(info: os.waitid_result) -> tuple[int | None, str | None]:
    if info.si_code == os.CLD_EXITED:
        return info.si_status, None
    try:
        return None, signal.Signals(info.si_status).name
    except ValueError:
        return None, f"signal {info.si_status}"


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""
