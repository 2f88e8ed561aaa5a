"""The supervisor's own log lines: structlog, console or JSON, on stderr. What is worth a line is not
decided here."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog


def configure(log_format: Literal["console", "json"], fleet: str) -> None:
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if log_format == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            _without_none,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=_Unbreakable()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(fleet=fleet)


class _Unbreakable:
    """stderr whose reader may go away: a closed terminal must not end a fleet."""

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except OSError:
            # Nobody is left to be told.
            return

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            return


def _without_none(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}
