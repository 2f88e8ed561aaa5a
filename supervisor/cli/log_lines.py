"""One line of a log as the operator's commands have it: read from text, chosen, and shown. Where lines come
from is told by log_files and journal."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from temporal_fleet.protocol.logfile import AGENT, DEV_SERVER, FORK_SERVER, SUPERVISOR
from temporal_fleet.protocol.loglevels import LEVELS
from temporal_fleet.supervisor.cli.human import clock, printable

_COLOURS = {"debug": "bright_black", "info": "green", "warning": "yellow", "error": "red", "critical": "red"}
_PROCESSES = {"supervisor": SUPERVISOR, "agent": AGENT, "fork server": FORK_SERVER}
_NOT_SHOWN = {"timestamp", "level", "event", "fleet", "process", "pool", "entity", "incarnation", "logger"}
_BELOW = ("exception", "stack", "stacks")
"""What has lines of its own: Python's, structlog's, and the supervisor's of an entity that hung."""


@dataclass(frozen=True)
class Line:
    moment: float
    """Seconds since the epoch."""
    told: Mapping[str, Any]

    @property
    def level(self) -> int:
        """As a place in LEVELS."""
        name = self.told.get("level")
        return LEVELS.index(name) if name in LEVELS else LEVELS.index("info")

    def is_of(self, target: str) -> bool:
        """Of that pool, entity or helper."""
        process = self.told.get("process")
        name = _PROCESSES.get(process, process) if isinstance(process, str) else None
        # A program's own line may have anything under these keys.
        return target in (self.told.get("entity"), self.told.get("pool"), name)


@dataclass(frozen=True)
class Choice:
    """Which lines somebody wants to see."""

    level: str
    """And above."""
    since: float | None = None
    """Seconds since the epoch."""
    target: str | None = None
    """Of lines that are not chosen by their file."""

    def takes(self, line: Line) -> bool:
        if line.level < LEVELS.index(self.level) or (self.since is not None and line.moment < self.since):
            return False
        return self.target is None or line.is_of(self.target)


def read_line(text: bytes, moment: float, origin: Mapping[str, Any]) -> Line:
    """`moment` and `origin` hold for a line that does not tell: what a C library wrote, say."""
    told = _object(text)
    if told is None:
        return Line(moment, {**origin, "event": text.decode("utf-8", "backslashreplace").rstrip()})
    if "event" not in told and "msg" in told:
        # Temporal's dev server has names of its own.
        told = {"event": told.pop("msg"), "timestamp": told.pop("time", None), **told}
        level = str(told.get("level", "")).lower()
        told["level"] = {"warn": "warning"}.get(level, level)
    return Line(_moment(told.get("timestamp"), moment), {**origin, **told})


def as_json(line: Line) -> str:
    return json.dumps(line.told, ensure_ascii=False)


def as_text(line: Line) -> str:
    """`2026-11-27 15:04:05.123 warning  orders-3.7  what it says  attempt=1`, and stacks below it."""
    told = line.told
    name = str(told.get("level") or "info")
    subject = told.get("entity") or told.get("process") or "fleet"
    if told.get("entity") and "incarnation" in told:
        subject = f"{told['entity']}.{told['incarnation']}"
    day = time.strftime("%Y-%m-%d", time.localtime(line.moment))
    shown = [f"{day} {clock(line.moment)} {click.style(f'{_on_a_line(name):<8}', fg=_COLOURS.get(name))}"]
    shown += [_on_a_line(subject), _on_a_line(told.get("event", ""))]
    more = {key: value for key, value in told.items() if key not in _NOT_SHOWN and value is not None}
    below = [printable(str(more.pop(key)), "\t\n") for key in _BELOW if key in more]
    details = _on_a_line(" ".join(f"{key}={value}" for key, value in more.items() if key != "pid"))
    shown += [click.style(details, fg="bright_black")] if details else []
    return "\n".join(("  ".join(shown), *filter(None, below)))


def _on_a_line(told: object) -> str:
    return printable(str(told), "\t")


def _object(text: bytes) -> dict[str, Any] | None:
    if not text.startswith(b"{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _moment(timestamp: object, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return otherwise


def origin_of(name: str) -> dict[str, Any]:
    """What the name of a log file tells of the lines in it."""
    if name in {SUPERVISOR, AGENT, DEV_SERVER}:
        return {"process": name.replace("-", " ")}
    if name.startswith(f"{FORK_SERVER}."):
        return {"process": "fork server", "program": name.removeprefix(f"{FORK_SERVER}.")}
    return {"process": "entity", "pool": name.rpartition("-")[0], "entity": name}
