"""Entities with a memory, for the tests of memory policy: what they hold, second by second, and that they do
what the core orders. Plain values; nothing here decides."""

from collections.abc import Callable
from dataclasses import dataclass, field

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import Entity
from temporal_fleet.supervisor.core.states import State
from tests.core.driver import Driver

MIB = 1 << 20


@dataclass(slots=True)
class Cache:
    """What one life holds, in bytes."""

    base: int = 60 * MIB
    each: int = MIB
    executions: int = 0
    running: int = 0
    leaked: int = 0
    tasks: int = 0

    @property
    def rss(self) -> int:
        return self.base + self.leaked + self.each * self.executions

    @property
    def blocked(self) -> int:
        return max(0, self.executions - self.running)


@dataclass(slots=True)
class Caches:
    """A driver whose entities have caches. What is ordered is done at once, or not at all."""

    driver: Driver
    answers: bool = True
    """The Cluster tells which executions are closed, the entities evict."""
    closed: int = 0
    """As many the Cluster says are closed."""
    measures_all: bool = True
    """PSS is read too; here it is RSS."""
    of: dict[Life, Cache] = field(default_factory=dict)
    orders: list[tuple[float, act.Evict]] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    """How many were ready, after each event."""

    def cache(self, entity: str) -> Cache:
        return self.of.setdefault(_life(self.driver.entity(entity)), Cache())

    def second(self, grow: Callable[[Cache], None] = lambda _: None) -> None:
        """One second goes by, and all are measured."""
        self.driver.wait(1.0)
        self.measure(grow)

    def measure(self, grow: Callable[[Cache], None] = lambda _: None) -> None:
        readings = []
        for entity in self.driver.fleet.entities.values():
            if entity.is_live:
                cache = self.of.setdefault(_life(entity), Cache())
                if entity.state is State.READY:
                    grow(cache)
                readings.append(self.reading(entity, cache))
        self._do(self.driver.tell(events.Measured(tuple(readings))))

    def reading(self, entity: Entity, cache: Cache) -> events.Reading:
        pss = cache.rss if self.measures_all else None
        return events.Reading(
            entity.id, entity.incarnation, cache.rss, pss, cache.executions, cache.blocked, cache.tasks
        )

    def follow(self) -> None:
        """What starts gets ready, what drains is done."""
        while self.driver.named(State.STARTING) or self.driver.named(State.DRAINING):
            for name in self.driver.named(State.STARTING):
                self.driver.boot(name)
                self._count()
            for name in self.driver.named(State.DRAINING):
                self.driver.leave(name)
                self._count()

    def _do(self, actions: tuple[act.Action, ...]) -> None:
        self._count()
        for action in actions:
            if isinstance(action, act.Evict):
                self.orders.append((self.driver.now, action))
            if not self.answers:
                continue
            if isinstance(action, act.FindClosed):
                closed = tuple(f"run-{n}" for n in range(min(self.closed, action.at_most)))
                life = action.life
                self._do(self.driver.tell(events.ClosedFound(life.entity, life.incarnation, closed)))
            elif isinstance(action, act.Evict):
                self._evict(action)

    def _evict(self, order: act.Evict) -> None:
        cache = self.of[order.life]
        gone, before = min(order.at_most, cache.blocked), cache.rss
        cache.executions -= gone
        life = order.life
        told = events.Evicted(life.entity, life.incarnation, gone, cache.executions, before, cache.rss)
        self._do(self.driver.tell(told))

    def _count(self) -> None:
        self.ready.append(len(self.driver.named(State.READY)))


def _life(entity: Entity) -> Life:
    return Life(entity.id, entity.incarnation)
