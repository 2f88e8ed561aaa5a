"""What systemd has of a unit now: its settings and its job. Without a systemd there is nothing to know."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from temporal_fleet.supervisor.cli.spans import SpanError, seconds
from temporal_fleet.supervisor.cli.unit_files import Service, directives, seconds_to_stop

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config

_PATIENCE = 10.0


def stop_timeout(unit: str) -> float | None:
    """Seconds; None: nobody knows."""
    try:
        return seconds(_property(unit, "TimeoutStopUSec"))
    except SpanError:
        return None


def job(unit: str) -> str:
    """What is about to be done with it: `stop`, `restart`, …; empty: nothing, or nobody knows."""
    listed = _systemctl("list-jobs", "--plain", "--no-legend", unit).split()
    return listed[2] if len(listed) > 2 else ""


def is_run_by(service: Service) -> bool:
    """Whether the unit is there, and runs the service's config file."""
    try:
        given = shlex.split(_property(service.unit, "Environment"))
    except ValueError:
        return False
    return f"TEMPORAL_FLEET_CONFIG={service.config}" in given


def user(unit: str) -> str:
    """The name of whom it runs as."""
    return _property(unit, "User") or "root"


def open_files(unit: str) -> int | None:
    """The limit that its supervisor has, which is the hard one; sys.maxsize: none; None: nobody knows."""
    told = _property(unit, "LimitNOFILE")
    if told == "infinity":
        return sys.maxsize
    return int(told) if told.isdecimal() else None


def shortcomings(service: Service, config: "Config") -> list[str]:
    """What the unit that runs it, as it is now, does not allow for, though the config asks for it."""
    return list(_shortcomings(service, config))


def _shortcomings(service: Service, config: "Config") -> Iterator[str]:
    needed, given = seconds_to_stop(config), stop_timeout(service.unit)
    if given is not None and given < needed:
        yield f"TimeoutStopSec={given:.0f} is less than its longest drain and what comes after it: {needed}"
    unit = _systemctl("cat", service.unit)
    lines = (line for line in directives(service, config) if not line.startswith("#"))
    yield from (f"{line} is missing" for line in lines if not _has(unit, line))


def _has(unit: str, line: str) -> bool:
    """A credential may come from elsewhere, or be encrypted: it is there by its name."""
    if line.startswith("LoadCredential="):
        name = re.escape(line.removeprefix("LoadCredential=").partition(":")[0])
        return re.search(rf"^(Load|Set)Credential(Encrypted)?={name}:", unit, re.MULTILINE) is not None
    return line in unit.splitlines()


def _property(unit: str, name: str) -> str:
    return _systemctl("show", f"--property={name}", "--value", unit).strip()


def _systemctl(*words: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["systemctl", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
