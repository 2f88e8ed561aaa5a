"""What happens in the fleet, told: to the log, and to whoever follows `events`. What is worth telling is not
decided here."""

from collections.abc import Callable

import structlog

from temporal_fleet.protocol.report import EventReport
from temporal_fleet.supervisor.core.actions import Emit, Level
from temporal_fleet.supervisor.shell.control import Control

_log = structlog.get_logger()

_LEVELS = {Level.DEBUG: 10, Level.INFO: 20, Level.WARNING: 30, Level.ERROR: 40}


class Announcer:
    def __init__(self, control: Control, wall_clock: Callable[[], float]) -> None:
        self._control = control
        self._wall_clock = wall_clock

    def announce(self, emit: Emit) -> None:
        _log.log(
            _LEVELS[emit.level],
            emit.message,
            kind=emit.kind,
            pool=emit.pool,
            entity=emit.entity,
            incarnation=emit.incarnation,
        )
        self._control.publish(
            EventReport(
                time=self._wall_clock(),
                kind=emit.kind,
                level=emit.level.value,
                message=emit.message,
                pool=emit.pool,
                entity=emit.entity,
                incarnation=emit.incarnation,
            )
        )
