"""What a process may have of its host, as it finds out for itself."""

import grp
import os
import resource
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow

AT_IMPORT = {"uid": os.getuid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}


@activity.defn
def look(closed: list[str]) -> dict[str, Any]:
    return {
        "at_import": AT_IMPORT,
        "entity": Path("/proc/self/comm").read_text().strip(),
        "uids": sorted(set(os.getresuid())),
        "groups": sorted({grp.getgrgid(gid).gr_name for gid in {*os.getresgid(), *os.getgroups()}}),
        "home": os.environ.get("HOME"),
        "user": os.environ.get("USER"),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cpus": sorted(os.sched_getaffinity(0)),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "umask": _umask(),
        "memory_max": resource.getrlimit(resource.RLIMIT_DATA),
        "came_to": [path for path in closed if _comes_to(Path(path))],
    }


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


@activity.defn
def grow(mebibytes: int) -> str:
    try:
        return str(len(bytearray(mebibytes << 20)))
    except MemoryError:
        return "MemoryError"


def _comes_to(path: Path) -> bool:
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(path))
        elif path.is_dir():
            list(path.iterdir())
        else:
            path.read_bytes()
    except PermissionError:
        return False
    return True


@workflow.defn
class Ask:
    @workflow.run
    async def run(self, name: str, argument: Any) -> Any:
        return await workflow.execute_activity(name, argument, start_to_close_timeout=timedelta(minutes=1))
