"""The supervisor's loop, and its only clock: descriptors -> events -> `decide` -> actions. No policy."""

import math
import signal
import time
from collections import deque
from dataclasses import replace

import structlog
import zmq

from temporal_fleet.protocol import messages
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Action, Converged, Emit, Forget, SaveSuspects
from temporal_fleet.supervisor.core.decide import decide, next_deadline
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.books_file import BooksFile
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children, Ended, EntityLife, HelperLife, Trial
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.examinations import Examinations
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.measuring import Measuring
from temporal_fleet.supervisor.shell.notify import Notifier
from temporal_fleet.supervisor.shell.perform import Performer
from temporal_fleet.supervisor.shell.requests import Requests
from temporal_fleet.supervisor.shell.run_directory import Deceased, Survivor
from temporal_fleet.supervisor.shell.stack_log import StackLog
from temporal_fleet.supervisor.shell.stop_signals import StopSignals
from temporal_fleet.supervisor.shell.tally import Tally
from temporal_fleet.supervisor.shell.upgrade import Upgrade
from temporal_fleet.supervisor.shell.wakeup import Wakeup, hold_signals, release_signals

_log = structlog.get_logger()

STALL = 1.0
"""Seconds late from which the loop counts as having stood still (SIGSTOP, starvation)."""
REST = 0.1
"""Seconds for which entities are not listened to while none of them starts."""
_LONGEST_WAIT = 5.0
_NOT_BY_ITSELF = frozenset({"told", "orphaned"})
"""Why an entity drains, where that is no doing of its own."""


