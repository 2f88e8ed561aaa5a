"""What the control group of a process allows it and has used: the unified hierarchy (cgroup v2), or the
memory and pids controllers in hierarchies of their own (v1). What cannot be read is not known."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from temporal_fleet.supervisor.core.host_health import Group

ROOT = Path("/sys/fs/cgroup")

_MEMORY_LIMIT = ("memory.max", "memory.limit_in_bytes")
_MEMORY_USED = ("memory.current", "memory.usage_in_bytes")
_PIDS_LIMIT = ("pids.max",)


def of_process(pid: int | None, memory: int) -> Group:
    """Of this process where there is none such. `memory`: bytes of the host, beyond which a limit is none."""
    return group(_lines(Path(f"/proc/{pid or 'self'}/cgroup")), memory, ROOT)


def group(lines: Iterable[str], memory: int, root: Path) -> Group:
    """`lines`: of /proc/PID/cgroup (cgroups(7)). The narrowest limit on the way up counts."""
    paths: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    of_memory, of_pids = _folders("memory", paths, root), _folders("pids", paths, root)
    memory_folder = _narrowest(of_memory, _MEMORY_LIMIT, memory)
    pids_folder = _narrowest(of_pids, _PIDS_LIMIT, sys.maxsize)
    names = (Path(paths.get(controller, "/")).name for controller in ("", "memory", "pids"))
    name = next(filter(None, names), "")
    return Group(
        name=f"the control group {name}" if name else "the root control group",
        memory_max=None if memory_folder is None else _first(memory_folder, _MEMORY_LIMIT),
        memory_used=None if memory_folder is None else _memory_used(memory_folder),
        pids_max=None if pids_folder is None else _first(pids_folder, _PIDS_LIMIT),
        pids_used=None if pids_folder is None else _number(pids_folder / "pids.current"),
        oom_kills=_oom_kills(of_memory[0]),
    )


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


def _narrowest(folders: Iterable[Path], files: tuple[str, ...], most: int) -> Path | None:
    limits = [(limit, folder) for folder in folders if (limit := _first(folder, files)) is not None]
    limit, folder = min(limits, key=lambda each: each[0], default=(most, None))
    return folder if limit < most else None


def _memory_used(folder: Path) -> int | None:
    """Without what the kernel gives back when it is asked for."""
    used = _first(folder, _MEMORY_USED)
    if used is None:
        return None
    stat = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
    return max(0, used - int(stat.get("total_inactive_file", stat.get("inactive_file", "0"))))


def _oom_kills(folder: Path) -> int:
    """In the group and below it, since it was made."""
    files = ("memory.events", "memory.oom_control")
    told = [line.split() for file in files for line in _lines(folder / file)]
    return next((int(words[1]) for words in told if words[0] == "oom_kill"), 0)


def _first(folder: Path, files: tuple[str, ...]) -> int | None:
    return next((number for file in files if (number := _number(folder / file)) is not None), None)


def _number(file: Path) -> int | None:
    """None too for `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
