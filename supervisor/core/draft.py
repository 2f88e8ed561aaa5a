"""The working copy of a fleet during one decision: what changes, and the actions gathered on the way.

Only the core uses it, and only within one call of `decide`; what leaves is frozen.
"""

from dataclasses import replace
from typing import Any

from temporal_fleet.supervisor.core.actions import Action, Emit, Level
from temporal_fleet.supervisor.core.estate import Life, Recovery, Suspect, SuspectKey
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Fleet,
    Helper,
    HelperKey,
    Load,
    Pool,
    Pressure,
    Relief,
    members,
)
from temporal_fleet.supervisor.core.kinds import EventKind
from temporal_fleet.supervisor.core.states import LIVE, TRANSITIONS, Change
from temporal_fleet.supervisor.core.transitions import following

_OF_A_LIFE: dict[str, Any] = {
    "pid": None,
    "adopted": False,
    "deadline": None,
    "load": Load(),
    "gpus": (),
    "ready_at": None,
    "leaving": None,
    "recycle": "",
    "fault": None,
    "pressure": Pressure.NONE,
    "relief": Relief(),
    "baseline": None,
}


class Draft:
    def __init__(self, fleet: Fleet, now: float) -> None:
        self.before = fleet
        self.now = now
        self.embedded = fleet.embedded
        self.pools: dict[str, Pool] = dict(fleet.pools)
        self.drained = fleet.drained
        self.entities: dict[str, Entity] = dict(fleet.entities)
        self.helpers: dict[HelperKey, Helper] = dict(fleet.helpers)
        self.incarnations: dict[str, int] = dict(fleet.incarnations)
        self.least_incarnation = fleet.least_incarnation
        self.helper_lives = fleet.helper_lives
        self.epoch = fleet.epoch
        self.cluster = fleet.cluster
        self.phase = fleet.phase
        self.generation = fleet.generation
        self.generations = fleet.generations
        self.changes = fleet.changes
        self.pending = fleet.pending
        self.waiting = fleet.waiting
        self.roll = fleet.roll
        self.recoveries: dict[Life, Recovery] = dict(fleet.recoveries)
        self.recover_by = fleet.recover_by
        self.suspects: dict[SuspectKey, Suspect] = dict(fleet.suspects)
        self.budget = fleet.budget
        self.strain = fleet.strain
        self.http = fleet.http
        self.actions: list[Action] = []

    def result(self) -> tuple[Fleet, tuple[Action, ...]]:
        return self.fleet(), tuple(self.actions)

    def fleet(self) -> Fleet:
        """As it stands now."""
        return Fleet(
            embedded=self.embedded,
            pools=self.pools,
            drained=self.drained,
            entities=self.entities,
            helpers=self.helpers,
            incarnations=self.incarnations,
            least_incarnation=self.least_incarnation,
            helper_lives=self.helper_lives,
            epoch=self.epoch,
            cluster=self.cluster,
            phase=self.phase,
            generation=self.generation,
            generations=self.generations,
            changes=self.changes,
            pending=self.pending,
            waiting=self.waiting,
            roll=self.roll,
            recoveries=self.recoveries,
            recover_by=self.recover_by,
            suspects=self.suspects,
            budget=self.budget,
            strain=self.strain,
            http=self.http,
        )

    def act(self, action: Action) -> None:
        self.actions.append(action)

    def emit(self, kind: EventKind, level: Level, message: str, entity: Entity | None = None) -> None:
        self.act(
            Emit(
                kind=kind,
                level=level,
                message=message,
                pool=entity.pool if entity else None,
                entity=entity.id if entity else None,
                incarnation=entity.incarnation if entity else None,
            )
        )

    def set(self, entity: Entity, **fields: Any) -> Entity:
        """Replace fields of a place that are not its state."""
        changed = replace(entity, **fields)
        self.entities[entity.id] = changed
        return changed

    def change(self, entity: Entity, change: Change, **fields: Any) -> Entity:
        """Take a place through one transition; what belongs to a life goes when the life does."""
        state = following(TRANSITIONS, entity.state, change)
        kept = {} if state in LIVE else _OF_A_LIFE
        return self.set(entity, **{**kept, "state": state, "since": self.now, **fields})

    def set_helper(self, helper: Helper, **fields: Any) -> Helper:
        changed = replace(helper, **fields)
        self.helpers[helper.key] = changed
        return changed

    def life(self, entity_id: str, incarnation: int) -> Entity | None:
        """The place whose present life this is; None for one that is over: its messages are stale."""
        entity = self.entities.get(entity_id)
        if entity is None or not entity.is_live or entity.incarnation != incarnation:
            return None
        return entity

    def members(self, pool: str) -> list[Entity]:
        return members(self.entities, pool)
