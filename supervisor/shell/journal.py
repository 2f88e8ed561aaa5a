"""Whether our lines go into the journal of systemd, and under which unit: for whoever looks for them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JournalPlace:
    unit: str = ""
    """Empty: our lines go elsewhere."""
    user: bool = False
    """It is a unit of the user's own service manager."""


def journal_place(environ: Mapping[str, str], cgroup: Path = Path("/proc/self/cgroup")) -> JournalPlace:
    """By what systemd tells a service of its streams (systemd.exec(5), JOURNAL_STREAM), and by our cgroup."""
    try:
        stream = os.fstat(2)
        # Of cgroup v2, and of the named hierarchy of v1.
        groups = [line.split(":", 2)[2] for line in cgroup.read_text().splitlines() if _is_ours(line)]
    except OSError:
        return JournalPlace()
    if environ.get("JOURNAL_STREAM") != f"{stream.st_dev}:{stream.st_ino}":
        return JournalPlace()
    units = [part for group in groups for part in group.split("/") if part.endswith(".service")]
    if not units:
        return JournalPlace()
    return JournalPlace(units[-1], any(unit.startswith("user@") for unit in units[:-1]))


def _is_ours(line: str) -> bool:
    return line.startswith("0::") or ":name=systemd:" in line
