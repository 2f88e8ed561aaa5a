"""What must hold of evictions, recycling and kills, whatever happens: nobody gets an order whom it does not
reach, none twice, and nobody is recycled or killed without the figures for it. Kept in books of its own."""

from collections import Counter
from dataclasses import dataclass, field

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.eviction import ANSWER_LIMIT, ASK_LIMIT, SETTLE
from temporal_fleet.supervisor.core.fleet import AGENT, Entity, Fleet, HelperState, Leaving, Pressure
from temporal_fleet.supervisor.core.recycle import JITTER, PAUSE
from temporal_fleet.supervisor.core.states import State


@dataclass(slots=True)
class Eviction:
    began: float
    ordered: float | None = None
    ended: float | None = None


@dataclass(slots=True)
class MemoryBooks:
    seen: Counter[str]
    evictions: dict[Life, Eviction] = field(default_factory=dict)
    """The last one of each life."""
    below: set[Life] = field(default_factory=set)
    """Lives that were well below every limit since their last eviction."""
    recycled: dict[str, float] = field(default_factory=dict)
    """When a place was last recycled for its memory."""

    def check(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...], now: float
    ) -> None:
        self._only_who_is_ready_is_under_pressure(after)
        if isinstance(event, events.Started):
            # Decided by an earlier supervisor, and remembered.
            places = after.entities.values()
            self.recycled = {e.id: e.recycled_at for e in places if e.recycled_at is not None}
            return
        readings = {r.entity: r for r in event.readings} if isinstance(event, events.Measured) else {}
        for reading in readings.values():
            self._note(after, reading)
        if isinstance(event, events.Stalled):
            for eviction in self.evictions.values():
                if eviction.ordered is None:
                    eviction.began = now
        if isinstance(event, events.Evicted):
            self._end(Life(event.entity, event.incarnation), now)
        for action in actions:
            match action:
                case act.FindClosed(life, at_most):
                    self._reaches(before, life)
                    # An agent that is silent may be killed later in this very decision.
                    assert before.helpers[AGENT].state is HelperState.READY, f"{action}: there is no agent"
                    assert 1 <= at_most <= readings[life.entity].blocked
                    self._begin(life, now)
                case act.Evict(life, at_most, run_ids):
                    self._reaches(before, life)
                    assert at_most >= max(1, len(run_ids))
                    self._order(life, now)
        # A place that is made anew has no memory.
        self.recycled = {name: moment for name, moment in self.recycled.items() if name in after.entities}
        for place in after.entities.values():
            old = before.entities.get(place.id)
            if place.recycle and place.fault is None and not (old and old.recycle):
                self._is_rightly_recycled(before, after, place, readings, now)
            if place.leaving is Leaving.TOO_LARGE and not (old and old.leaving is Leaving.TOO_LARGE):
                limit = after.pools[place.pool].memory.kill_above
                assert limit is not None
                assert readings[place.id].rss > limit, f"{place} is killed, and was not too large"
                self.seen["killed for its size"] += 1
        self._who_is_too_large_is_killed(before, after, actions, readings)

    def _only_who_is_ready_is_under_pressure(self, after: Fleet) -> None:
        for place in after.entities.values():
            assert place.pressure is Pressure.NONE or place.state is State.READY, f"{place}"
            assert not place.recycle or place.state in {State.READY, State.DRAINING}, f"{place}"

    def _note(self, after: Fleet, reading: events.Reading) -> None:
        place = after.entities.get(reading.entity)
        limit = after.pools[place.pool].memory.evict_above if place and place.pool in after.pools else None
        if limit is not None and reading.rss <= 0.9 * limit:
            self.below.add(Life(reading.entity, reading.incarnation))

    def _reaches(self, before: Fleet, life: Life) -> None:
        """It may be told to go in the same decision."""
        place = before.entities[life.entity]
        assert (place.state, place.incarnation) == (State.READY, life.incarnation), f"an order to {place}"

    def _begin(self, life: Life, now: float) -> None:
        last = self.evictions.get(life)
        if last is not None and last.ended is not None and life not in self.below:
            assert now >= last.ended + SETTLE, f"{life}: {now - last.ended:.1f} s after its last eviction"
        assert last is None or last.ended is not None or now >= last.began + ASK_LIMIT, f"{life}: twice"
        if last is not None and last.ordered is not None and last.ended is None:
            assert now >= last.ordered + ANSWER_LIMIT, f"{life}: another, and the last one is not over"
        self.below.discard(life)
        self.evictions[life] = Eviction(now)

    def _order(self, life: Life, now: float) -> None:
        last = self.evictions.get(life)
        if last is None or last.ordered is not None:
            # The Cluster was not asked.
            self._begin(life, now)
        self.evictions[life].ordered = now
        self.seen["eviction ordered"] += 1

    def _end(self, life: Life, now: float) -> None:
        last = self.evictions.get(life)
        if last is not None and last.ordered is not None and last.ended is None:
            last.ended = now
            self.seen["eviction ended"] += 1

    def _is_rightly_recycled(
        self,
        before: Fleet,
        after: Fleet,
        place: Entity,
        readings: dict[str, events.Reading],
        now: float,
    ) -> None:
        reading, pool = readings[place.id], after.pools[place.pool]
        if not place.recycle.startswith("memory: "):
            tasks, age = pool.recycle.max_tasks, pool.recycle.max_age
            old = age is not None and now - place.forked_at >= (1 - JITTER) * age
            assert old or (tasks is not None and reading.tasks >= (1 - JITTER) * tasks), f"{place}"
            self.seen["recycled by policy"] += 1
            return
        assert now >= self.recycled.get(place.id, now) + PAUSE or place.id not in self.recycled
        self.recycled[place.id] = now
        if "recycle_above" in place.recycle:
            assert pool.memory.recycle_above is not None
            assert reading.rss > pool.memory.recycle_above, f"{place} is not too large"
            self.seen["recycled for its memory"] += 1
            return
        total = sum(r.rss if r.pss is None else r.pss for r in readings.values())
        assert before.budget is not None
        assert total > before.budget, f"{place} is recycled within the budget"
        others = [e.id for e in after.entities.values() if e.is_live and e.recycle and e.id != place.id]
        assert not others, f"{place.id} is recycled for the budget beside {others}"
        self.seen["recycled for the budget"] += 1

    def _who_is_too_large_is_killed(
        self,
        before: Fleet,
        after: Fleet,
        actions: tuple[act.Action, ...],
        readings: dict[str, events.Reading],
    ) -> None:
        killed = {action.entity for action in actions if isinstance(action, act.Kill)}
        for name, reading in readings.items():
            place = before.entities.get(name)
            if place is None or not place.is_live or place.incarnation != reading.incarnation:
                continue
            pool = before.pools.get(place.pool)
            limit = pool.memory.kill_above if pool else None
            dying = place.leaving in {
                Leaving.HUNG,
                Leaving.STUCK,
                Leaving.BOOT_TIMEOUT,
                Leaving.TOO_LARGE,
                Leaving.NO_SLOT_LEFT,
            }
            if limit is not None and reading.rss > limit and not dying and place.pid is not None:
                assert name in killed, f"{name} is over kill_above and lives on: {place}"
