"""The supervisor's own log lines: structlog, console or JSON, on stderr, and in its file of [fleet] log_dir.
What is worth a line is not decided here."""

import io
import logging
import os
import sys
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.processors import NAME_TO_LEVEL

from temporal_fleet.protocol.logfile import SUPERVISOR, LogFile
from temporal_fleet.protocol.loglines import LogLines
from temporal_fleet.protocol.outlet import Outlet
from temporal_fleet.protocol.secrets import Secrets
from temporal_fleet.protocol.spec import LogFiles

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


ASKED_FOR = "asked_for"
"""Bound to what somebody asked to be told: no threshold keeps it back."""


class _Threshold:
    """Drops what is below a level that may change at any time: bound loggers are made once, with theirs."""

    def __init__(self) -> None:
        self.level = logging.INFO

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if not event.pop(ASKED_FOR, False) and NAME_TO_LEVEL[method] < self.level:
            raise structlog.DropEvent
        return event


_threshold = _Threshold()


def set_level(level: str) -> None:
    """`debug`, `info`, `warning` or `error`: from now on nothing below it is logged."""
    _threshold.level = _LEVELS[level]


class Unbreakable(io.TextIOBase):
    """A stream whose reader may go away, or stand still: neither may end or hold up a fleet. What the
    descriptor does not take is lost."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._outlet = Outlet(descriptor)

    def fileno(self) -> int:
        return self._outlet.fileno()

    def isatty(self) -> bool:
        return os.isatty(self.fileno())

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # Where it cannot be written, nobody is left to be told.
        with suppress(OSError):
            self._outlet.write(text.encode("utf-8", "backslashreplace"))
        return len(text)


class _Sink:
    """Where lines go: to our stream always, and into our file where there is one."""

    def __init__(self, lines: LogLines, stream: Unbreakable, log_format: str) -> None:
        self.lines = lines
        self._stream = stream
        self._log_format = log_format
        self._colours = stream.isatty()
        self._files: LogFiles | None = None
        self._file: LogFile | None = None

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
        """The line for the stream."""
        if self._file is not None:
            self._file.write(_bytes(self.lines.json(event)))
        return self.lines.text(event, self._log_format, colours=self._colours)

    def use(self, files: LogFiles | None) -> None:
        if files == self._files:
            return
        former, self._file, self._files = self._file, None, files
        if former is not None:
            former.close()
        if files is not None:
            # The stream has every line already.
            stream = self._stream.fileno()
            self._file = LogFile(files, SUPERVISOR, stream, self._own_line, stands_in=False)

    def _own_line(self, text: str) -> bytes:
        return _bytes(self.lines.json({"level": "error", "event": text}))


_sinks: list[_Sink] = []
"""The one, once there is one."""


def use(files: LogFiles | None) -> None:
    """Log into a file there too, from now on; None: to the stream alone."""
    for sink in _sinks:
        sink.use(files)


def hide(secrets: Iterable[str]) -> None:
    """Never show these."""
    for sink in _sinks:
        sink.lines.secrets.learn(secrets)


def configure(log_format: Literal["console", "json"], fleet: str, level: str) -> None:
    set_level(level)
    # Whoever writes there, a traceback at the very end included.
    stream = Unbreakable(2)
    sys.stderr = stream
    lines = LogLines({"fleet": fleet, "process": "supervisor", "pid": os.getpid()}, Secrets())
    sink = _Sink(lines, stream, log_format)
    _sinks[:] = [sink]
    structlog.configure(
        processors=[
            _threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            sink,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, sys.stderr)),
        cache_logger_on_first_use=True,
    )


def _bytes(line: str) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")
