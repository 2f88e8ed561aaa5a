"""What an entity says on standard error, and its fork server before it: one form for our lines, the SDK's and
the program's own.

Sets up loggers; what is logged, and when, is decided by those who log.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from temporal_fleet.protocol.spec import EntitySpec

CORE_LOGGER = "temporalio.core"
"""Where the lines of the SDK's core arrive."""

_WORKER_LOGGER = "temporalio.worker._worker"

_DROPPED_METRIC = "metrics buffer is full"
_ON_OUTAGES = frozenset({"temporalio_client::retry", "temporalio_sdk_core::worker::heartbeat"})
"""What in the core warns of each attempt that fails while the Cluster is away."""
_REPEAT_SECONDS = 60
_KEY_LENGTH = 120
_REMEMBERED = 100
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class CoreNoise(logging.Filter):
    """Keeps three floods of the SDK's core off the log: a line for each metric that it drops (counted: the
    heartbeat carries the number), what each entity would say again and again of a Cluster that is away (the
    supervisor says it once for all of them), and any other complaint that comes more than once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped_metrics = 0
        self._last_said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if _DROPPED_METRIC in record.msg:
            self.dropped_metrics += 1
            return False
        if _target(record) in _ON_OUTAGES and record.levelno < logging.ERROR:
            return False
        key = record.msg[:_KEY_LENGTH]
        said = self._last_said.get(key)
        if said is not None and 0 <= record.created - said < _REPEAT_SECONDS:
            return False
        if len(self._last_said) >= _REMEMBERED:
            self._last_said.clear()
        self._last_said[key] = record.created
        return True


class LogLevels:
    """Keeps loggers at the level that the fleet's config names, while that may change."""

    def __init__(self, followers: Sequence[logging.Logger]) -> None:
        self._followers = followers

    def follow(self, level: str) -> None:
        number = _LEVELS.get(level)
        # What a supervisor of another version may say is no reason to say less, or more.
        if number is None:
            return
        for logger in self._followers:
            logger.setLevel(number)


def _tells_no_grace_period(record: logging.LogRecord) -> bool:
    """Not the SDK's line on how long activities have when a Worker shuts down: it knows no end of it."""
    return not record.msg.startswith("Beginning worker shutdown")


def _target(record: logging.LogRecord) -> str | None:
    """Where in the core this comes from, if it does."""
    return getattr(getattr(record, "temporal_log", None), "target", None)


def configure_logging(spec: EntitySpec) -> tuple[structlog.stdlib.BoundLogger, CoreNoise, LogLevels]:
    """Make standard logging write `console` or `json` lines that name the entity; return our logger.

    structlog's own global configuration is left to the program.
    """
    handler, shared = _form(
        spec.log_format,
        {
            "fleet": spec.fleet,
            "entity": spec.entity,
            "incarnation": spec.incarnation,
            "pid": os.getpid(),
        },
    )
    levels = LogLevels(_install(handler))
    levels.follow(spec.log_level)
    noise = CoreNoise()
    logging.getLogger(CORE_LOGGER).addFilter(noise)
    logging.getLogger(_WORKER_LOGGER).addFilter(_tells_no_grace_period)
    return _logger(_ours(), shared), noise, levels


def logger_beside_programs(log_format: str, program: str) -> structlog.stdlib.BoundLogger:
    """Our logger in a process that entities are forked from. It is registered nowhere: neither the program
    that is imported there nor the entities find anything set up."""
    handler, shared = _form(log_format, {"program": program, "pid": os.getpid()})
    logger = logging.Logger("temporal_fleet", logging.INFO)
    logger.addHandler(handler)
    return _logger(logger, shared)


def _form(log_format: str, origin: Mapping[str, Any]) -> tuple[logging.Handler, list[Processor]]:
    """A handler for lines that name their origin, and what our own lines go through before it."""

    def name_origin(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **origin}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        name_origin,
    ]
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        final += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)]
    else:
        final.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=shared))
    return handler, shared


def _logger(logger: logging.Logger, shared: list[Processor]) -> structlog.stdlib.BoundLogger:
    wrapped: Any = structlog.wrap_logger(
        logger,
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return wrapped  # type: ignore[no-any-return]


def _install(handler: logging.Handler) -> list[logging.Logger]:
    """Ours takes the place of plain stream handlers (`logging.basicConfig`). A program that set up handlers
    of its own making has chosen where its lines go: then ours carries our lines alone. Returned are the
    loggers whose level is the fleet's to say: a level that the program chose for itself stays."""
    root = logging.getLogger()
    plain = [present for present in root.handlers if type(present) is logging.StreamHandler]
    if root.handlers and not plain:
        _ours().addHandler(handler)
        _ours().propagate = False
        return [_ours()]
    for present in plain:
        root.removeHandler(present)
    root.addHandler(handler)
    # WARNING is what nobody chose.
    return [root] if root.level == logging.WARNING else [_ours()]


def _ours() -> logging.Logger:
    return logging.getLogger("temporal_fleet")
