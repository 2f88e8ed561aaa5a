"""What the fleet went through, counted since this supervisor began: deaths, restarts, recoveries, changes,
and all that the core told. Read off each decision, here and nowhere else; nothing is decided by it."""

from collections.abc import Iterable

from temporal_fleet.protocol.exits import Verdict, verdict
from temporal_fleet.protocol.metrics import Family, Meter
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Action, Emit, Level
from temporal_fleet.supervisor.core.fleet import Entity, Fault, Fleet, Leaving
from temporal_fleet.supervisor.core.ledger import Ledger, OrderState

SERIES = 5000
"""At most: pools come and go with reloads."""

_RECOVERY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_BY_ORDER = {
    Leaving.HUNG: "hang",
    Leaving.STUCK: "hang",
    Leaving.BOOT_TIMEOUT: "boot_timeout",
    Leaving.TOO_LARGE: "kill_above",
    Leaving.NO_SLOT_LEFT: "stuck",
    Leaving.ORDERED: "ordered",
}
"""What a death is put down to, by what the supervisor had ordered; else it is by how it ended."""

_BY_FAULT = {None: "recycle", Fault.NOT_POLLING: "not_polling", Fault.STUCK: "stuck"}
"""What the end of a recycled life is put down to."""
CAUSES = tuple(
    dict.fromkeys((*_BY_ORDER.values(), *_BY_FAULT.values(), *(meaning.value for meaning in Verdict)))
)
_ENDS = tuple(state for state in OrderState if state not in (OrderState.IMPORTING, OrderState.ROLLING))

_DEATHS = "temporal_fleet_entity_deaths"
_RESTARTS = "temporal_fleet_entity_restarts"
_RECOVERY = "temporal_fleet_recovery_duration"
_CHANGES = "temporal_fleet_changes"
_EVENTS = "temporal_fleet_events"
_RECOVERED = {
    "executions": "temporal_fleet_recovered_executions",
    "tasks_freed": "temporal_fleet_recovered_workflow_tasks",
    "queries_answered": "temporal_fleet_recovered_queries",
    "activities_failed": "temporal_fleet_recovered_activities",
}
_HELP = {
    _DEATHS: "Lives of entities that ended, by cause",
    _RESTARTS: "Lives that another one took the place of though no operator asked for it, by cause",
    _RECOVERY: "From the death of an entity until what it held was free",
    _CHANGES: "Commands that change the fleet, by outcome",
    _EVENTS: "Events, by kind and level",
    _RECOVERED["executions"]: "Cached executions that dead entities were relieved of",
    _RECOVERED["tasks_freed"]: "Workflow Tasks of dead entities that were set free",
    _RECOVERED["queries_answered"]: "Queries that were answered for dead entities",
    _RECOVERED["activities_failed"]: "Activities of dead entities that were handed on, or failed as poison",
}


class Tally:
    def __init__(self) -> None:
        self._meter = Meter(SERIES)

    def count(
        self, before: Fleet, event: events.Event, after: Fleet, actions: Iterable[Action], now: float
    ) -> None:
        """One decision: the fleet before and after it."""
        match event:
            case events.Died():
                self._death(before, event, after)
            case events.Recovered():
                self._recovery(before, event, now)
        known = event.books.changes if isinstance(event, events.Started) else before.changes
        if after.changes is not known:
            self._ended(known, after.changes)
        for action in actions:
            if isinstance(action, Emit):
                self.told(action.kind, action.level)

    def told(self, kind: str, level: Level) -> None:
        self._add(_EVENTS, kind=kind, level=level.value)

    def families(self, fleet: Fleet) -> list[Family]:
        """What was counted. What may yet be counted of the present pools stands at 0 until then: who watches
        a rate must not miss the first one."""
        for pool in fleet.pools:
            for cause in CAUSES:
                self._add(_DEATHS, 0, pool=pool, cause=cause)
                if cause != "ordered":
                    self._add(_RESTARTS, 0, pool=pool, cause=cause)
            for name in _RECOVERED.values():
                self._add(name, 0, pool=pool)
        for end in _ENDS:
            self._add(_CHANGES, 0, outcome=end.value)
        return self._meter.families()

    def _death(self, before: Fleet, event: events.Died, after: Fleet) -> None:
        entity = before.entities.get(event.entity)
        if entity is None or not entity.is_live or entity.incarnation != event.incarnation:
            return
        if entity.pid is None and event.code is None and event.signal is None:
            # It never was.
            return
        place = after.entities.get(entity.id)
        cause = _cause(entity, event, place)
        self._add(_DEATHS, pool=entity.pool, cause=cause)
        if _is_recycled(entity) or (place is not None and place.restarts > entity.restarts):
            self._add(_RESTARTS, pool=entity.pool, cause=cause)

    def _recovery(self, before: Fleet, event: events.Recovered, now: float) -> None:
        recovery = before.recoveries.get(event.life)
        if recovery is None:
            return
        pool = event.life.pool
        for field, name in _RECOVERED.items():
            self._add(name, getattr(event, field), pool=pool)
        self._meter.observe(
            _RECOVERY,
            {"pool": pool},
            now - recovery.since,
            _RECOVERY_BUCKETS,
            help=_HELP[_RECOVERY],
            unit="s",
        )

    def _ended(self, before: Ledger, after: Ledger) -> None:
        over = {order.id for order in before if not order.is_open}
        for order in after:
            if not order.is_open and order.id not in over:
                self._add(_CHANGES, outcome=order.state.value)

    def _add(self, name: str, by: float = 1, **labels: str) -> None:
        self._meter.add(name, labels, by, help=_HELP[name])


def _cause(entity: Entity, event: events.Died, place: Entity | None) -> str:
    """`place`: as it is now, if it is there still."""
    if place is not None and place.last_exit is not None:
        meaning: Verdict = place.last_exit.meaning
    else:
        meaning = Verdict.CRASH if event.signal is not None else verdict(event.code)
    if meaning in (Verdict.CLUSTER, Verdict.HOST, Verdict.PROGRAM):
        return str(meaning.value)
    if _is_recycled(entity):
        return _BY_FAULT[entity.fault]
    ordered = _BY_ORDER.get(entity.leaving) if entity.leaving is not None else None
    return ordered or str(meaning.value)


def _is_recycled(entity: Entity) -> bool:
    return entity.recycle != "" and entity.leaving is Leaving.ORDERED
