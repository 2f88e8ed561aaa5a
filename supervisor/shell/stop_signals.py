"""What TERM and Ctrl-C mean, one after the other. What becomes of it is the core's business."""

from temporal_fleet.supervisor.core.events import StopRequested

_ONE_ORDER = 0.2
"""Seconds in which several are one order by two ways, as of Ctrl-C and a script that passes it on."""


class StopSignals:
    def __init__(self) -> None:
        self._first: float | None = None

    def heard(self, now: float) -> StopRequested | None:
        """The first one drains, also where somebody has the fleet drain already, as a service manager does;
        another one ends all at once. None: it is the same order."""
        if self._first is None:
            self._first = now
            return StopRequested(now=False)
        return StopRequested(now=True) if now >= self._first + _ONE_ORDER else None

    def carried_out(self, now: float) -> None:
        """The first one. What came in the time that this took may be the same order."""
        self._first = now
