"""What must hold after every decision, whatever happens. Kept in books of its own, from the events and the
actions alone where that is possible, so that a wrong core cannot vouch for itself."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import estate, events
from temporal_fleet.supervisor.core.decide import decide, next_deadline
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    Fleet,
    HelperKey,
    HelperKind,
    HelperState,
    Leaving,
    Phase,
    Standing,
    effective,
)
from temporal_fleet.supervisor.core.gpus import why_it_waits
from temporal_fleet.supervisor.core.kinds import KINDS
from temporal_fleet.supervisor.core.restart import HEALTHY_AFTER, Policy, RestartPolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import entity_reason, fleet_state, pool_reason
from tests.core.change_books import ChangeBooks
from tests.core.liveness_books import LivenessBooks
from tests.core.memory_books import MemoryBooks
from tests.core.recovery_books import RecoveryBooks, is_explained, meaning, never_began

_DEAD = {State.WAITING, State.BACKOFF, State.STOPPED, State.FAILED}
_WITHIN_A_LIFE = {
    (State.STARTING, State.STARTING),
    (State.STARTING, State.READY),
    (State.STARTING, State.DRAINING),
    (State.READY, State.READY),
    (State.READY, State.DRAINING),
    (State.READY, State.QUIET),
    (State.QUIET, State.QUIET),
    (State.QUIET, State.DRAINING),
    (State.DRAINING, State.DRAINING),
}
_BETWEEN_LIVES = {
    (State.WAITING, State.WAITING),
    (State.WAITING, State.FAILED),
    (State.BACKOFF, State.BACKOFF),
    (State.BACKOFF, State.WAITING),
    (State.BACKOFF, State.FAILED),
    (State.STOPPED, State.STOPPED),
    (State.STOPPED, State.WAITING),
    (State.STOPPED, State.FAILED),
    (State.FAILED, State.FAILED),
    (State.FAILED, State.WAITING),
}
_TIMED = {State.STARTING, State.DRAINING, State.BACKOFF}
_CHANGE_REQUESTS = (
    events.ReloadRequested,
    events.ScaleRequested,
    events.RestartRequested,
    events.DrainRequested,
    events.ResumeRequested,
    events.QuietRequested,
)


@dataclass(slots=True)
class Life:
    """One life, from the order to fork until its death is told."""

    incarnation: int
    pool: str
    version: str
    server: HelperKey | None
    server_life: int
    gpus: tuple[int, ...] = ()
    ordered: bool = False
    """The core told it to go, while it did not on its own."""
    ready_at: float | None = None


@dataclass(slots=True)
class Record:
    """How a place fared, counted anew here."""

    crashes: list[float] = field(default_factory=list)
    streak: int = 0
    not_before: float = 0.0
    awaits_cluster: bool = False


@dataclass(slots=True)
class Invariants:
    lives: dict[str, Life] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    incarnations: dict[str, int] = field(default_factory=dict)
    helpers: dict[HelperKey, int] = field(default_factory=dict)
    """The present life of each helper process that was ordered and not reported dead."""
    helper_lives: dict[HelperKey, int] = field(default_factory=dict)
    may_fail: set[str] = field(default_factory=set)
    finished: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    """What happened, so that a test can tell that it happened at all."""
    recoveries: RecoveryBooks = field(init=False)
    memory: MemoryBooks = field(init=False)
    liveness: LivenessBooks = field(init=False)
    changes: ChangeBooks = field(init=False)

    def __post_init__(self) -> None:
        self.recoveries = RecoveryBooks(self.seen)
        self.memory = MemoryBooks(self.seen)
        self.liveness = LivenessBooks(self.seen)
        self.changes = ChangeBooks(self.seen)

    def of_next_supervisor(self, boxes: Collection[estate.Life]) -> "Invariants":
        """`boxes`: the lives whose black boxes are there."""
        following = Invariants(incarnations=self.incarnations, seen=self.seen)
        following.recoveries = self.recoveries.of_next_supervisor(boxes)
        if not self.finished:
            # A fleet that stopped left nothing of its changes.
            following.changes = self.changes.of_next_supervisor()
        return following

    def check(
        self,
        before: Fleet,
        event: events.Event,
        after: Fleet,
        actions: tuple[act.Action, ...],
        now: float,
    ) -> None:
        self.seen[type(event).__name__] += 1
        if isinstance(event, events.Heard) and not actions:
            self._heard_changes_nothing_else(before, event, after)
            return
        self.seen.update(type(action).__name__ for action in actions)
        self._deciding_again_gives_the_same(before, event, after, actions, now)
        self.may_fail.clear()
        self._book_event(before, event, after, actions, now)
        self._places_change_as_they_may(before, event, after, actions)
        for action in actions:
            if isinstance(action, act.Emit):
                assert action.level in KINDS[action.kind].levels, f"{action}: not as the docs say"
            self._book_action(before, event, after, action, now)
        self.recoveries.check(before, event, after, actions, now)
        self.memory.check(before, event, after, actions, now)
        self.liveness.check(before, event, after, actions, now)
        self._nobody_fails_without_cause(before, after)
        self._helpers_are_told(before, after, actions)
        self._nobody_is_left_to_a_dead_fork_server(after)
        self._a_stall_is_nobodys_silence(event, actions)
        self._never_too_many(after, actions)
        self._gpus_are_one_lifes_alone(after, actions)
        self._enough_stay_ready(before, event, after, actions)
        self._who_is_quiet_is_left_alone(before, event, after, actions)
        self.changes.check(before, event, after, actions)
        self._deadlines_are_armed_and_ahead(event, after, now)
        self._it_can_be_shown(after)

    # The books

    def _book_event(
        self,
        before: Fleet,
        event: events.Event,
        after: Fleet,
        actions: tuple[act.Action, ...],
        now: float,
    ) -> None:
        self._clear_records(before, event, after, now)
        match event:
            case events.Started():
                self._book_adoption(event, after, actions)
            case events.BecameReady(name, incarnation):
                life = self.lives.get(name)
                entity = before.entities.get(name)
                if life and entity and life.incarnation == incarnation and entity.state is State.STARTING:
                    life.ready_at = now
            case events.LeftByItself(name, incarnation, _, True):
                # By an earlier supervisor, or for want of one.
                place = before.entities.get(name)
                if place and place.is_live and place.incarnation == incarnation:
                    self._book_order(before, name)
            case events.Died(name, incarnation):
                if (life := self.lives.get(name)) and life.incarnation == incarnation:
                    del self.lives[name]
                    may_go = self.recoveries.died(before, after, event, life.ordered)
                    gone = act.Forget(estate.Life(name, incarnation)) in actions
                    assert gone == may_go, f"{event}: forgotten is {gone}, not {may_go}"
                    self._book_death(before, after, event, life, now)
                    if name not in after.entities:
                        del self.records[name]
            case events.ForkRefused(name, incarnation):
                entity = before.entities.get(name)
                if (life := self.lives.get(name)) and life.incarnation == incarnation and entity:
                    del self.lives[name]
                    record = self.records.setdefault(name, Record())
                    if entity.state is State.DRAINING:
                        record.crashes, record.streak, record.not_before = [], 0, now
                    else:
                        policy = before.pools[life.pool].restart
                        record.streak += 1
                        wait = max(policy.backoff, _least_wait(policy, record.streak))
                        record.not_before = now + wait
                        record.awaits_cluster = False
            case events.HelperDied(key, life_number):
                if self.helpers.get(key) == life_number:
                    del self.helpers[key]
            case events.ClusterChanged(reachable=True, refused=False):
                for record in self.records.values():
                    if record.awaits_cluster:
                        record.not_before = now

    def _book_adoption(self, event: events.Started, after: Fleet, actions: tuple[act.Action, ...]) -> None:
        """Whoever lives is in its place as it was, and nobody else; from here on the books go by that."""
        told = {action.entity for action in actions if isinstance(action, act.TellDrain)}
        for found in event.found:
            place = after.entities[found.entity]
            known = event.books.entities.get(found.entity)
            assert (place.incarnation, place.pid) == (found.incarnation, found.pid)
            assert known is not None, f"{found} was forked, and is in no books"
            assert place.adopted
            assert place.state is known.state or found.entity in told, f"{known} became {place}"
            counted = place.restarts, place.streak, place.crashes, place.last_exit, place.forked_at
            assert counted == (known.restarts, known.streak, known.crashes, known.last_exit, known.forked_at)
            self.lives[found.entity] = Life(
                place.incarnation,
                place.pool,
                place.version,
                None,
                0,
                found.gpus,
                ordered=known.leaving in {Leaving.ORDERED, Leaving.STUCK},
                ready_at=place.ready_at,
            )
            self.seen[f"adopted {place.state.value}"] += 1
        assert {e.id for e in after.entities.values() if e.is_live} == {f.entity for f in event.found}
        for entity in after.entities.values():
            waits = entity.deadline if entity.state is State.BACKOFF and entity.deadline is not None else 0.0
            ended = entity.last_exit
            self.records[entity.id] = Record(
                list(entity.crashes),
                entity.streak,
                waits,
                entity.state is State.BACKOFF and ended is not None and ended.meaning is Verdict.CLUSTER,
            )
        self.may_fail |= {e.id for e in event.books.entities.values() if e.state is State.FAILED}
        for dead in event.dead:
            self.incarnations[dead.entity] = max(dead.incarnation, self.incarnations.get(dead.entity, 0))

    def _clear_records(self, before: Fleet, event: events.Event, after: Fleet, now: float) -> None:
        """A place begins anew when it goes, when its version changes, when it is restarted by name."""
        for name, record in self.records.items():
            place = before.entities.get(name)
            pool = after.pools.get(place.pool) if place else None
            gone = name not in after.entities
            renewed = pool is not None and place is not None and place.version != pool.version
            asked = (
                isinstance(event, events.RestartRequested)
                and event.target == name
                and before.phase is Phase.RUNNING
            )
            was_ended = place is not None and place.state is State.STOPPED
            if gone or was_ended or (place is not None and not place.is_live and (renewed or asked)):
                record.crashes, record.streak, record.not_before = [], 0, now
                record.awaits_cluster = False

    def _book_death(self, before: Fleet, after: Fleet, event: events.Died, life: Life, now: float) -> None:
        record = self.records.setdefault(event.entity, Record())
        record.awaits_cluster = False
        place = before.entities[event.entity]
        pool = before.pools.get(life.pool)
        means = meaning(place, event)
        if never_began(place, event):
            self.seen["never was"] += 1
            record.crashes, record.streak, record.not_before = [], 0, now
            return
        blocked = _cluster_is_down(before) and life.ready_at is None
        unknown = event.code is None and event.signal is None
        self.seen["adopted death"] += unknown
        late = blocked and (
            unknown or (place.leaving is not None and place.leaving.value == "not ready in time")
        )
        # A change that it speaks against may be taken back in this very decision.
        now_wanted = after.pools[life.pool].version if life.pool in after.pools else None
        outdated = pool is None or not life.version == pool.version == now_wanted
        retired = place.standing is Standing.RETIRED
        if life.ordered or before.phase is not Phase.RUNNING or pool is None or outdated or retired:
            self.seen["ordered death"] += 1
            record.crashes, record.streak, record.not_before = [], 0, now
            return
        policy = pool.restart
        if means is Verdict.PROGRAM:
            self._must_be(after, event, State.FAILED)
        elif means in {Verdict.CLUSTER, Verdict.HOST} or late:
            self.seen["late in boot" if late else f"{means.value} death"] += 1
            record.not_before = now + policy.backoff_max / 2
            record.awaits_cluster = late or means is Verdict.CLUSTER
            self._must_be(after, event, State.BACKOFF)
        elif policy.policy is Policy.NEVER or (means is Verdict.LEFT and policy.policy is Policy.ON_FAILURE):
            # A change that is taken back in this very decision may have brought that policy.
            if after.pools[life.pool].restart.policy is not Policy.ALWAYS:
                self._must_be(after, event, State.STOPPED)
        else:
            self._book_crash(before, after, event, life, record, policy, now)

    def _book_crash(
        self,
        before: Fleet,
        after: Fleet,
        event: events.Died,
        life: Life,
        record: Record,
        policy: RestartPolicy,
        now: float,
    ) -> None:
        record.crashes = [c for c in record.crashes if now - c < policy.within]
        explained = is_explained(before, after, event)
        self.seen["explained death"] += explained
        if not explained:
            record.crashes.append(now)
        healthy = life.ready_at is not None and now - life.ready_at >= HEALTHY_AFTER
        record.streak = 1 if healthy else record.streak + 1
        if not explained and len(record.crashes) > policy.max_restarts:
            self.seen["crash loop"] += 1
            self._must_be(after, event, State.FAILED)
            record.crashes, record.streak = [], 0
            return
        least = _least_wait(policy, record.streak)
        record.not_before = now + least
        if least > 0.0:
            self.seen["backoff"] += 1
            self._must_be(after, event, State.BACKOFF)
            place = after.entities.get(event.entity)
            assert place is None or place.deadline is None or place.deadline <= now + 2 * least, (
                f"{event.entity} waits longer than its backoff"
            )

    def _must_be(self, after: Fleet, event: events.Died, state: State) -> None:
        place = after.entities.get(event.entity)
        assert place is None or place.state is state, f"{event} leaves {place}, not {state}"
        if state is State.FAILED:
            self.may_fail.add(event.entity)

    def _book_action(
        self, before: Fleet, event: events.Event, after: Fleet, action: act.Action, now: float
    ) -> None:
        match action:
            case act.Fork():
                self._fork_is_right(before, after, action, now)
            case act.TellDrain(name, incarnation):
                if isinstance(event, events.Greeted) and event.entity == name:
                    return
                self._names_the_living(after, name, incarnation)
                self._book_order(before, name)
            case act.Kill(name, incarnation, pid):
                life = self._names_the_living(after, name, incarnation)
                assert after.entities[name].pid == pid, f"{action} is not of the present life"
                assert pid is not None or self.helpers.get(_key(life)) != life.server_life, (
                    f"{action}, while its fork server may still fork it"
                )
                if after.entities[name].leaving is Leaving.TOO_LARGE:
                    # For what it did, whatever it had been told.
                    life.ordered = False
                else:
                    self._book_order(before, name)
            case act.DumpStacks(name, incarnation, pid):
                self._names_the_living(after, name, incarnation)
                assert after.entities[name].pid == pid
            case act.StartHelper(key, life_number, program):
                assert key not in self.helpers, f"{key} has a process already"
                assert life_number > self.helper_lives.get(key, 0), f"{key} life {life_number} came before"
                assert (program is not None) == (key.kind is HelperKind.FORK_SERVER), f"{action}"
                self.helpers[key] = self.helper_lives[key] = life_number
            case act.StopHelper(key):
                assert key in self.helpers, f"{action} names no live helper"
            case act.KillHelper(key):
                assert key in self.helpers, f"{action} names no live helper"
                overdue = before.helpers[key].deadline is not None
                owes = any(
                    life.server_life == self.helpers[key] and after.entities[name].pid is None
                    for name, life in self.lives.items()
                )
                hurried = key.kind is HelperKind.FORK_SERVER and after.phase is not Phase.RUNNING
                silent = key == AGENT and self.recoveries.is_silent(now)
                self.seen["silent agent"] += silent
                assert overdue or owes or hurried or silent, f"{action}, and it has done nothing wrong"
            case act.Welcome(name, incarnation):
                assert isinstance(event, events.Greeted)
                assert (event.entity, event.incarnation) == (name, incarnation)
            case act.Finish():
                assert not self.finished, "finished twice"
                assert not self.lives, f"finished, and {self.lives} live"
                assert not self.helpers, f"finished, and {self.helpers} live"
                self.finished = True

    def _names_the_living(self, after: Fleet, name: str, incarnation: int) -> Life:
        life = self.lives.get(name)
        assert life is not None, f"{name}.{incarnation} does not live"
        assert life.incarnation == incarnation, f"{name}.{incarnation}: {life.incarnation} lives"
        return life

    def _book_order(self, before: Fleet, name: str) -> None:
        place = before.entities.get(name)
        if place is not None and place.state is not State.DRAINING:
            self.lives[name].ordered = True

    # Fork

    def _fork_is_right(self, before: Fleet, after: Fleet, fork: act.Fork, now: float) -> None:
        place = after.entities[fork.entity]
        pool = after.pools[fork.pool]
        old = before.entities.get(fork.entity)
        assert old is None or old.standing is not Standing.RETIRED, f"{fork.entity} was retired, and is back"
        assert after.phase is Phase.RUNNING, "a fork while the fleet stops"
        assert fork.entity not in self.lives, f"{fork.entity} gets a second life at the same time"
        assert fork.incarnation > self.incarnations.get(fork.entity, 0), f"{fork}: an incarnation came again"
        assert (place.state, place.incarnation) == (State.STARTING, fork.incarnation)
        assert place.deadline == now + pool.boot, f"{fork.entity} was forked before its deadline was armed"
        assert (place.version, fork.fork_server) == (pool.version, pool.fork_server), "not the wanted version"
        assert after.helpers[fork.fork_server].state is HelperState.READY, f"{fork}: no such fork server"
        assert not _cluster_is_down(after), f"{fork.entity} is started while the Cluster is away"
        assert not (after.embedded and after.cluster.reachable is None), "a start before the dev server"
        record = self.records.get(fork.entity)
        assert record is None or now >= record.not_before, (
            f"{fork.entity} is forked {record.not_before - now:.3f} s before its backoff is over"
        )
        self.incarnations[fork.entity] = fork.incarnation
        self.lives[fork.entity] = Life(
            fork.incarnation,
            fork.pool,
            pool.version,
            fork.fork_server,
            self.helpers[fork.fork_server],
            fork.gpus,
        )

    def _gpus_are_one_lifes_alone(self, after: Fleet, actions: tuple[act.Action, ...]) -> None:
        """From the order to fork until its death is told; and nobody waits for what is free."""
        given = [gpu for life in self.lives.values() for gpu in life.gpus]
        assert len(given) == len(set(given)), f"a GPU is two entities' own: {self.lives}"
        for fork in actions:
            if isinstance(fork, act.Fork):
                gpus = after.pools[fork.pool].gpus
                assert len(fork.gpus) == gpus.each
                assert set(fork.gpus) <= set(gpus.devices), f"{fork}: {gpus}"
                self.seen["forked with GPUs"] += bool(fork.gpus)
        everybody = after.entities.values()
        for place in everybody:
            assert place.gpus == (self.lives[place.id].gpus if place.is_live else ()), f"{place}"
            pool = after.pools.get(place.pool)
            if place.state is State.WAITING and pool and pool.gpus.each and why_it_waits(pool, everybody):
                gpus = pool.gpus
                assert len(set(gpus.devices) - set(given)) < gpus.each, f"{place} waits, and need not"
                self.seen["waited for GPUs"] += 1

    def _never_too_many(self, after: Fleet, actions: tuple[act.Action, ...]) -> None:
        for name in {action.pool for action in actions if isinstance(action, act.Fork)}:
            pool = after.pools[name]
            pool = effective(pool, after.drained)
            quiet = {entity.id for entity in after.members(name) if entity.state is State.QUIET}
            count = sum(life.pool == name and place not in quiet for place, life in self.lives.items())
            assert count <= pool.desired + pool.rollout.max_surge, (
                f"{name}: {count} live, {pool.desired} + {pool.rollout.max_surge} may"
            )

    # Places

    def _places_change_as_they_may(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...]
    ) -> None:
        forks = {(a.entity, a.incarnation) for a in actions if isinstance(a, act.Fork)}
        ended = (
            (event.entity, event.incarnation) if isinstance(event, events.Died | events.ForkRefused) else None
        )
        for name in before.entities.keys() | after.entities.keys():
            old, new = before.entities.get(name), after.entities.get(name)
            if old is new or isinstance(event, events.Started):
                continue
            forked = new is not None and (name, new.incarnation) in forks
            if old is not None and old.is_live and ended != (name, old.incarnation):
                assert new is not None, f"the place of {name} goes while it lives"
                assert new.incarnation == old.incarnation, f"{name} begins a life while it lives"
                assert (old.state, new.state) in _WITHIN_A_LIFE, f"{name}: {old.state} to {new.state}"
            elif new is not None and new.is_live:
                assert forked, f"{name}.{new.incarnation} lives, and nobody forked it"
                assert (
                    old is None
                    or old.state not in {State.STOPPED, State.FAILED}
                    or (after.generation != before.generation or _restarts(event, name))
                    or (isinstance(event, events.HelperReady) and after.epoch > before.epoch)
                ), f"{name} rises from {old.state}"
            elif old is not None and not old.is_live and new is not None:
                assert (old.state, new.state) in _BETWEEN_LIVES, f"{name}: {old.state} to {new.state}"
            elif new is not None:
                assert new.state in _DEAD

    def _nobody_fails_without_cause(self, before: Fleet, after: Fleet) -> None:
        for name, place in after.entities.items():
            old = before.entities.get(name)
            if place.state is not State.FAILED or (old is not None and old.state is State.FAILED):
                continue
            pool = after.pools.get(place.pool)
            server = after.helpers.get(pool.fork_server) if pool else None
            refused = server is not None and server.state is HelperState.REFUSED
            assert refused or name in self.may_fail, f"{name} failed without cause: {place.reason}"

    def _helpers_are_told(self, before: Fleet, after: Fleet, actions: tuple[act.Action, ...]) -> None:
        """A helper is never only believed to be started or told to go."""
        started = {a.key for a in actions if isinstance(a, act.StartHelper)}
        stopped = {a.key for a in actions if isinstance(a, act.StopHelper | act.KillHelper)}
        for key, helper in after.helpers.items():
            old = before.helpers.get(key)
            if old is None or old.life != helper.life:
                assert key in started, f"{helper} was never started"
            elif old.state is not helper.state and helper.state is HelperState.STOPPING:
                assert key in stopped, f"{helper} was not told"

    def _nobody_is_left_to_a_dead_fork_server(self, after: Fleet) -> None:
        """Its death is told once: who it did not announce is sought at once, or nobody ever would be."""
        for place in after.entities.values():
            if place.state is State.STARTING and place.pid is None:
                life = self.lives[place.id]
                assert self.helpers.get(_key(life)) == life.server_life, (
                    f"{place} waits for a dead fork server"
                )

    def _a_stall_is_nobodys_silence(self, event: events.Event, actions: tuple[act.Action, ...]) -> None:
        if isinstance(event, events.Stalled):
            blamed = [action for action in actions if isinstance(action, act.DumpStacks)]
            assert not blamed, f"{blamed} after the supervisor's own stall"

    def _enough_stay_ready(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...]
    ) -> None:
        if after.phase is not Phase.RUNNING or isinstance(event, events.Greeted):
            return
        told = [
            before.entities[a.entity]
            for a in actions
            if isinstance(a, act.TellDrain)
            and a.entity in before.entities
            and before.entities[a.entity].state is State.READY
            and not _restarts(event, a.entity)
        ]
        for name in {entity.pool for entity in told} & after.pools.keys():
            pool = effective(after.pools[name], after.drained)
            members = after.members(name)
            ready = sum(entity.state is State.READY for entity in members)
            out = sum(entity.state in {State.FAILED, State.STOPPED} for entity in members)
            # A surge place that ended as its policy wants is taken away in the same decision.
            out += isinstance(event, events.Died) and event.entity not in after.entities
            needed = pool.desired - pool.rollout.max_unavailable - out
            assert ready >= needed, (
                f"{name}: an order to {[entity.id for entity in told]} leaves {ready} ready, "
                f"{needed} are needed of {pool.desired}: {members}"
            )
            self.seen["ready entity replaced"] += 1

    # The rest

    def _who_is_quiet_is_left_alone(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...]
    ) -> None:
        """It leaves when it is told to by name, with its pool or with the fleet; and nobody is made quiet
        whom nobody named."""
        for action in actions:
            if isinstance(action, act.TellQuiet) and not isinstance(event, events.Greeted):
                assert isinstance(event, events.QuietRequested), f"{action} after {event}"
                assert event.entity == action.entity, f"{action} after {event}"
                assert before.entities[action.entity].state is State.READY
            if isinstance(action, act.TellDrain) and not isinstance(event, events.Greeted):
                place = before.entities.get(action.entity)
                if place is not None and place.state is State.QUIET:
                    with_all = after.phase is not Phase.RUNNING or place.pool not in after.pools
                    assert with_all or _restarts(event, place.id), f"{place} is quiet, and is told to go"
        for place in after.entities.values():
            assert place.state is not State.QUIET or place.standing is Standing.RETIRED, f"{place}"

    def _deadlines_are_armed_and_ahead(self, event: events.Event, after: Fleet, now: float) -> None:
        for entity in after.entities.values():
            assert (entity.deadline is not None) == (entity.state in _TIMED), f"{entity}"
        due = next_deadline(after)
        assert due is None or due > now or isinstance(event, events.Heard), (
            f"after {event} something was due {now - due:.3f} s ago: a busy loop"
        )

    def _deciding_again_gives_the_same(
        self,
        before: Fleet,
        event: events.Event,
        after: Fleet,
        actions: tuple[act.Action, ...],
        now: float,
    ) -> None:
        if self.seen.total() % 16 == 0:
            assert decide(before, event, now) == (after, actions), "the core is not pure"

    def _heard_changes_nothing_else(self, before: Fleet, event: events.Heard, after: Fleet) -> None:
        changed = [n for n, e in after.entities.items() if e is not before.entities.get(n)]
        assert changed in ([], [event.entity])
        assert after.helpers == before.helpers
        assert after.pools == before.pools

    def _it_can_be_shown(self, after: Fleet) -> None:
        if self.seen.total() % 8:
            return
        fleet_state(after)
        for pool in after.pools.values():
            pool_reason(after, pool)
        for entity in after.entities.values():
            entity_reason(after, entity)


def is_at_rest(fleet: Fleet) -> bool:
    """Nothing is under way any more. Nobody is recycled in a pool with places given up: it would shrink."""
    ended = {State.STOPPED, State.FAILED}
    given_up = {entity.pool for entity in fleet.entities.values() if entity.state in ended}
    return (
        fleet.pending is None
        and fleet.roll is None
        and not fleet.waiting
        and not fleet.recoveries
        and all(
            entity.state in {*ended, State.QUIET}
            or (entity.state is State.READY and (not entity.recycle or entity.pool in given_up))
            for entity in fleet.entities.values()
        )
    )


def converged(fleet: Fleet) -> None:
    """What a fleet at rest must look like."""
    for configured in fleet.pools.values():
        pool = effective(configured, fleet.drained)
        members = [e for e in fleet.members(pool.name) if e.state is not State.QUIET]
        server = fleet.helpers[pool.fork_server]
        assert server.state in {HelperState.READY, HelperState.REFUSED}, f"{server}"
        crashed = [e for e in members if e.last_exit and e.last_exit.meaning is Verdict.CRASH]
        if any(e.state is State.FAILED or (e.state is State.STOPPED and e in crashed) for e in members):
            # A roll to code that fails stands still and keeps what runs.
            assert len(members) >= pool.desired
            continue
        assert len(members) == pool.desired, f"{pool.desired} are wanted, there are {members}"
        for entity in members:
            assert entity.state is State.STOPPED or entity.version == pool.version, f"{entity} is outdated"
            assert entity.state is not State.STOPPED or pool.restart.policy is not Policy.ALWAYS
    assert all(entity.pool in fleet.pools for entity in fleet.entities.values()), "a pool that is gone"
    wanted = {pool.fork_server for pool in fleet.pools.values()}
    kept = {entity.fork_server for entity in fleet.entities.values() if entity.is_live}
    there = {key for key in fleet.helpers if key.kind is HelperKind.FORK_SERVER}
    assert wanted <= there <= wanted | kept, f"fork servers {there}, wanted {wanted}"


def _least_wait(policy: RestartPolicy, streak: int) -> float:
    """The jitter takes at most half of `backoff`, doubled for each unhealthy life from the third on."""
    return 0.0 if streak <= 1 else min(policy.backoff_max, policy.backoff * 2.0 ** (streak - 2)) / 2


def _cluster_is_down(fleet: Fleet) -> bool:
    return fleet.cluster.reachable is False or fleet.cluster.refused


def _restarts(event: events.Event, name: str) -> bool:
    return isinstance(event, events.RestartRequested) and event.target == name


def _key(life: Life) -> HelperKey:
    return life.server or HelperKey(HelperKind.FORK_SERVER, "of an earlier supervisor")
