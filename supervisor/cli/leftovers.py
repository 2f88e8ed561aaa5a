"""What is left in the control group of a service whose supervisor has ended: whether the next supervisor is
to have it, or whether it is to end, and how."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from temporal_fleet.supervisor.cli.failure import say
from temporal_fleet.supervisor.cli.human import count
from temporal_fleet.supervisor.cli.unit_state import job, stop_timeout

_STOPS = ("stop", "restart", "try-restart")
"""Types of jobs that end a service wholly."""
_SPARE = 5.0
"""Seconds of the unit's stop time-out that are not waited: it would end us, and leave the others."""
_LONGEST = 86_400.0
_LOOK_EVERY = 0.05


def end(unit: str, environ: Mapping[str, str]) -> None:
    """After a stop: have them drain, then kill. After a failure: leave them alone."""
    result = environ.get("SERVICE_RESULT", "success")
    left = _left()
    if not left:
        return
    noun = count(len(left), "process", "processes")
    # A supervisor that fails while it is being stopped is followed by nobody.
    if result != "success" and job(unit) not in _STOPS:
        say(f"the supervisor failed ({result}): {noun} work on, for the supervisor that follows")
        return
    # Where the time for the stop has run out, it has for them as well.
    given = 0.0 if result == "timeout" else stop_timeout(unit) or 0.0
    patience = max(0.0, min(given, _LONGEST) - _SPARE)
    say(f"the service stops ({result}): {noun} left, which have {patience:.0f} s to end")
    _send(left, signal.SIGTERM)
    until = time.monotonic() + patience
    while (left := _left()) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
    if left:
        say(f"kills {count(len(left), 'process', 'processes')}")
    while left:
        _send(left, signal.SIGKILL)
        time.sleep(_LOOK_EVERY)
        left = _left()


def _left() -> set[int]:
    """Every process in our control group, and below it, but us."""
    return {
        int(line)
        for folder in _groups()
        for file in (folder / "cgroup.procs", *folder.glob("**/cgroup.procs"))
        for line in _lines(file)
    } - {os.getpid()}


def _groups() -> list[Path]:
    """Of this process, where systemd keeps track of services: the unified hierarchy, alone or beside others,
    or the old one of its own name."""
    found = []
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found += [Path("/sys/fs/cgroup/unified" + group), Path("/sys/fs/cgroup" + group)]
        elif controllers == "name=systemd":
            found.append(Path("/sys/fs/cgroup/systemd" + group))
    # The root is not ours: whoever runs this by hand, outside of any service, must not end the host.
    return [path for path in found if path.name.endswith(".service") and (path / "cgroup.procs").exists()]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
