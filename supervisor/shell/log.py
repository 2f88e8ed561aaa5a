"""The supervisor's own log lines: structlog, console or JSON, on stderr. What is worth a line is not
decided here."""

import io
import logging
import os
import select
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.processors import NAME_TO_LEVEL

_PATIENCE_MS = 200


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Threshold:
    """Drops what is below a level that may change at any time: bound loggers are made once, with theirs."""

    def __init__(self) -> None:
        self.level = logging.INFO

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if NAME_TO_LEVEL[method] < self.level:
            raise structlog.DropEvent
        return event


_threshold = _Threshold()


def set_level(level: str) -> None:
    """`debug`, `info`, `warning` or `error`: from now on nothing below it is logged."""
    _threshold.level = _LEVELS[level]


def configure(log_format: Literal["console", "json"], fleet: str, level: str) -> None:
    set_level(level)
    # Whoever writes there, a traceback at the very end included.
    sys.stderr = Unbreakable(2)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if log_format == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            _threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            _without_none,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, sys.stderr)),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(fleet=fleet)


class Unbreakable(io.TextIOBase):
    """A stream whose reader may go away, or stand still: neither may end or hold up a fleet. What the
    descriptor does not take is lost."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poller = select.poll()
        self._poller.register(descriptor, select.POLLOUT)
        self._patience = _PATIENCE_MS

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        try:
            while data and self._has_room():
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
        except OSError:
            # Nobody is left to be told.
            pass
        return len(text)

    def _has_room(self) -> bool:
        """For PIPE_BUF bytes, without waiting. A reader that stands still is waited for once."""
        ready = bool(self._poller.poll(self._patience))
        self._patience = _PATIENCE_MS if ready else 0
        return ready


def _without_none(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if value is not None}
