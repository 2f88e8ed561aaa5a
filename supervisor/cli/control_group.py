"""What the control group of a process allows it and has used: the unified hierarchy (cgroup v2), or the
memory and pids controllers in hierarchies of their own (v1). What cannot be read is not known."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from temporal_fleet.supervisor.cli import kernel_files
from temporal_fleet.supervisor.core.host_health import Group, Limit

ROOT = Path("/sys/fs/cgroup")

_MEMORY_LIMIT = ("memory.max", "memory.limit_in_bytes")
_MEMORY_USED = ("memory.current", "memory.usage_in_bytes")
_PIDS_LIMIT = ("pids.max",)


def of_process(pid: int | None, memory: int) -> Group:
    """Of this process where there is none such. `memory`: bytes of the host, beyond which a limit is none."""
    return group(kernel_files.lines(Path(f"/proc/{pid or 'self'}/cgroup")), memory, ROOT)


def group(lines: Iterable[str], memory: int, root: Path) -> Group:
    """`lines`: of /proc/PID/cgroup (cgroups(7)). The limits of every group on the way up hold."""
    paths: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    of_memory, of_pids = _folders("memory", paths, root), _folders("pids", paths, root)
    names = (Path(paths.get(controller, "/")).name for controller in ("", "memory", "pids"))
    name = _called(next(filter(None, names), ""))
    memory_limits = [
        limit for limit in _limits(of_memory, _MEMORY_LIMIT, _memory_used, name) if limit.most < memory
    ]
    pids_limits = _limits(of_pids, _PIDS_LIMIT, _pids_used, name)
    return Group(
        name=name,
        memory=min(memory_limits, key=_left, default=None),
        memory_max=min((limit.most for limit in memory_limits), default=None),
        pids=min(pids_limits, key=_left, default=None),
        oom_kills=_oom_kills(of_memory[0]),
        dies_as_one=_dies_as_one(of_memory, name),
    )


def _called(name: str) -> str:
    return f"the control group {name}" if name else "the root control group"


def _left(limit: Limit) -> int:
    return limit.most - limit.used


def _folders(controller: str, paths: Mapping[str, str], root: Path) -> list[Path]:
    """The group of that controller, and those that it stands in."""
    if controller in paths:
        root, path = root / controller, paths[controller]
    else:
        path = paths.get("", "/")
    inner = Path(path.lstrip("/"))
    found = [root / each for each in (inner, *inner.parents)]
    # In a container it has the name that it has outside, and is the root there.
    return [folder for folder in found if folder.is_dir()] or [root]


def _limits(
    folders: Sequence[Path], files: tuple[str, ...], used: Callable[[Path], int | None], name: str
) -> list[Limit]:
    """From the group of that `name` on the way up, to the root."""
    return [
        Limit(called, most, used(folder) or 0)
        for called, folder in _named(folders, name)
        if (most := _first(folder, files)) is not None
    ]


def _named(folders: Sequence[Path], name: str) -> Iterator[tuple[str, Path]]:
    names = [name, *(_called(folder.name) for folder in folders[1:-1]), _called("")]
    return zip(names, folders, strict=False)


def _dies_as_one(folders: Sequence[Path], name: str) -> str | None:
    """The outermost one for which that was asked (memory.oom.group of v2)."""
    asked = [
        called for called, folder in _named(folders, name) if kernel_files.number(folder / "memory.oom.group")
    ]
    return asked[-1] if asked else None


def _memory_used(folder: Path) -> int | None:
    """Without what the kernel gives back when it is asked for."""
    used = _first(folder, _MEMORY_USED)
    if used is None:
        return None
    stat = dict(line.split(maxsplit=1) for line in kernel_files.lines(folder / "memory.stat"))
    return max(0, used - int(stat.get("total_inactive_file", stat.get("inactive_file", "0"))))


def _pids_used(folder: Path) -> int | None:
    return kernel_files.number(folder / "pids.current")


def _oom_kills(folder: Path) -> int:
    """In the group and below it, since it was made."""
    files = ("memory.events", "memory.oom_control")
    told = [line.split() for file in files for line in kernel_files.lines(folder / file)]
    return next((int(words[1]) for words in told if words[0] == "oom_kill"), 0)


def _first(folder: Path, files: tuple[str, ...]) -> int | None:
    found = (kernel_files.number(folder / file) for file in files)
    return next((each for each in found if each is not None), None)
