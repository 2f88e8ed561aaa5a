"""What processes use, as the kernel tells it: memory and processor time. Starts and ends nothing."""

import os
from pathlib import Path
from statistics import mean

MIB = 1 << 20


def pss(pid: int) -> int:
    """Bytes: the private pages, and of each shared one this process's share (proc_pid_smaps(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss")


def mean_pss(pids: list[int]) -> float:
    return mean(pss(pid) for pid in pids)


def rss(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text()
    user, system = stat[stat.rindex(")") + 2 :].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
