"""What entities were like in the last minutes, for the charts of the status page."""

from collections import deque

import msgspec

from temporal_fleet.protocol.report import StatusReport

EVERY = 5.0
"""Seconds between two moments."""
KEPT = 120


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    time: float
    """Seconds since the epoch."""
    rss_bytes: int
    cached_executions: int


class History:
    def __init__(self) -> None:
        self.entities: dict[str, deque[Moment]] = {}
        """The oldest moment first. Of those that there are."""

    def note(self, report: StatusReport, time: float) -> None:
        there = {entity.id: entity for entity in report.entities if entity.pid is not None}
        self.entities = {name: past for name, past in self.entities.items() if name in there}
        for name, entity in there.items():
            now = Moment(
                time=time, rss_bytes=entity.rss_bytes or 0, cached_executions=entity.cached_executions
            )
            self.entities.setdefault(name, deque(maxlen=KEPT)).append(now)
