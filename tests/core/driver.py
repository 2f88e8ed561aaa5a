"""Tells a core what happens, one event at a time, in the words of a test."""

from typing import TypeVar

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.books import NO_BOOKS, Books
from temporal_fleet.supervisor.core.decide import decide, next_deadline
from temporal_fleet.supervisor.core.fleet import Entity, Fleet, HelperKey, HelperKind, HelperState, Pool
from temporal_fleet.supervisor.core.states import State
from tests.core.pools import by_name

A = TypeVar("A", bound=act.Action)


class Driver:
    def __init__(
        self,
        *pools: Pool,
        embedded: bool = False,
        books: Books = NO_BOOKS,
        found: tuple[events.Found, ...] = (),
        dead: tuple[events.FoundDead, ...] = (),
        now: float = 1000.0,
        in_place: bool = False,
        budget: int | None = None,
    ) -> None:
        self.now = now
        self.fleet = Fleet(embedded=embedded)
        self.last: tuple[act.Action, ...] = ()
        """What the last event brought about."""
        self.all: list[act.Action] = []
        self.tell(
            events.Started(by_name(*pools), budget, books=books, found=found, dead=dead, in_place=in_place)
        )

    # What happens

    def tell(self, event: events.Event) -> tuple[act.Action, ...]:
        self.fleet, self.last = decide(self.fleet, event, self.now)
        self.all += self.last
        return self.last

    def wait(self, seconds: float) -> None:
        """Time goes by, and every deadline within it is met when it comes."""
        until = self.now + seconds
        while (due := next_deadline(self.fleet)) is not None and due <= until:
            self.now = max(self.now, due)
            self.tell(events.Tick())
        self.now = until

    def prepare(self, code: str = "") -> None:
        """Every helper that starts gets ready, a fork server with this code."""
        for helper in tuple(self.fleet.helpers.values()):
            if helper.state is HelperState.STARTING:
                self.tell(events.HelperReady(helper.key, helper.life, code))

    def boot(self, *names: str) -> None:
        """These, or all that start, are announced, say Hello and get ready."""
        for name in names or self.named(State.STARTING):
            entity = self.entity(name)
            pid = 10 * entity.incarnation + entity.ordinal
            self.tell(events.Forked(name, entity.incarnation, pid))
            self.tell(events.Greeted(name, entity.incarnation, pid))
            self.tell(events.BecameReady(name, entity.incarnation))

    def die(self, name: str, code: int | None = None, signal: str | None = None) -> None:
        if code is None and signal is None:
            signal = "SIGKILL"
        self.tell(events.Died(name, self.entity(name).incarnation, code, signal))

    def leave(self, *names: str) -> None:
        """These, or all that drain, are done with it."""
        for name in names or self.named(State.DRAINING):
            self.die(name, code=0)

    def helper_dies(self, key: HelperKey, reason: str = "killed by SIGKILL") -> None:
        self.tell(events.HelperDied(key, self.fleet.helpers[key].life, reason))

    def helper_refuses(self, key: HelperKey, reason: str) -> None:
        self.tell(events.HelperRefused(key, self.fleet.helpers[key].life, reason))

    # What can be seen

    def entity(self, name: str) -> Entity:
        return self.fleet.entities[name]

    def state(self, name: str) -> State:
        return self.fleet.entities[name].state

    def named(self, state: State) -> list[str]:
        return [name for name, entity in self.fleet.entities.items() if entity.state is state]

    def did(self, kind: type[A]) -> list[A]:
        """The actions of this kind that the last event brought about."""
        return [action for action in self.last if isinstance(action, kind)]

    def server(self, pool: str) -> HelperKey:
        return self.fleet.pools[pool].fork_server

    def fork_servers(self) -> set[str]:
        return {key.name for key in self.fleet.helpers if key.kind is HelperKind.FORK_SERVER}


def up(*pools: Pool, embedded: bool = False, budget: int | None = None) -> Driver:
    """A fleet that runs: every helper and every entity ready."""
    driver = Driver(*pools, embedded=embedded, budget=budget)
    driver.prepare()
    if embedded:
        driver.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    driver.boot()
    return driver
