"""Whether a host gives a fleet what it asks for: versions, limits, memory, disks, clock. Values in, findings
out; how they are got at is the command's matter."""

from collections.abc import Iterator
from dataclasses import dataclass

from temporal_fleet.supervisor.core.findings import Finding, Level, judged, ok, problem, unseen, warning
from temporal_fleet.supervisor.core.sizes import size

SUPERVISOR = "supervisor"
"""No entity is named so: their ids end in numbers."""
ENTITY_FILES = 48
"""Descriptors of an entity that does nothing yet (30, measured), and some for what its program opens."""
SUPERVISOR_FILES = 64
"""Descriptors of the supervisor itself (21, measured), besides two for each entity."""
ENTITY_TASKS = 6
"""Threads of an entity that does nothing, besides one for each processor (8 on 2 processors, measured)."""
_LITTLE_DISK = 256 << 20
_LITTLE_PART = 0.05
"""Of a disk, from which down there is little left."""
_IN_MEMORY = ("tmpfs", "ramfs")
_COPY_ON_WRITE = ("btrfs", "zfs", "bcachefs")


@dataclass(frozen=True)
class Versions:
    python: str
    installed: str
    """Of temporal-fleet, here."""
    sdk: str | None
    """Of temporalio; None: it is not installed."""
    sdk_wanted: str
    """`<1.36,>=1.35`: what this version of ours is made for."""
    sdk_suits: bool
    running: str | None = None
    """Of the supervisor's own code; None: none runs."""


@dataclass(frozen=True)
class OpenFiles:
    """Of one process that runs."""

    process: str
    """SUPERVISOR, or an entity's id."""
    open: int
    limit: int


@dataclass(frozen=True)
class Limit:
    """Of something that runs out in a control group."""

    group: str
    """Whose it is: the fleet's, or one in which that stands."""
    most: int
    used: int


@dataclass(frozen=True)
class Group:
    """The control group in which the fleet runs, or would. None: no such limit, or nobody knows."""

    name: str
    memory: Limit | None = None
    """The one that leaves the least. Used is without what the kernel gives back when it is asked for."""
    memory_max: int | None = None
    """The lowest limit, however much of it is used."""
    pids: Limit | None = None
    """The one that leaves the least."""
    oom_kills: int = 0
    """Since the group was made."""
    dies_as_one: str | None = None
    """The group, ours or one in which that stands, of which all are killed when one is for want of memory."""


