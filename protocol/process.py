"""Which process is meant: a PID alone is reused, a PID with its start time and boot id is not."""

import os
from pathlib import Path

import msgspec


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    start_time: int
    """Clock ticks since boot (field 22 of /proc/PID/stat, proc(5))."""
    boot_id: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None when there is no such process, or only its
    zombie."""
    stat = _stat(pid)
    return None if stat is None or stat[0] in {b"Z", b"X"} else int(stat[19])


def parent(pid: int) -> int | None:
    """None: there is no such process, or nobody tells us of it."""
    stat = _stat(pid)
    return None if stat is None else int(stat[1])


def own_identity() -> ProcessIdentity:
    pid = os.getpid()
    started = start_time(pid)
    assert started is not None
    return ProcessIdentity(pid=pid, start_time=started, boot_id=boot_id())


def is_there(identity: ProcessIdentity) -> bool:
    """Whether that very process is there, alive or a zombie."""
    stat = _stat(identity.pid)
    return identity.boot_id == boot_id() and stat is not None and int(stat[19]) == identity.start_time


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether that very process lives: not a zombie, not another one with its PID, not before a reboot."""
    return identity.boot_id == boot_id() and start_time(identity.pid) == identity.start_time


def _stat(pid: int) -> list[bytes] | None:
    """From its state on: field 3 of /proc/PID/stat. None: there is none, or it is hidden from us, as those of
    other users may be (hidepid)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name in parentheses may hold any byte, spaces and parentheses among them.
    return stat[stat.rindex(b")") + 2 :].split()
