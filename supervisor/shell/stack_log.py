"""The stacks of entities that stand still, on their way to the log: asked for when that is found, and logged
as soon as they are written, or with the death of who could not write them. Of whom is decided in core.
"""

import math

import structlog

from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.shell.children import Children, EntityLife
from temporal_fleet.supervisor.shell.stacks import Dump, ask_for_stacks, read_stacks

_log = structlog.get_logger()

_WRITTEN = 1.0
"""Seconds after which they are: they come from a signal handler, whatever else the process does."""


class StackLog:
    def __init__(self, paths: RunDirectory, children: Children) -> None:
        self._paths = paths
        self._children = children
        self._asked: dict[EntityLife, Dump] = {}
        self._looked_at: dict[EntityLife, float] = {}

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return min(self._looked_at.values(), default=math.inf)

    def ask(self, life: EntityLife, now: float) -> None:
        dump = ask_for_stacks(self._paths, self._children, life)
        if dump is not None:
            self._asked[life] = dump
            self._looked_at[life] = now + _WRITTEN

    def expire(self, now: float) -> None:
        for life in [life for life, due in self._looked_at.items() if now >= due]:
            del self._looked_at[life]
            if stacks := read_stacks(self._asked[life]):
                del self._asked[life]
                _tell(life, stacks)

    def died(self, life: EntityLife) -> None:
        self._looked_at.pop(life, None)
        dump = self._asked.pop(life, None)
        if dump is not None:
            _tell(life, read_stacks(dump) or "none: it was stopped, or had not come so far")


def _tell(life: EntityLife, stacks: str) -> None:
    _log.error("stacks of a hung entity", entity=life.entity, incarnation=life.incarnation, stacks=stacks)