@dataclass(frozen=True)
class Disk:
    purpose: str
    """`run_dir`, `state_dir`, `log_dir`."""
    path: str
    filesystem: str
    free: int
    """Bytes, for who is not root."""
    total: int
    free_files: int | None
    """Inodes; None: there is no such limit."""
    writable: bool | None
    """By the fleet's user; None: that is another one than who looks."""


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at."""

    what: str
    """Such as the purpose of a disk."""
    reason: str


@dataclass(frozen=True)
class Host:
    versions: Versions
    processors: int
    memory: int
    memory_available: int
    """Bytes, by the kernel's own estimate (MemAvailable)."""
    overcommit: int | None
    """vm.overcommit_memory."""
    open_files: int
    """Limit of the supervisor; where none runs, the hard one of its unit, or else of this process, which it
    would have."""
    tasks: int | None
    """Soft RLIMIT_NPROC; None: unlimited, or this user is not bound by it, or is not the fleet's."""
    tasks_used: int
    """Of this user, the fleet's own included."""
    group: Group
    disks: tuple[Disk, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    processes: tuple[OpenFiles, ...] = ()
    """Of the fleet, if it runs."""
    clock_synchronised: bool | None = None
    """What the kernel says of the clock; None: it says nothing."""


@dataclass(frozen=True)
class Demand:
    """What the config, or else the fleet that runs, asks for."""

    entities: int
    """That are not there yet are counted as well."""
    running: int = 0
    """Of those, how many run already."""
    memory: int | None = None
    """Bytes that all entities together may take; None: no limit says so."""
    memory_by: str = ""
    """The key that says so."""
    blackbox: int = 0
    """Bytes of one black box."""
    logs: int = 0
    """Bytes of all log files in log_dir, at most."""


def host_findings(host: Host, demand: Demand | None, *, clock_is_told: bool) -> Iterator[Finding]:
    """`demand` is None where there is no fleet to ask anything; `clock_is_told`: a look at the Cluster told
    more of the clock than the host knows."""
    yield from _versions(host.versions)
    yield from _open_files(host, demand)
    yield from _tasks(host, demand)
    yield from _group(host.group)
    yield from _memory(host, demand)
    yield from _disks(host.disks, demand)
    yield from (unseen(each.what, each.reason) for each in host.unseen)
    if not clock_is_told:
        yield from _clock(host)


def _versions(versions: Versions) -> Iterator[Finding]:
    yield ok("Python", versions.python)
    if versions.running is not None and versions.running != versions.installed:
        yield warning(
            "temporal-fleet",
            f"{versions.installed} is installed, the supervisor runs {versions.running}",
            "temporal-fleet upgrade",
        )
    else:
        yield ok("temporal-fleet", versions.installed)
    wanted = f'pip install "temporalio{versions.sdk_wanted}"'
    if versions.sdk is None:
        yield problem("temporalio", "it is not installed here", wanted)
    elif not versions.sdk_suits:
        yield problem("temporalio", f"{versions.sdk} is not within {versions.sdk_wanted}", wanted)
    else:
        yield ok("temporalio", f"{versions.sdk}, within {versions.sdk_wanted}")


def _open_files(host: Host, demand: Demand | None) -> Iterator[Finding]:
    if host.processes:
        worst = max(host.processes, key=lambda process: process.open / max(1, process.limit))
        yield Finding(
            judged(worst.open, worst.limit - 1),
            "open files",
            f"{worst.process}, the nearest to its limit: {worst.open} of {worst.limit}",
            ""
            if judged(worst.open, worst.limit - 1) is Level.OK
            else "raise LimitNOFILE= of the unit, or ulimit -Hn before `up`; of a pool: resources.open_files",
        )
    if demand is None:
        return
    supervisor = next((each.open for each in host.processes if each.process == SUPERVISOR), None)
    if supervisor is None:
        needed = max(SUPERVISOR_FILES + 2 * demand.entities, ENTITY_FILES)
    else:
        needed = supervisor + 2 * max(0, demand.entities - demand.running)
    level = judged(needed, host.open_files)
    if level is not Level.OK or not host.processes:
        yield Finding(
            level,
            "open files",
            f"some {needed} for the supervisor of {demand.entities} entities, of {host.open_files}",
            "" if level is Level.OK else "raise LimitNOFILE= of the unit, or ulimit -Hn before `up`",
        )


def _tasks(host: Host, demand: Demand | None) -> Iterator[Finding]:
    more = _tasks_to_come(host, demand)
    limits = []
    if host.tasks is not None:
        key = "ulimit -u before `up`, LimitNPROC= of the unit"
        limits.append((host.tasks, host.tasks_used, "processes of this user", key))
    if (pids := host.group.pids) is not None:
        key = f"TasksMax= of {_owner(pids, host.group)}"
        limits.append((pids.most, pids.used, f"processes in {pids.group}", key))
    for limit, used, what, key in limits:
        level = judged(used + more, limit)
        to_come = f", and some {more} to come" if more else ""
        remedy = "" if level is Level.OK else f"raise the limit: {key}"
        yield Finding(level, what, f"{used}{to_come}, threads included, of {limit}", remedy)


def _owner(limit: Limit, group: Group) -> str:
    """Where it is raised."""
    return "the unit" if limit.group == group.name else limit.group


def _tasks_to_come(host: Host, demand: Demand | None) -> int:
    if demand is None:
        return 0
    return max(0, demand.entities - demand.running) * (ENTITY_TASKS + host.processors)


def _group(group: Group) -> Iterator[Finding]:
    if group.oom_kills:
        yield warning(
            "out of memory",
            f"the kernel has killed {group.oom_kills} processes in {group.name}",
            "raise MemoryMax= of the unit, or give the pools memory.evict_above and memory.kill_above",
        )
    if group.dies_as_one is not None:
        yield warning(
            "out of memory together",
            f"memory.oom.group of {group.dies_as_one} is set: who is killed takes all others along",
            "OOMPolicy=continue in the unit; in Kubernetes singleProcessOOMKill of the kubelet",
        )
    if group.memory is None:
        return
    level = judged(group.memory.used, group.memory.most, from_=0.9)
    figure = f"{size(group.memory.used)} of {size(group.memory.most)}"
    remedy = f"raise MemoryMax= of {_owner(group.memory, group)}, or run fewer entities"
    yield Finding(level, f"memory of {group.memory.group}", figure, "" if level is Level.OK else remedy)


def _memory(host: Host, demand: Demand | None) -> Iterator[Finding]:
    there = min(host.memory, host.group.memory_max or host.memory)
    figure = f"{size(host.memory_available)} available of {size(host.memory)}"
    if host.memory_available < _LITTLE_PART * host.memory:
        yield warning("memory", figure, "the kernel is about to kill: run fewer entities, or evict")
    else:
        yield ok("memory", figure)
    if demand is not None and demand.memory is not None:
        asked = f"{demand.memory_by} lets the entities take {size(demand.memory)} of {size(there)}"
        if demand.memory > there:
            yield problem("memory limits", asked, f"lower {demand.memory_by}, or run fewer entities")
        elif not demand.running and demand.memory > host.memory_available:
            yield warning(
                "memory limits",
                f"{asked}, of which {size(host.memory_available)} is available now",
                f"free some, or lower {demand.memory_by}",
            )
        else:
            yield ok("memory limits", asked)
    if host.overcommit == 2:
        yield warning(
            "overcommit",
            "vm.overcommit_memory = 2: a fork may fail though memory is free",
            "sysctl vm.overcommit_memory=0",
        )


def _disks(disks: tuple[Disk, ...], demand: Demand | None) -> Iterator[Finding]:
    for disk in disks:
        needed = 0 if demand is None else _needed(disk, demand)
        figure = f"{size(disk.free)} free of {size(disk.total)} on {disk.filesystem}, {disk.path}"
        if disk.writable is False:
            yield problem(disk.purpose, f"{disk.path} cannot be written", "chown it, or name another")
        elif disk.free < needed:
            yield problem(disk.purpose, f"{figure}; {size(needed)} needed", "free some, or name another")
        elif disk.free_files is not None and disk.free_files < 100:
            yield problem(disk.purpose, f"{disk.free_files} inodes free, {disk.path}", "remove files there")
        elif disk.free < min(_LITTLE_DISK, _LITTLE_PART * disk.total):
            yield warning(disk.purpose, figure, "free some, before it is full")
        elif disk.purpose == "run_dir" and disk.filesystem in _COPY_ON_WRITE:
            yield warning(
                disk.purpose,
                f"{disk.path} is on {disk.filesystem}, where each write needs space",
                "name a folder under /run: entities die here (SIGBUS) when the disk is full",
            )
        elif disk.purpose == "run_dir" and disk.filesystem not in _IN_MEMORY:
            yield warning(
                disk.purpose,
                f"{disk.path} is on {disk.filesystem}, not in memory",
                "name a folder under /run, where a busy disk delays nothing",
            )
        else:
            yield ok(disk.purpose, figure)


def _needed(disk: Disk, demand: Demand) -> int:
    match disk.purpose:
        case "run_dir":
            return demand.blackbox * max(0, demand.entities - demand.running)
        case "log_dir":
            return demand.logs
        case _:
            return 0


def _clock(host: Host) -> Iterator[Finding]:
    if host.clock_synchronised is False:
        yield warning(
            "clock of the host",
            "the kernel says that nothing keeps it in step",
            "run chrony or systemd-timesyncd; where the hypervisor sets the clock, this is no news",
        )
    elif host.clock_synchronised:
        yield ok("clock of the host", "kept in step, says the kernel")
