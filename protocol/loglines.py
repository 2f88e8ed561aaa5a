"""The form of every log line, whichever process of the fleet writes it: its keys, their order and names, as
JSON or for a console. Where a line goes, and what is worth one, is not decided here.

`timestamp` (UTC, ISO 8601) `level` `event` `fleet` `process` `pool` `entity` `incarnation` `pid`, inside
tasks `workflow_id` `run_id` `workflow_type` `activity_id` `activity_type` `attempt` `task_queue`, then what
the line itself tells. What has no value is left out.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from temporal_fleet.protocol.secrets import Secrets

TASK_KEYS = (
    "workflow_id",
    "run_id",
    "workflow_type",
    "activity_id",
    "activity_type",
    "attempt",
    "task_queue",
)

_LONGEST = 32_000
"""Characters of one value. A journal cuts lines at 48 KiB, and half a JSON document is none."""
_HEAD, _TAIL = 24_000, 6_000

_format_exception = structlog.processors.format_exc_info


class LogLines:
    """`origin`: what each line of this process says of it; None and empty values are left out."""

    def __init__(self, origin: Mapping[str, object], secrets: Secrets) -> None:
        self.secrets = secrets
        self._origin = {key: value for key, value in origin.items() if value not in (None, "")}

    def json(self, event: Mapping[str, Any]) -> str:
        """One line, without its end. `event` has `event` and `level`, perhaps `timestamp` (seconds since the
        epoch; else now) and `exc_info`."""
        line = self._complete(event)
        line["timestamp"] = f"{datetime.fromtimestamp(line['timestamp'], UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        return json.dumps(line, ensure_ascii=False)

    def console(self, event: Mapping[str, Any], *, colours: bool) -> str:
        """For people: the time of here, and tracebacks on lines of their own."""
        line = self._complete(event)
        line["timestamp"] = f"{datetime.fromtimestamp(line['timestamp']):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        return str(_renderer(colours)(None, "", line))

    def text(self, event: Mapping[str, Any], form: str, *, colours: bool = False) -> str:
        """`form`: `console` or `json`."""
        return self.console(event, colours=colours) if form == "console" else self.json(event)

    def _complete(self, event: Mapping[str, Any]) -> dict[str, Any]:
        told = dict(_format_exception(None, "", dict(event)))
        moment = told.pop("timestamp", None)
        begins = {
            # Programs that bring a text of their own mean the same moment.
            "timestamp": moment if isinstance(moment, int | float) else time.time(),
            "level": told.pop("level", "info"),
        }
        hidden = {
            key: _bounded(self.secrets.hide_in(value))
            for key, value in told.items()
            if value is not None and key not in self._origin
        }
        ids = {key: hidden.pop(key) for key in ("pool", "entity", "incarnation", *TASK_KEYS) if key in hidden}
        return {**begins, "event": hidden.pop("event", ""), **self._origin, **ids, **hidden}


def _bounded(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= _LONGEST:
        return value
    left_out = len(value) - _HEAD - _TAIL
    return f"{value[:_HEAD]} … {left_out} characters left out … {value[-_TAIL:]}"


def _renderer(colours: bool) -> structlog.dev.ConsoleRenderer:
    renderer = _renderers.get(colours)
    if renderer is None:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
        _renderers[colours] = renderer
    return renderer


_renderers: dict[bool, structlog.dev.ConsoleRenderer] = {}
