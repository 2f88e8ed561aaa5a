"""Memory of processes, as the kernel tells it. Read when asked for: PSS costs over a millisecond each."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PSS_KEPT_FOR = 2.0
"""Seconds for which a PSS reading is shown again: `status --watch` must not become a load."""


@dataclass(frozen=True)
class Memory:
    rss: int
    pss: int | None


def resident_bytes(pid: int) -> int | None:
    """RSS; None when the process is gone, or only its zombie is left."""
    try:
        with Path(f"/proc/{pid}/statm").open("rb", buffering=0) as statm:
            pages = int(statm.read().split()[1])
    # Gone, or no descriptor left: a figure less, no more.
    except OSError:
        return None
    return pages * resource.getpagesize() or None


def proportional_bytes(pid: int) -> int | None:
    """PSS; None when the process is gone or not ours to look at."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.Error, OSError):
        return None


class Vitals:
    def __init__(self) -> None:
        self._pss: dict[int, tuple[float, int]] = {}

    def read(self, pid: int, *, pss: bool) -> Memory | None:
        """Bytes; None when the process is gone. `pss` None where it was not asked for or is not allowed."""
        try:
            process = psutil.Process(pid)
            return Memory(process.memory_info().rss, self._read_pss(process) if pss else None)
        # Gone, not ours to look at, or no descriptor left: a figure less, no more.
        except (psutil.Error, OSError):
            return None

    def _read_pss(self, process: psutil.Process) -> int | None:
        now = time.monotonic()
        self._pss = {pid: known for pid, known in self._pss.items() if now - known[0] < PSS_KEPT_FOR}
        if process.pid not in self._pss:
            try:
                self._pss[process.pid] = now, process.memory_full_info().pss
            except psutil.AccessDenied:
                return None
        return self._pss[process.pid][1]
