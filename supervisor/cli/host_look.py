"""What there is to be known of this host, for `doctor`: looked at and told. Whether it is enough is judged in
core/host_health.

What cannot be read is not there: a look never fails.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli import control_group, kernel_files
from temporal_fleet.supervisor.core.host_health import SUPERVISOR, Disk, Host, OpenFiles, Unseen, Versions

_DISTRIBUTION = "temporal-fleet"
_SDK = "temporalio"
_TIMEX_BYTES = 512
"""More than a struct timex has on any machine."""
_TIME_ERROR = 5
_OPEN_FILES = "Max open files"
_EXEMPT = (21, 24)
"""CAP_SYS_ADMIN and CAP_SYS_RESOURCE: RLIMIT_NPROC does not bind who has them (getrlimit(2))."""


def look(
    *,
    supervisor: int | None,
    running: str | None,
    entities: Mapping[str, int],
    folders: Mapping[str, Path],
    is_ours: bool,
    open_files: int | None,
) -> Host:
    """`supervisor`: its PID, `running`: the version of its code; `entities`: the PIDs by their ids; `folders`
    by what they are for; `is_ours`: whether the fleet's user is the one who looks; `open_files`: the
    limit that a supervisor would have, where that is known."""
    memory = psutil.virtual_memory()
    processes = {**({SUPERVISOR: supervisor} if supervisor else {}), **entities}
    disks = [_disk(purpose, path, is_ours=is_ours) for purpose, path in folders.items()]
    return Host(
        versions=_versions(running),
        processors=len(os.sched_getaffinity(0)),
        memory=memory.total,
        memory_available=memory.available,
        overcommit=kernel_files.number(Path("/proc/sys/vm/overcommit_memory")),
        open_files=_open_files_limit(supervisor) if supervisor else open_files or _to_come(),
        tasks=_soft(resource.RLIMIT_NPROC) if is_ours and not _is_exempt() else None,
        tasks_used=_tasks_of(os.getuid()),
        group=control_group.of_process(supervisor, memory.total),
        disks=tuple(each for each in disks if isinstance(each, Disk)),
        unseen=tuple(each for each in disks if isinstance(each, Unseen)),
        processes=tuple(_open_files(processes)),
        clock_synchronised=_clock_synchronised(),
    )


def _versions(running: str | None) -> Versions:
    # A third of a second, which no other command needs.
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        sdk = metadata.version(_SDK)
    except metadata.PackageNotFoundError:
        sdk = None
    wanted = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or ()]
    pinned = next(each.specifier for each in wanted if each.name == _SDK)
    return Versions(
        python=sys.version.split()[0],
        installed=__version__,
        sdk=sdk,
        sdk_wanted=str(pinned),
        sdk_suits=sdk is not None and pinned.contains(sdk, prereleases=True),
        running=running,
    )


def _open_files(processes: Mapping[str, int]) -> Iterable[OpenFiles]:
    for name, pid in processes.items():
        # Gone meanwhile, or another user's.
        with suppress(OSError):
            opened = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counted only
            yield OpenFiles(name, opened, _open_files_limit(pid))


def _open_files_limit(pid: int) -> int:
    """The soft one, which everybody may read there; sys.maxsize: unlimited, or it is gone."""
    for line in kernel_files.lines(Path(f"/proc/{pid}/limits")):
        if line.startswith(_OPEN_FILES):
            soft = line.removeprefix(_OPEN_FILES).split()[0]
            return int(soft) if soft.isdecimal() else sys.maxsize
    return sys.maxsize


def _to_come() -> int:
    """Of a supervisor, which raises its own to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _disk(purpose: str, path: Path, *, is_ours: bool) -> Disk | Unseen:
    """Of the folder that is there, on the way up from one that is not there yet."""
    try:
        folder = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
        found = os.statvfs(folder)
        filesystem = _filesystem(folder)
    except OSError as error:
        return Unseen(purpose, f"{error.strerror}: {path}")
    return Disk(
        purpose=purpose,
        path=str(path),
        filesystem=filesystem,
        free=found.f_bavail * found.f_frsize,
        total=found.f_blocks * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
        writable=os.access(folder, os.W_OK | os.X_OK) if is_ours else None,
    )


def _filesystem(folder: Path) -> str:
    """Its type, as proc_pid_mountinfo(5) has it: the mount whose point is the longest above the folder."""
    real = folder.resolve()
    best, kind = -1, "an unknown file system"
    for line in kernel_files.lines(Path("/proc/self/mountinfo")):
        mount, _, rest = line.partition(" - ")
        point = Path(mount.split()[4].encode().decode("unicode_escape"))
        if (real == point or point in real.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind


def _tasks_of(uid: int) -> int:
    tasks = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == uid:
                tasks += process.num_threads()
    return tasks


def _is_exempt() -> bool:
    for line in kernel_files.lines(Path("/proc/self/status")):
        if line.startswith("CapEff:"):
            return any(int(line.split()[1], 16) >> number & 1 for number in _EXEMPT)
    return False


def _clock_synchronised() -> bool | None:
    """As adjtimex(2) tells without being asked to change anything."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.byref(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _soft(which: int) -> int | None:
    soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft
