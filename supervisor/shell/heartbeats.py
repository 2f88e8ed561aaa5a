"""What each entity told of itself last, and what of that is worth an event. What a heartbeat means for its
sender's life is decided in core."""

from dataclasses import dataclass

from temporal_fleet.protocol.messages import Heartbeat
from temporal_fleet.supervisor.core.actions import Emit, Level
from temporal_fleet.supervisor.core.fleet import Entity, Fleet

TELL_AGAIN = 1.0
"""Seconds between two events of one entity about its executions, at least."""


@dataclass(frozen=True)
class _Told:
    """The counters that the last event of an entity went up to."""

    incarnation: int
    evictions: int
    resurrections: int
    at: float


class Heartbeats:
    def __init__(self) -> None:
        self._last: dict[str, Heartbeat] = {}
        self._heard: dict[str, float] = {}
        """When that was."""
        self._told: dict[str, _Told] = {}

    def of(self, entity: Entity) -> Heartbeat | None:
        """The last one of its present life."""
        heartbeat = self._last.get(entity.id)
        if heartbeat is None or not entity.is_live or heartbeat.incarnation != entity.incarnation:
            return None
        return heartbeat

    def age(self, entity: Entity, now: float) -> float | None:
        """Of that one, in seconds."""
        return now - self._heard[entity.id] if self.of(entity) is not None else None

    def cached(self, fleet: Fleet) -> int:
        """Executions in the caches of all its entities."""
        return sum(beat.cached_executions for entity in fleet.entities.values() if (beat := self.of(entity)))

    def hear(self, entity: Entity, heartbeat: Heartbeat, now: float) -> Emit | None:
        """Note one of the present life. What to tell of the executions that came and went."""
        self._last[entity.id] = heartbeat
        self._heard[entity.id] = now
        told = self._told.get(entity.id)
        if told is None or told.incarnation != heartbeat.incarnation:
            told = _Told(heartbeat.incarnation, 0, 0, now - TELL_AGAIN)
        evicted = heartbeat.evictions - told.evictions
        resurrected = heartbeat.resurrections - told.resurrections
        if (evicted <= 0 and resurrected <= 0) or now - told.at < TELL_AGAIN:
            return None
        self._told[entity.id] = _Told(
            heartbeat.incarnation, heartbeat.evictions, heartbeat.resurrections, now
        )
        counts = [(evicted, "evicted"), (resurrected, "resurrected")]
        changed = ", ".join(f"{word} {count}" for count, word in counts if count > 0)
        stock = f"{heartbeat.cached_executions} cached, {heartbeat.blocked_executions} blocked"
        return Emit(
            kind="executions.changed",
            level=Level.DEBUG,
            message=f"{changed}; {stock}",
            pool=entity.pool,
            entity=entity.id,
            incarnation=heartbeat.incarnation,
        )