class Loop:
    def __init__(
        self,
        fleet: Fleet,
        *,
        books: BooksFile,
        wakeup: Wakeup,
        bus: Bus,
        control: Control,
        children: Children,
        helpers: Helpers,
        evictions: Evictions,
        examinations: Examinations,
        heartbeats: Heartbeats,
        announcer: Announcer,
        stacks: StackLog,
        upgrade: Upgrade,
        notifier: Notifier,
        tally: Tally,
    ) -> None:
        self.fleet = fleet
        self._books = books
        self._wakeup = wakeup
        self._bus = bus
        self._control = control
        self._children = children
        self._helpers = helpers
        self._evictions = evictions
        self._examinations = examinations
        self._heartbeats = heartbeats
        self._measuring = Measuring(heartbeats)
        self._announcer = announcer
        self._stacks = stacks
        self._upgrade = upgrade
        self._notifier = notifier
        self._tally = tally
        self._pidfds: set[int] = set()
        self._unmet: set[EntityLife] = set()
        """Who was adopted and has not greeted us yet."""
        self._twins: set[EntityLife] = set()
        """Who should be dead, and whose place a later life has."""
        self._heard: dict[tuple[str, int], tuple[float, messages.Heartbeat]] = {}
        """The last heartbeat of each life, and when it came, where the core was not told yet."""
        self._due = -math.inf
        """Not later than the fleet's next deadline."""
        self._nobody_starts = False
        self._stop_signals = StopSignals()
        self._awake = math.inf
        """When the loop last knew that it runs."""
        self._descriptors: dict[int, int] = {}
        """What the poller looks for in those that come and go."""
        self._poller = zmq.Poller()
        for source in (bus.socket, control.socket, wakeup.fileno()):
            self._poller.register(source, zmq.POLLIN)

    def run(
        self,
        performer: Performer,
        requests: Requests,
        started: events.Started,
        inherited: list[Survivor | Deceased],
    ) -> None:
        """Until the fleet has stopped, or other code is to go on with it."""
        self._performer = performer
        self._requests = requests
        self._awake = time.monotonic()
        self._begin(started, inherited)
        while not performer.finished and not self._is_over():
            self._books.try_to_keep(self.fleet)
            self._notifier.tell(self.fleet, time.monotonic())
            due = min(
                self._due,
                self._evictions.due,
                self._examinations.due,
                self._measuring.due(self.fleet),
                self._notifier.due(self.fleet),
                self._stacks.due,
                self._upgrade.due,
            )
            wait = min(max(0.0, due - time.monotonic()), _LONGEST_WAIT)
            ready = self._poll(wait)
            if (stalled := self._stall(wait)) is not None:
                self._feed(stalled)
            self._helpers.catch_up()
            self._read(ready)
            self._do_what_is_due()
        # Some of the last turn may be to be remembered.
        self._books.try_to_keep(self.fleet)

    def _is_over(self) -> bool:
        """Whether other code is to go on, and what was asked of this one is no reason against it."""
        if not self._upgrade.is_due:
            return False
        hold_signals()
        # What came until now is ours; what comes from now on is the next one's.
        self._take_signals(self._wakeup.received())
        if self._upgrade.call_off(self.fleet):
            release_signals()
            return False
        return True

    def _stall(self, planned: float = 0.0) -> events.Stalled | None:
        """Whether this process stood still, beyond what was planned, since it last looked. Looked at before
        every decision: nobody's silence in that time counts, wherever in the loop it was."""
        now = time.monotonic()
        late = now - self._awake - planned
        self._awake = now
        if late <= STALL:
            return None
        _log.warning("the supervisor itself stood still", seconds=round(late, 1))
        return events.Stalled(late)

    def _do_what_is_due(self) -> None:
        """Silence is judged after everything that was there to be read was read."""
        now = time.monotonic()
        self._evictions.expire(now)
        self._examinations.expire(now)
        self._stacks.expire(now)
        self._upgrade.expire(now)
        self._helpers.look_after_logs(now)
        if now >= self._measuring.due(self.fleet):
            self._feed(self._measuring.measure(self.fleet, now))
        if now >= self._due:
            self._tick()

    def _tick(self) -> None:
        """Heartbeats only ever put a deadline off, so `_due` may be too early by now: then nothing is due."""
        self._tell_heard()
        self._due = self._deadline()
        if time.monotonic() >= self._due:
            self._feed(events.Tick())

    def _tell_heard(self) -> None:
        """Heartbeats only put deadlines off: they are told when one is judged, with their own times."""
        for moment, beat in self._heard.values():
            load = beat.inflight_activities, beat.cached_executions
            heard = events.Heard(beat.entity, beat.incarnation, *load)
            self.fleet, _ = decide(self.fleet, heard, moment)
        self._heard.clear()

    def _deadline(self) -> float:
        deadline = next_deadline(self.fleet)
        return math.inf if deadline is None else deadline

    def _poll(self, wait: float) -> set[object]:
        self._listen()
        if self._nobody_starts:
            wait = self._rest(wait)
        return {source for source, _ in self._poller.poll(_milliseconds(wait))}

    def _rest(self, wait: float) -> float:
        """Heartbeats that come within a rest are heard in one go, which costs a fraction of one wake-up each.
        Everything but the entities' own words ends it at once. What remains to wait."""
        began = time.monotonic()
        self._poller.unregister(self._bus.socket)
        disturbed = self._poller.poll(_milliseconds(min(wait, REST)))
        self._poller.register(self._bus.socket, zmq.POLLIN)
        return 0.0 if disturbed else max(0.0, wait - (time.monotonic() - began))

    def _listen(self) -> None:
        """Keep the poller in step with the helpers and survivors that there are."""
        wanted = dict.fromkeys((*self._helpers.channels(), *self._pidfds), int(zmq.POLLIN))
        for descriptor in self._helpers.behind():
            wanted[descriptor] = wanted.get(descriptor, 0) | zmq.POLLOUT
        if wanted == self._descriptors:
            return
        for descriptor in self._descriptors.keys() - wanted:
            self._poller.unregister(descriptor)
        for descriptor, flags in wanted.items():
            self._poller.register(descriptor, flags)
        self._descriptors = wanted

    def _read(self, ready: set[object]) -> None:
        """What helpers announce comes before the deaths of what they announced."""
        for descriptor, key in self._helpers.channels().items():
            if descriptor in ready:
                for event in self._helpers.receive(key):
                    self._feed(event)
        if self._wakeup.fileno() in ready:
            self._take_signals(self._wakeup.received())
        for pidfd in tuple(self._pidfds):
            if pidfd in ready:
                self._pidfds.discard(pidfd)
                ended = self._children.foreign_ended(pidfd)
                assert isinstance(ended.owner, EntityLife)
                self._end(ended, ended.owner)
        if self._bus.socket in ready:
            for message in self._bus.receive():
                self._hear(message)
        if self._control.socket in ready:
            for asked in self._control.receive():
                for event in self._requests.receive(self.fleet, asked, time.monotonic()):
                    self._feed(event)

    def _take_signals(self, numbers: set[int]) -> None:
        if signal.SIGCHLD in numbers:
            for ended in self._children.reap(self._hear_helpers):
                self._take_end(ended)
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            order = self._stop_signals.heard(time.monotonic())
            if order is not None:
                self._feed(order)
                self._stop_signals.carried_out(time.monotonic())
        if signal.SIGHUP in numbers:
            for event in self._requests.reload_by_signal():
                self._feed(event)
        if signal.SIGUSR1 in numbers:
            self._requests.log_status()

    def _take_end(self, ended: Ended) -> None:
        match ended.owner:
            case EntityLife() as life:
                self._end(ended, life)
            case HelperLife() as helper:
                for event in self._helpers.ended(helper, ended.code, ended.signal):
                    self._feed(event)
            case Trial():
                self._upgrade.tried(ended)

    def _hear_helpers(self) -> None:
        for event in self._helpers.receive_all():
            self._feed(event)

    def _hear(self, message: messages.EntityMessage) -> None:
        entity, incarnation = message.entity, message.incarnation
        place = self.fleet.entities.get(entity)
        is_present = place is not None and place.incarnation == incarnation
        match message:
            case messages.Hello():
                self._unmet.discard(EntityLife(entity, incarnation))
                if is_present:
                    self._children.greeted(message.pid, EntityLife(entity, incarnation))
                self._feed(events.Greeted(entity, incarnation, message.pid))
            case messages.Ready():
                self._feed(events.BecameReady(entity, incarnation, message.quiet))
            case messages.Heartbeat():
                if EntityLife(entity, incarnation) in self._unmet:
                    self._performer.welcome(entity, incarnation)
                if place is not None and is_present:
                    now = time.monotonic()
                    self._heard[entity, incarnation] = now, message
                    if (told := self._heartbeats.hear(place, message, now)) is not None:
                        self._announcer.announce(told)
                    if message.standstill is not None:
                        self._feed(_stood_still(entity, incarnation, message.standstill))
            case messages.Draining():
                cause = message.cause
                self._feed(events.LeftByItself(entity, incarnation, cause, cause in _NOT_BY_ITSELF))
            case messages.Credentials():
                self._feed(events.CredentialsTried(Life(entity, incarnation), message.problem))
            case messages.Evicted():
                for event in self._evictions.answered(message):
                    self._feed(event)

    def _begin(self, started: events.Started, inherited: list[Survivor | Deceased]) -> None:
        """With all that is there; who died since it was looked for is told next."""
        dead = tuple(self._performer.found_dead(each) for each in inherited if isinstance(each, Deceased))
        survivors = {each.entity: each for each in inherited if isinstance(each, Survivor)}
        found = tuple(
            events.Found(s.entity, s.incarnation, s.process.pid, s.gpus) for s in survivors.values()
        )
        self._unmet = {EntityLife(each.entity, each.incarnation) for each in found}
        self._feed(replace(started, found=found, dead=dead))
        for each in inherited:
            if isinstance(each, Survivor):
                self._watch(each, survivors[each.entity] is not each)
        # Children of a supervisor that was this process may have died before we took signals.
        self._take_signals({signal.SIGCHLD})

    def _watch(self, survivor: Survivor, is_twin: bool) -> None:
        life = EntityLife(survivor.entity, survivor.incarnation)
        if is_twin:
            self._twins.add(life)
        if not self._children.claim_if_ours(survivor.process, life):
            pidfd = self._children.watch_foreign(survivor.process, life)
            if pidfd is None:
                self._end(Ended(life, survivor.process.pid, None, None), life)
                return
            self._pidfds.add(pidfd)
        if is_twin:
            self._children.kill(life)

    def _end(self, ended: Ended, life: EntityLife) -> None:
        self._unmet.discard(life)
        died = self._performer.died(ended, life)
        if life in self._twins:
            self._twins.discard(life)
            self._feed(events.FoundDead(life.entity, life.incarnation, died.estate))
        else:
            self._feed(died)

    def _feed(self, event: events.Event) -> None:
        """One event, and whatever comes of it at once."""
        self._tell_heard()
        waiting = deque([event])
        while waiting:
            present = self._stall() or waiting.popleft()
            before, now = self.fleet, time.monotonic()
            self.fleet, batch = decide(before, present, now)
            self._tally.count(before, present, self.fleet, batch, now)
            obstacle = self._performer.prepare(batch, self.fleet)
            for action in sorted(batch, key=_may_wait):
                waiting += self._performer.perform(action, obstacle)
        self._due = self._deadline()
        self._nobody_starts = all(e.state is not State.STARTING for e in self.fleet.entities.values())


def _stood_still(entity: str, incarnation: int, told: messages.Standstill) -> events.StoodStill:
    return events.StoodStill(
        entity,
        incarnation,
        told.unpolled,
        told.unpolled_for,
        tuple(told.activations),
        tuple(told.activities),
        told.workflow_slots,
        told.activity_slots,
    )


def _may_wait(action: Action) -> bool:
    """A disk that takes its time, and a log that stands still, must not hold up a replacement. The end of a
    change comes after what is told of it."""
    return isinstance(action, Emit | Forget | SaveSuspects | Converged)


def _milliseconds(seconds: float) -> int:
    """Rounded up: a poll that ends a moment too early would only spin."""
    return math.ceil(seconds * 1000)
