"""What must hold of entities that live and do no work, whatever happens: nobody is replaced or killed for it
within the limits, for the Cluster's doing, or without a word of its own; and whoever is beyond them does not
stay. Kept in books of its own."""

from collections import Counter
from dataclasses import dataclass

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    Entity,
    Fault,
    Fleet,
    HelperState,
    Leaving,
    Phase,
    Pool,
)
from temporal_fleet.supervisor.core.moves import is_outdated
from temporal_fleet.supervisor.core.states import State


@dataclass(slots=True)
class LivenessBooks:
    seen: Counter[str]
    answers_since: float | None = None
    """The Cluster; None: it does not, as far as anybody has said."""

    def check(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...], now: float
    ) -> None:
        match event:
            case events.ClusterChanged(reachable, refused, _):
                self.answers_since = now if reachable and not refused else None
            case events.Stalled():
                self.answers_since = None if self.answers_since is None else now
        if isinstance(event, events.Started):
            # Decided by an earlier supervisor, and remembered.
            return
        for place in after.entities.values():
            assert place.recycle or place.fault is None, f"{place}"
            old = before.entities.get(place.id)
            replaced = place.fault is not None and not (old and old.fault is place.fault)
            killed = place.leaving is Leaving.NO_SLOT_LEFT and not (old and old.leaving is place.leaving)
            if replaced or killed:
                assert isinstance(event, events.StoodStill), f"{place} after {event}"
                assert (event.entity, event.incarnation) == (place.id, place.incarnation)
                assert old is not None
                assert old.state is State.READY, f"{old}"
                assert any(isinstance(a, act.DumpStacks) and a.entity == place.id for a in actions)
                self._is_just(before, after.pools[place.pool], place, event, now)
                assert killed or place.fault is not None
                self.seen["stuck in each slot" if killed or not place.fault else place.fault.value] += 1
        if isinstance(event, events.StoodStill):
            self._nobody_stays(before, event, after)

    def _is_just(
        self, before: Fleet, pool: Pool, place: Entity, event: events.StoodStill, now: float
    ) -> None:
        limits = pool.liveness
        activations = [age for age in event.activations if age > limits.activation]
        activities = [age for age in event.activities if age > limits.activity]
        if place.leaving is Leaving.NO_SLOT_LEFT:
            full = event.workflow_slots is not None and len(activations) >= event.workflow_slots
            assert full or (event.activity_slots is not None and len(activities) >= event.activity_slots)
        elif place.fault is Fault.STUCK:
            assert activations or activities, f"{place} after {event}"
        else:
            assert event.unpolled_for > limits.polling, f"{place} after {event}"
            assert self.answers_since is not None, f"{place}, and the Cluster is away"
            assert now - self.answers_since > limits.polling, f"{place}, and the Cluster was away just now"
            assert before.helpers[AGENT].state is HelperState.READY, f"{place}, and nobody looks"

    def _nobody_stays(self, before: Fleet, event: events.StoodStill, after: Fleet) -> None:
        place = before.entities.get(event.entity)
        pool = before.pools.get(place.pool) if place else None
        if place is None or pool is None or before.phase is not Phase.RUNNING:
            return
        if place.incarnation != event.incarnation or place.state is not State.READY:
            return
        limits = pool.liveness
        stuck = any(age > limits.activation for age in event.activations)
        if stuck or any(age > limits.activity for age in event.activities):
            now_there = after.entities[place.id]
            goes = now_there.state is not State.READY or is_outdated(after.pools[pool.name], now_there)
            assert goes, f"{place} stays after {event}"
