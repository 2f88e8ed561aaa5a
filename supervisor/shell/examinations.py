"""Looks at the Cluster that operators asked for, and that the agent has not answered yet."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from temporal_fleet.protocol.control import ExaminationReply, ExamineCluster, Rejected
from temporal_fleet.protocol.examination import QUEUES_LIMIT
from temporal_fleet.protocol.helpers import Examine, Examined
from temporal_fleet.protocol.rundir import routing_id
from temporal_fleet.supervisor.core.fleet import Fleet, live
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.control import Control

LIMIT = 30.0
"""Seconds that the agent gets: more than it takes for each of its requests to come too late."""

_RESTING = frozenset({State.QUIET, State.DRAINING})


@dataclass(frozen=True)
class _Waiting:
    operator: bytes
    request: str
    until: float


class Examinations:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._numbers = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}
        """By the name that the agent hears."""

    @property
    def due(self) -> float:
        """When `expire` has something to do, if nothing else happens before."""
        return min((one.until for one in self._waiting.values()), default=math.inf)

    def ask(
        self,
        tell_agent: Callable[[Examine], bool],
        fleet: Fleet,
        operator: bytes,
        request: ExamineCluster,
        now: float,
    ) -> None:
        """`tell_agent`: false when there is none."""
        name = str(next(self._numbers))
        living = live(fleet.entities.values())
        queues = dict.fromkeys(pool.program.task_queue for pool in fleet.pools.values())
        order = Examine(
            request=name,
            task_queues=list(queues)[:QUEUES_LIMIT],
            alive=[routing_id(e.id, e.incarnation) for e in living],
            resting=[routing_id(e.id, e.incarnation) for e in living if e.state in _RESTING],
        )
        if tell_agent(order):
            self._waiting[name] = _Waiting(operator, request.id, now + LIMIT)
        else:
            self._reject(operator, request.id, "there is no cluster agent now; try again in a moment")

    def expire(self, now: float) -> None:
        for name, one in tuple(self._waiting.items()):
            if now >= one.until:
                del self._waiting[name]
                self._reject(one.operator, one.request, f"the cluster agent did not answer in {LIMIT:.0f} s")

    def answer(self, told: Examined) -> None:
        one = self._waiting.pop(told.request, None)
        if one is not None:
            reply = ExaminationReply(id=one.request, examination=told.examination)
            self._control.reply(one.operator, reply)

    def _reject(self, operator: bytes, request: str, problem: str) -> None:
        self._control.reply(operator, Rejected(id=request, problems=[problem]))
