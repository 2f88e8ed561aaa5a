"""What an entity says on standard error: one form for our lines, the SDK's and the program's own.

Sets up loggers; what is logged, and when, is decided by those who log.
"""

import logging
import os
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from temporal_fleet.protocol.spec import EntitySpec

CORE_LOGGER = "temporalio.core"
"""Where the lines of the SDK's core arrive."""

_DROPPED_METRIC = "metrics buffer is full"


class DroppedMetrics(logging.Filter):
    """Counts the SDK's complaints that a metric was dropped, one line each, and keeps them off the log: the
    heartbeat carries the number."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if _DROPPED_METRIC not in record.msg:
            return True
        self.count += 1
        return False


def configure_logging(spec: EntitySpec) -> tuple[structlog.stdlib.BoundLogger, DroppedMetrics]:
    """Make standard logging write `console` or `json` lines that name the entity; return our logger.

    structlog's own global configuration is left to the program.
    """
    identity = {
        "fleet": spec.fleet,
        "entity": spec.entity,
        "incarnation": spec.incarnation,
        "pid": os.getpid(),
    }

    def name_entity(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **identity}

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        name_entity,
    ]
    final: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if spec.log_format == "json":
        final += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)]
    else:
        final.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=shared))
    _install(handler)
    dropped = DroppedMetrics()
    logging.getLogger(CORE_LOGGER).addFilter(dropped)
    logger: Any = structlog.wrap_logger(
        logging.getLogger("temporal_fleet"),
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger, dropped


def _install(handler: logging.Handler) -> None:
    """Ours takes the place of plain stream handlers (`logging.basicConfig`). A program that set up handlers
    of its own making has chosen where its lines go: then ours carries our lines alone."""
    root = logging.getLogger()
    plain = [present for present in root.handlers if type(present) is logging.StreamHandler]
    if root.handlers and not plain:
        ours = logging.getLogger("temporal_fleet")
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
        return
    for present in plain:
        root.removeHandler(present)
    root.addHandler(handler)
    # WARNING is what nobody chose; a supervised service says what it does.
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)
