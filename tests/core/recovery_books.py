"""What must hold of recoveries and of poison, whatever happens: a death leads to a recovery or needs none,
files go once and not before, nobody is condemned without the deaths. Kept in books of its own."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from temporal_fleet.protocol.exits import Verdict, verdict
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.decide import STALL_GRACE
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life, SuspectKey
from temporal_fleet.supervisor.core.fleet import AGENT, Entity, Fleet, HelperState, Leaving, Phase
from temporal_fleet.supervisor.core.poison import CACHED_AT_MOST, KEPT, WINDOW
from temporal_fleet.supervisor.core.recoveries import LAST_WAIT, OVERDUE_AFTER
from temporal_fleet.supervisor.core.states import State

_ON_ITS_OWN = {Verdict.CLUSTER, Verdict.HOST, Verdict.PROGRAM}


@dataclass(slots=True)
class RecoveryBooks:
    seen: Counter[str]
    open: dict[Life, int] = field(default_factory=dict)
    """Recoveries that are due, with the life of the agent that was told; 0: none was."""
    unheard: dict[Life, float] = field(default_factory=dict)
    """Those of which the agent has said nothing since it was told."""
    forgotten: set[Life] = field(default_factory=set)
    given_up: set[Life] = field(default_factory=set)
    deaths: Counter[SuspectKey] = field(default_factory=Counter)
    """At most so often something was in hand at a death that nobody ordered."""
    waits_since: float | None = None
    """The fleet stops, and waits for nothing else."""

    def of_next_supervisor(self, boxes: Collection[Life]) -> "RecoveryBooks":
        """`boxes`: the lives whose black boxes are there, as some are that were to be forgotten."""
        return RecoveryBooks(self.seen, forgotten=self.forgotten - set(boxes), deaths=self.deaths)

    def died(self, before: Fleet, after: Fleet, event: events.Died, ordered: bool) -> bool:
        """A life that was in the books is over. Whether its files may go at once."""
        place = before.entities[event.entity]
        life = Life(event.entity, event.incarnation)
        if never_began(place, event):
            return True
        self._book_evidence(before, after, event, ordered)
        if not _is_needed(place, event):
            self.seen["death without a recovery"] += 1
            return True
        self.seen["death with a recovery"] += 1
        self.open[life] = 0
        self._verdicts_are_just(before, after, event)
        return False

    def check(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...], now: float
    ) -> None:
        """After `died`, where there was one."""
        match event:
            case events.Started():
                self._book_dead(event, after)
            case events.Recovered(life) if life in self.open:
                del self.open[life]
                assert act.Forget(life) in actions, f"{life} is recovered, and its files stay"
                self.waits_since = None
            case events.RecoveryDelayed(life):
                self.unheard.pop(life, None)
            case events.Stalled() if self.waits_since is not None:
                self.waits_since = max(self.waits_since, now + STALL_GRACE - LAST_WAIT)
        self._the_stop_waits_and_not_for_ever(before, after, now)
        for action in actions:
            match action:
                case act.Forget(life):
                    assert life not in self.forgotten, f"{life} is forgotten twice"
                    assert life not in self.open, f"{life} is forgotten before it was recovered"
                    ends = events.Died | events.Started | events.Recovered | events.ForkRefused
                    assert isinstance(event, ends), f"{action} after {event}"
                    self.forgotten.add(life)
                    self.unheard.pop(life, None)
                case act.Recover(life):
                    agent = after.helpers[AGENT]
                    assert agent.state is HelperState.READY, f"{action}: there is no agent"
                    assert life in self.open, f"{action}: not due"
                    assert self.open[life] != agent.life, f"{action}: this agent was told before"
                    self.seen["recovered by another agent"] += self.open[life] != 0
                    self.open[life] = agent.life
                    self.unheard[life] = now
                case act.StopHelper(key) if key == AGENT:
                    assert not self.open, f"the agent goes, and {self.open} are open"
                case act.SaveSuspects(suspects):
                    assert suspects == tuple(after.suspects.values())
        assert self.open.keys() == after.recoveries.keys(), f"{self.open}, and not {after.recoveries}"
        self._whoever_can_be_recovered_is(after)
        self._suspects_are_saved(before, event, after, actions)

    def _book_dead(self, event: events.Started, after: Fleet) -> None:
        known = {recovery.life: recovery for recovery in event.books.recoveries}
        for dead in event.dead:
            life = Life(dead.entity, dead.incarnation)
            assert after.incarnations[dead.entity] >= dead.incarnation
            if dead.estate == NOTHING:
                continue
            self.seen["found dead"] += 1
            self.open[life] = 0
            if before := known.get(life):
                self.seen["recovery goes on"] += 1
                assert after.recoveries[life].verdicts == before.verdicts

    def is_silent(self, now: float) -> bool:
        """Whether the agent owes a word for too long."""
        return any(now >= told + OVERDUE_AFTER for told in self.unheard.values())

    def _the_stop_waits_and_not_for_ever(self, before: Fleet, after: Fleet, now: float) -> None:
        if before.phase is Phase.DRAINING and after.phase is not Phase.DRAINING and self.open:
            assert self.waits_since is not None
            assert now >= self.waits_since + LAST_WAIT - 1e-6, f"{self.open} were given up too early"
            self.seen["recovery given up"] += len(self.open)
            self.given_up |= self.open.keys()
            self.open.clear()
        if after.phase is Phase.DRAINING and not after.entities:
            assert self.open, "it waits for nothing"
            self.waits_since = now if self.waits_since is None else self.waits_since
            assert now < self.waits_since + LAST_WAIT, f"it waits too long for {self.open}"

    def _whoever_can_be_recovered_is(self, after: Fleet) -> None:
        agent = after.helpers.get(AGENT)
        if agent is None or agent.state is not HelperState.READY:
            return
        if not after.embedded or after.cluster.reachable is not None:
            late = [life for life, told in self.open.items() if told != agent.life]
            assert not late, f"nobody was told to recover {late}"

    def _suspects_are_saved(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...]
    ) -> None:
        if after.suspects != before.suspects and not isinstance(event, events.Started):
            assert any(isinstance(action, act.SaveSuspects) for action in actions), "suspects are not saved"
        assert len(after.suspects) <= KEPT
        for key, suspect in after.suspects.items():
            assert suspect.key == key
            assert 1 <= suspect.deaths <= self.deaths[key], f"{suspect} was at {self.deaths[key]} deaths"

    def _book_evidence(self, before: Fleet, after: Fleet, event: events.Died, ordered: bool) -> None:
        place = before.entities[event.entity]
        unready = place.ready_at is None and (before.cluster.reachable is False or before.cluster.refused)
        unknown = event.code is None and event.signal is None
        crash = meaning(place, event) is Verdict.CRASH and not (unknown and unready)
        overdue = place.leaving is Leaving.ITSELF and (event.signal == "SIGKILL" or unknown)
        several = len({held.key for held in event.estate.activities}) > 1
        large = place.leaving is Leaving.TOO_LARGE
        vague = (several and (large or place.leaving is Leaving.HUNG)) or (
            large and event.estate.cached > CACHED_AT_MOST
        )
        innocent = place.leaving is Leaving.NO_SLOT_LEFT
        if not crash or before.phase is not Phase.RUNNING or ordered or overdue or vague or innocent:
            self.seen["no evidence"] += 1
            assert after.suspects == before.suspects, f"{event} counts, and proves nothing: {place.leaving}"
            return
        self.deaths.update(_in_hand(event.estate))

    def _verdicts_are_just(self, before: Fleet, after: Fleet, event: events.Died) -> None:
        place = before.entities[event.entity]
        recovery = after.recoveries[Life(event.entity, event.incarnation)]
        held = {activity.task_token: activity.key for activity in event.estate.activities}
        condemned = {held[verdict.task_token] for verdict in recovery.verdicts if verdict.poison}
        assert len(condemned) <= 1
        for ruling in recovery.verdicts:
            assert not (ruling.poison and ruling.retry_after)
            assert (held[ruling.task_token] in condemned) == bool(ruling.poison), "two verdicts for one"
        self.seen["retried apart"] += any(verdict.retry_after for verdict in recovery.verdicts)
        for key in condemned:
            self.seen["condemned"] += 1
            assert self.deaths[key] >= before.pools[place.pool].poison_after > 0, f"{key} is condemned early"
            assert key not in after.suspects
            known = {s.key: s.deaths for s in before.suspects.values() if event.wall - s.last < WINDOW}
            for other in _in_hand(event.estate) - {key}:
                assert known.get(other, 0) < known.get(key, 0), f"{key} is condemned, and not {other}"


def is_explained(before: Fleet, after: Fleet, event: events.Died) -> bool:
    """Whether a run was in hand that is known to be at such deaths, and no culprit explains this one."""
    life = str(Life(event.entity, event.incarnation))
    pool = before.pools.get(before.entities[event.entity].pool)
    at_it = (after.suspects.get(run.key) for run in event.estate.runs)
    known = [suspect for suspect in at_it if suspect is not None and life in suspect.lives]
    return pool is not None and any(suspect.deaths >= pool.poison_after for suspect in known)


def never_began(place: Entity, event: events.Died) -> bool:
    """Nobody knows how it ended, and nothing tells that it ever worked."""
    if event.code is not None or event.signal is not None:
        return False
    newborn = place.adopted and place.state is State.STARTING and event.estate == NOTHING
    return place.pid is None or newborn


def meaning(place: Entity, event: events.Died) -> Verdict:
    """Of one that drained nothing is left; who leaves something did not."""
    if event.signal is not None:
        return Verdict.CRASH
    if event.code is None:
        began = place.ready_at is not None or place.leaving is not None
        return Verdict.LEFT if began and event.estate == NOTHING else Verdict.CRASH
    means = verdict(event.code)
    return Verdict.CRASH if means is Verdict.LEFT and event.estate != NOTHING else means


def _in_hand(estate: Estate) -> set[SuspectKey]:
    return {held.key for held in estate.activities} | {run.key for run in estate.runs}


def _is_needed(place: Entity, event: events.Died) -> bool:
    if event.estate == NOTHING:
        return False
    if meaning(place, event) in _ON_ITS_OWN and place.ready_at is None:
        return event.estate != Estate(connected=True)
    return True
