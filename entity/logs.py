"""What an entity says, and a helper: one form for our lines, the SDK's and the program's own.

Sets up loggers; what is logged, and when, is decided by those who log, and where it goes by output.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow
from temporalio.exceptions import CancelledError

from temporal_fleet.entity.output import Output
from temporal_fleet.entity.tasks import task_ids
from temporal_fleet.protocol.helpers import LogSettings
from temporal_fleet.protocol.loglines import TASK_KEYS, LogLines
from temporal_fleet.protocol.secrets import Secrets, environment_secrets
from temporal_fleet.protocol.spec import EntitySpec, ProgramSpec

CORE_LOGGER = "temporalio.core"
"""Where the lines of the SDK's core arrive."""

_OURS = "temporal_fleet"
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


@dataclass(frozen=True)
class EntityLog:
    logger: structlog.stdlib.BoundLogger
    output: Output
    core_noise: CoreNoise
    levels: LogLevels


def entity_lines(spec: EntitySpec) -> LogLines:
    program, cluster = spec.program, spec.cluster
    told = (spec.fleet, program.program, program.path, program.task_queue, cluster.address, cluster.namespace)
    origin = {
        "fleet": spec.fleet,
        "process": "entity",
        "pool": spec.entity.rpartition("-")[0],
        "entity": spec.entity,
        "incarnation": spec.incarnation,
        "pid": os.getpid(),
    }
    return LogLines(origin, Secrets(environment_secrets(program.env, told)))


def configure_logging(spec: EntitySpec, lines: LogLines) -> EntityLog:
    """Make standard logging, and what is printed, lines that name the entity.

    structlog's own global configuration is left to the program.
    """
    output = Output(lines, spec.log_format, spec.entity)
    output.use(spec.log_files)
    output.take_prints()
    handler, shared = _form(output)
    levels = LogLevels(_install(handler))
    levels.follow(spec.log_level)
    noise = CoreNoise()
    logging.getLogger(CORE_LOGGER).addFilter(noise)
    logging.getLogger(_WORKER_LOGGER).addFilter(_tells_no_grace_period)
    return EntityLog(_logger(_ours(), shared), output, noise, levels)


def log_beside_programs(
    settings: LogSettings, program: ProgramSpec
) -> tuple[structlog.stdlib.BoundLogger, Output]:
    """The log of a process that entities are forked from. Its logger is registered nowhere: neither the
    program that is imported there nor the entities find anything set up."""
    told = (settings.fleet, program.program, program.path, program.task_queue)
    secrets = Secrets(environment_secrets(program.env, told))
    output = _helper_output(settings, secrets, program.program)
    handler, shared = _form(output)
    logger = logging.Logger(_OURS, logging.INFO)
    logger.addHandler(handler)
    return _logger(logger, shared), output


def agent_log(settings: LogSettings, secrets: Secrets) -> Output:
    """For every logger of the cluster agent, which runs nobody else's code."""
    output = _helper_output(settings, secrets)
    handler, _ = _form(output)
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    return output


def _helper_output(settings: LogSettings, secrets: Secrets, program: str = "") -> Output:
    origin = {"fleet": settings.fleet, "process": settings.process, "pid": os.getpid(), "program": program}
    output = Output(LogLines(origin, secrets), settings.log_format, settings.name)
    output.use(settings.files)
    output.take_prints()
    return output


class _ToOutput(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.write(self.format(record))
        # Of a thread: the SDK raises it there at any instant, and once.
        except CancelledError:
            raise
        except Exception:
            self.handleError(record)


def _form(output: Output) -> tuple[logging.Handler, list[Processor]]:
    """A handler for that output, and what our own lines go through before it."""
    shared: list[Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]
    handler = _ToOutput(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                _name_task,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _method, event: output.render(event),
            ],
            foreign_pre_chain=shared,
        )
    )
    return handler, shared


def _name_task(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The task that this was said in; of what the SDK's core says, the one that it names."""
    record: logging.LogRecord = event["_record"]
    core = getattr(getattr(record, "temporal_log", None), "fields", None)
    ids = {key: core[key] for key in TASK_KEYS if core.get(key)} if isinstance(core, dict) else task_ids()
    return {**event, "timestamp": record.created, **ids}


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
    # Lines of ours have what these would add to the text.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    # WARNING is what nobody chose.
    return [root] if root.level == logging.WARNING else [_ours()]


def _ours() -> logging.Logger:
    return logging.getLogger(_OURS)
