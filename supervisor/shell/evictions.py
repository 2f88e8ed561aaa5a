"""Evictions under way: which entity was asked, for whom, and what came of it. Whether memory asks for one is
decided in core; an operator asks by himself."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from temporal_fleet.protocol.control import ControlReply, EvictExecutions, EvictionReply, Progress, Rejected
from temporal_fleet.protocol.messages import Evict, Evicted
from temporal_fleet.protocol.report import EvictionReport
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import Entity, Fleet
from temporal_fleet.supervisor.core.sizes import mebibytes
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats

LIMIT = 30.0
"""Seconds that an entity gets for an eviction that an operator asked for, at least."""
RATE = 200.0
"""Executions that an entity evicts in a second, at least."""
RUNS_LIMIT = 1000
"""Runs that one request may name: they have to fit a frame."""

_OF_THE_CORE = "core"
_ABLE = frozenset({State.READY, State.DRAINING})


@dataclass
class _Round:
    """What one operator asked for: it is answered when every entity was, or cannot be any more."""

    operator: bytes
    request: str
    limit: float
    """Seconds."""
    until: float
    reports: dict[Life, EvictionReport | None]
    """None: awaited."""

    def awaits(self, life: Life) -> bool:
        return life in self.reports and self.reports[life] is None


class Evictions:
    def __init__(self, bus: Bus, control: Control, announcer: Announcer, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._bus = bus
        self._control = control
        self._announcer = announcer
        self._numbers = itertools.count(1)
        self._rounds: dict[str, _Round] = {}
        """Of operators, by the name that the entities hear."""

    @property
    def due(self) -> float:
        """When `expire` has something to do, if nothing else happens before."""
        return min((one.until for one in self._rounds.values()), default=math.inf)

    def order(self, action: actions.Evict) -> None:
        """For the core: answered by its event Evicted."""
        self._bus.send(
            Evict(
                entity=action.life.entity,
                incarnation=action.life.incarnation,
                request=_OF_THE_CORE,
                run_ids=list(action.run_ids),
                at_most=action.at_most,
            )
        )

    def ask(self, fleet: Fleet, operator: bytes, request: EvictExecutions, now: float) -> None:
        """For an operator, who is answered by what the entities say."""
        chosen, problem = _choose(fleet, request)
        if problem:
            self._control.reply(operator, Rejected(id=request.id, problems=[problem]))
            return
        name = f"operator-{next(self._numbers)}"
        awaited: dict[Life, EvictionReport | None] = {Life(e.id, e.incarnation): None for e in chosen}
        limit = self._limit(chosen)
        self._rounds[name] = _Round(operator, request.id, limit, now + limit, awaited)
        for entity in chosen:
            self._bus.send(
                Evict(
                    entity=entity.id,
                    incarnation=entity.incarnation,
                    request=name,
                    run_ids=request.run_ids,
                    only_these=bool(request.run_ids),
                    idle=request.idle,
                    keep=request.keep,
                )
            )

    def answered(self, message: Evicted) -> list[events.Event]:
        if message.request == _OF_THE_CORE:
            return [
                events.Evicted(
                    entity=message.entity,
                    incarnation=message.incarnation,
                    evicted=message.evicted,
                    cached=message.cached,
                    before=message.rss_before,
                    after=message.rss_after,
                )
            ]
        life = Life(message.entity, message.incarnation)
        one = self._rounds.get(message.request)
        if one is not None and one.awaits(life):
            self._announce(message)
            report = EvictionReport(
                entity=message.entity,
                evicted=message.evicted,
                passed_over=message.passed_over,
                cached=message.cached,
                freed_bytes=message.pss_before - message.pss_after,
                pss_bytes=message.pss_after,
            )
            told = f"{message.entity}: evicted {message.evicted}, {message.cached} remain"
            self._close(message.request, life, report, told)
        return []

    def died(self, life: Life) -> None:
        """Nothing more is to be expected of it."""
        for name, one in tuple(self._rounds.items()):
            if one.awaits(life):
                self._give_up(name, life, "it died before it answered")

    def expire(self, now: float) -> None:
        for name, one in tuple(self._rounds.items()):
            if now >= one.until:
                for life in filter(one.awaits, tuple(one.reports)):
                    self._give_up(name, life, f"no answer within {one.limit:.0f} s")

    def _limit(self, chosen: Iterable[Entity]) -> float:
        """Enough for the one that has most to evict: they evict at the same time."""
        heartbeats = (self._heartbeats.of(entity) for entity in chosen)
        most = max((heard.blocked_executions for heard in heartbeats if heard is not None), default=0)
        return max(LIMIT, most / RATE)

    def _give_up(self, name: str, life: Life, problem: str) -> None:
        report = EvictionReport(
            entity=life.entity,
            evicted=0,
            passed_over=0,
            cached=0,
            freed_bytes=0,
            pss_bytes=0,
            problem=problem,
        )
        self._close(name, life, report, f"{life.entity}: {problem}")

    def _close(self, name: str, life: Life, report: EvictionReport, told: str) -> None:
        """One entity is done with; the last one answers the operator."""
        one = self._rounds[name]
        one.reports[life] = report
        done = [report for report in one.reports.values() if report is not None]
        reply: ControlReply
        if len(done) < len(one.reports):
            told = f"{told} ({len(done)} of {len(one.reports)} entities)"
            reply = Progress(id=one.request, message=told)
        else:
            del self._rounds[name]
            reply = EvictionReply(id=one.request, entities=done)
        self._control.reply(one.operator, reply)

    def _announce(self, message: Evicted) -> None:
        passed_over = f", {message.passed_over} passed over" if message.passed_over else ""
        self._announcer.announce(
            actions.Emit(
                kind="executions.evicted",
                level=actions.Level.INFO,
                message=(
                    f"evicted {message.evicted} as asked{passed_over}, {message.cached} remain: "
                    f"{mebibytes(message.pss_before)} -> {mebibytes(message.pss_after)} PSS"
                ),
                pool=message.entity.rpartition("-")[0],
                entity=message.entity,
                incarnation=message.incarnation,
            )
        )


def _choose(fleet: Fleet, request: EvictExecutions) -> tuple[list[Entity], str]:
    """The entities to ask; or why there are none."""
    target = request.target
    if len(request.run_ids) > RUNS_LIMIT:
        return [], f"{len(request.run_ids)} runs are more than one request takes; name at most {RUNS_LIMIT}"
    if (entity := fleet.entities.get(target)) is not None:
        if entity.state in _ABLE:
            return [entity], ""
        return [], f"{target} is {entity.state.value}: it holds no executions"
    if target in fleet.pools:
        able = [entity for entity in fleet.members(target) if entity.state in _ABLE]
        return able, "" if able else f"no entity of pool {target} is ready: none holds executions"
    there = ", ".join(sorted({*fleet.pools, *fleet.entities})) or "none"
    return [], f"no pool or entity {target!r}; there are: {there}"
