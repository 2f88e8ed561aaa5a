"""A simulated host: a clock, processes, messages under way, and a shell that performs the core's actions.

Plain values and one heap; nothing sleeps and nothing forks. What the processes do wrong is decided
elsewhere (chaos); what the core must hold to is checked elsewhere (invariants).
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count
from random import Random
from typing import Any

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.books import NO_BOOKS, Books, books, must_be_kept_before
from temporal_fleet.supervisor.core.decide import decide, next_deadline
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life, Suspect
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    DEV_SERVER,
    Fleet,
    HelperKey,
    HelperKind,
    Pool,
)
from tests.core.invariants import Invariants
from tests.core.work import Work

HEARTBEAT = 1.0
MEASURED_EVERY = 5.0
MEBIBYTE = 2**20
ADDRESSES = (None, "127.0.0.1:9464", "127.0.0.1:9465")
BUDGETS = (None, 150 * MEBIBYTE, 300 * MEBIBYTE)
EMPTY_RSS = 60 * MEBIBYTE
EXECUTION = MEBIBYTE
EPOCH = 1.7e9
"""The wall clock at the beginning of time."""


class Doing(Enum):
    BOOTING = "booting"
    POLLING = "polling"
    QUIET = "quiet"
    DRAINING = "draining"
    DEAD = "dead"


@dataclass(slots=True, eq=False)
class EntityProcess:
    entity: str
    incarnation: int
    pid: int
    pool: Pool | None
    doing: Doing = Doing.BOOTING
    hung: bool = False
    deaf_since: float | None = None
    """It does not poll any more."""
    stuck_since: list[float] = field(default_factory=list)
    """Activities that do not end, of two slots."""
    connected: bool = False
    """It said Hello, so it can be reached."""
    ours: bool = True
    """A child of the present supervisor: its exit status can be had."""
    known: bool = False
    """The shell has heard of its PID."""
    reaped: bool = False
    cached: int = 0
    activities: int = 0
    gpus: tuple[int, ...] = ()
    leaked: int = 0
    """Bytes that no eviction brings back."""
    tasks: int = 0
    exit: tuple[int | None, str | None] = (None, None)

    @property
    def alive(self) -> bool:
        return self.doing is not Doing.DEAD

    @property
    def life(self) -> Life:
        return Life(self.entity, self.incarnation)

    @property
    def rss(self) -> int:
        return EMPTY_RSS + self.cached * EXECUTION + self.leaked


@dataclass(slots=True, eq=False)
class HelperProcess:
    key: HelperKey
    life: int
    alive: bool = True
    ready: bool = False
    hung: bool = False


class ClusterIs(Enum):
    UP = "up"
    DOWN = "down"
    REFUSING = "refusing"


@dataclass(slots=True)
class Faults:
    """How likely each fault is where it can happen; nothing at all when calm."""

    boot_crash: float = 0.0
    boot_hang: float = 0.0
    disk_full: float = 0.0
    fork_refused: float = 0.0
    announcement_lost: float = 0.0
    helper_death_at_start: float = 0.0
    helper_hang: float = 0.0
    slow_search: float = 0.0
    drain_overrun: float = 0.0
    drain_crash: float = 0.0
    box_lost: float = 0.0
    """It died before it wrote its black box, or in the middle of that."""
    answer_lost: float = 0.0
    """An eviction, or the search for closed executions, is never answered."""
    growth: float = 0.0
    """Entities take executions into their caches, and some leak."""
    repeated: float = 0.0
    """A message arrives twice, the second time late."""


@dataclass(slots=True)
class World:
    random: Random
    embedded: bool = False
    faults: Faults = field(default_factory=Faults)
    now: float = 1000.0
    delivered: int = 0
    entities: dict[tuple[str, int], EntityProcess] = field(default_factory=dict)
    """Every process that lives or was not reaped yet."""
    helpers: dict[HelperKey, HelperProcess] = field(default_factory=dict)
    cluster: ClusterIs = ClusterIs.UP
    broken: set[str] = field(default_factory=set)
    """Revisions whose program does not import at present."""
    crashing: set[str] = field(default_factory=set)
    """Digests whose entities all die in boot."""
    edits: dict[str, int] = field(default_factory=dict)
    """How often the program files of each revision were changed."""
    past: list[tuple[str, int]] = field(default_factory=list)
    """Lives that are over, for messages that come too late."""
    work: Work = field(default_factory=Work)
    boxes: dict[Life, Estate] = field(default_factory=dict)
    """The black boxes of the dead that were not forgotten."""
    saved: tuple[Suspect, ...] = ()
    """What the state directory knows."""
    books: Books = NO_BOOKS
    """What the run directory knows."""
    supervisors: int = 0
    dies_within: int | None = None
    """After so many more actions the supervisor is killed, in the middle of what it does."""
    is_dead: bool = False
    finished: bool = False
    fleet: Fleet = field(init=False)
    invariants: Invariants = field(init=False)
    _heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    _sequence: Any = field(default_factory=count)
    _pids: Any = field(default_factory=lambda: count(100))
    _requests: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self.fleet = Fleet(embedded=self.embedded)
        self.invariants = Invariants()

    # Time

    def after(self, delay: float, happening: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._heap, (self.now + delay, next(self._sequence), happening, arguments))

    def soon(self, happening: Callable[..., None], *arguments: Any) -> None:
        self.after(self.random.choice((0.0, 0.001, 0.01, 0.05)), happening, *arguments)

    def step(self) -> bool:
        """The next thing that happens anywhere; False when nothing ever will."""
        if self.is_dead:
            self.succeed()
        due = next_deadline(self.fleet)
        if self._heap and (due is None or self._heap[0][0] <= due):
            moment, _, happening, arguments = heapq.heappop(self._heap)
            self.now = max(self.now, moment)
            happening(*arguments)
            return True
        if due is None:
            return False
        self.now = max(self.now, due) + self.random.choice((0.0, 0.0, 0.002))
        self.deliver(events.Tick())
        return True

    def stall(self, seconds: float) -> None:
        """The supervisor stands still; what happened meanwhile reaches it afterwards."""
        self.now += seconds
        self.deliver(events.Stalled(seconds))

    # The supervisor

    def start(self, pools: dict[str, Pool]) -> None:
        """A supervisor starts, and finds what an earlier one left behind."""
        self.supervisors += 1
        found = [events.Found(p.entity, p.incarnation, p.pid, p.gpus) for p in self.living()]
        dead = [events.FoundDead(life.entity, life.incarnation, box) for life, box in self.boxes.items()]
        self.random.shuffle(found)
        self.random.shuffle(dead)
        budget, http = self.random.choice(BUDGETS), self.random.choice(ADDRESSES)
        self.after(MEASURED_EVERY, self._measure, self.supervisors)
        self.deliver(events.Started(pools, budget, self.saved, http, self.books, tuple(found), tuple(dead)))

    def lose_supervisor(self, with_entities: float = 0.0) -> None:
        """SIGKILL of the supervisor: helpers go, entities stay or die with it. What was under way is lost,
        but a fork that was may still be done."""
        for _, _, happening, arguments in tuple(self._heap):
            if happening == self._ask_for_fork and self._chance(0.5):
                happening(*arguments)
        for process in self.living():
            if self._chance(with_entities):
                self._die(process, None, "SIGKILL")
        self.helpers.clear()
        self._heap.clear()
        self.entities = {name: process for name, process in self.entities.items() if process.alive}
        for process in self.entities.values():
            process.ours = False
            process.known = True
            process.connected = False
            self.soon(self._greet, process)
            self.soon(self._beat, process)
            if process.doing is Doing.DRAINING:
                self._drain(process)
        self.fleet = Fleet(embedded=self.embedded)
        self.finished = False
        self.dies_within, self.is_dead = None, False
        self.invariants = self.invariants.of_next_supervisor(self.boxes)

    def succeed(self) -> None:
        """The next supervisor, with the same file."""
        pools = {name: replace(pool, epoch=0, turn=0) for name, pool in self.fleet.pools.items()}
        self.lose_supervisor()
        self.start(pools)

    def request(self, make: Callable[[str], events.Event]) -> str:
        name = f"request-{next(self._requests)}"
        self.deliver(make(name))
        return name

    def deliver(self, event: events.Event) -> None:
        if self.is_dead:
            return
        # Readings come by themselves, and most of them change nothing.
        self.delivered += not isinstance(event, events.Measured)
        before = self.fleet
        self.fleet, actions = decide(before, event, self.now)
        self.invariants.check(before, event, self.fleet, actions, self.now)
        if must_be_kept_before(actions):
            self.books = books(self.fleet)
        for action in actions:
            if self.dies_within == 0:
                self.is_dead = True
                return
            if self.dies_within is not None:
                self.dies_within -= 1
            self._perform(action)
        # Else they are written soon, and may be late.
        if self.dies_within is None or self._chance(0.5):
            self.books = books(self.fleet)

    def living(self) -> list[EntityProcess]:
        return [process for process in self.entities.values() if process.alive]

    def _perform(self, action: act.Action) -> None:
        match action:
            case act.Fork():
                self.soon(self._ask_for_fork, action, self.helpers.get(action.fork_server))
            case act.TellDrain(entity, incarnation):
                self.soon(self._hear_drain, self.entities.get((entity, incarnation)))
            case act.TellQuiet(entity, incarnation):
                self.soon(self._hear_quiet, self.entities.get((entity, incarnation)))
            case act.Kill(entity, incarnation, None):
                slowly = 7.0 if self._chance(self.faults.slow_search) else 0.05
                self.after(self.random.uniform(0.0, slowly), self._find_and_kill, entity, incarnation)
            case act.Kill(entity, incarnation, pid):
                process = self.entities.get((entity, incarnation))
                assert process is None or process.pid == pid
                self.soon(self._die, process, None, "SIGKILL")
            case act.Recover(life):
                self.soon(self._recover, self.helpers.get(AGENT), action, False)
            case act.Forget(life):
                process = self.entities.get((life.entity, life.incarnation))
                assert process is None, f"{life} is forgotten, and was not waited for: {process}"
                self.boxes.pop(life, None)
            case act.SaveSuspects(suspects):
                self.saved = suspects
            case act.FindClosed(life, at_most):
                self.soon(self._find_closed, self.helpers.get(AGENT), life, at_most)
            case act.Evict(life, at_most, _):
                self.soon(self._evict, self.entities.get((life.entity, life.incarnation)), at_most)
            case act.StartHelper(key, life):
                self._start_helper(HelperProcess(key, life))
            case act.StopHelper(key):
                self.soon(self._stop_helper, self.helpers[key])
            case act.KillHelper(key):
                self.soon(self._helper_dies, self.helpers[key], "killed by SIGKILL")
            case act.Finish():
                assert not self.living(), f"finished, and still there: {self.living()}"
                assert not self.helpers, f"finished, and still there: {self.helpers}"
                kept = self.invariants.recoveries.given_up
                assert self.boxes.keys() <= kept, f"finished, and nobody recovers {self.boxes.keys() - kept}"
                self.finished = True
            case _:
                pass

    # Helpers

    def _start_helper(self, helper: HelperProcess) -> None:
        assert helper.key not in self.helpers, f"two lives of {helper.key}"
        self.helpers[helper.key] = helper
        helper.hung = helper.key.kind is HelperKind.FORK_SERVER and self._chance(self.faults.helper_hang)
        if self._chance(self.faults.helper_death_at_start):
            self.soon(self._helper_dies, helper, "killed by SIGSEGV")
        self.after(self.random.uniform(0.0, 0.6), self._helper_started, helper)

    def _helper_started(self, helper: HelperProcess) -> None:
        if not helper.alive or helper.hung:
            return
        revision = helper.key.name.rpartition(".")[0]
        if revision in self.broken:
            helper.hung = self._chance(self.faults.helper_hang)
            if not helper.hung:
                self.soon(self._helper_dies, helper, "exit status 1")
            self._tell_often(events.HelperRefused(helper.key, helper.life, f"{revision} does not import"))
            return
        helper.ready = True
        code = self.code(revision) if helper.key.kind is HelperKind.FORK_SERVER else ""
        self._tell_often(events.HelperReady(helper.key, helper.life, code))
        if helper.key == AGENT:
            self._agent_speaks()
        elif helper.key.kind is HelperKind.WEB:
            problem = self.random.choice(("", "the port is taken"))
            self.deliver(
                events.HttpTold(helper.key, helper.life, "" if problem else helper.key.name, problem)
            )
        elif helper.key == DEV_SERVER:
            self.turn_cluster(ClusterIs.UP)

    def code(self, revision: str) -> str:
        """The digest of a program's files as they are now."""
        return f"{revision}, edited {self.edits.get(revision, 0)} times"

    def codes(self) -> dict[str, str]:
        """Of each fork server, by its name."""
        names = [key.name for key in self.helpers if key.kind is HelperKind.FORK_SERVER]
        return {name: self.code(name.rpartition(".")[0]) for name in names}

    def _stop_helper(self, helper: HelperProcess) -> None:
        if not helper.hung:
            self.soon(self._helper_dies, helper, "exit status 0")

    def _helper_dies(self, helper: HelperProcess, reason: str) -> None:
        if not helper.alive:
            return
        helper.alive = False
        if helper.key == DEV_SERVER:
            self.turn_cluster(ClusterIs.DOWN)
        self.soon(self._helper_reaped, helper, reason)

    def _helper_reaped(self, helper: HelperProcess, reason: str) -> None:
        if self.helpers.get(helper.key) is helper:
            del self.helpers[helper.key]
        self._tell_often(events.HelperDied(helper.key, helper.life, reason))

    # The Cluster

    def turn_cluster(self, cluster: ClusterIs) -> None:
        if self.embedded and cluster is ClusterIs.UP:
            server = self.helpers.get(DEV_SERVER)
            cluster = ClusterIs.UP if server and server.alive and server.ready else ClusterIs.DOWN
        self.cluster = cluster
        self._agent_speaks()

    def _agent_speaks(self) -> None:
        agent = self.helpers.get(AGENT)
        if agent is not None and agent.ready and not agent.hung:
            self.soon(self._agent_says, agent)

    def _agent_says(self, agent: HelperProcess) -> None:
        if not agent.alive or agent.hung:
            return
        cluster = self.cluster
        reason = "" if cluster is ClusterIs.UP else f"the Cluster is {cluster.value}"
        self.deliver(
            events.ClusterChanged(cluster is not ClusterIs.DOWN, cluster is ClusterIs.REFUSING, reason)
        )

    def _recover(self, agent: HelperProcess | None, order: act.Recover, told: bool) -> None:
        if agent is None or not agent.alive or agent.hung:
            return
        if self.cluster is ClusterIs.UP:
            self.after(self.random.choice((0.01, 0.3, 4.0)), self._recovered, agent, order, "")
        elif told and self.random.random() < 0.02:
            self._recovered(agent, order, "the Cluster was away until it was pointless")
        else:
            self.after(1.0, self._recover, agent, order, True)
            if not told:
                self._tell_often(events.RecoveryDelayed(order.life, f"the Cluster is {self.cluster.value}"))

    def _recovered(self, agent: HelperProcess, order: act.Recover, problem: str) -> None:
        if not agent.alive or agent.hung:
            return
        box = self.boxes.get(order.life)
        self.work.rule({verdict.task_token: verdict for verdict in order.verdicts}, box or NOTHING)
        # It is said; that the agent dies meanwhile takes nothing back.
        self.soon(self._tell_often, events.Recovered(order.life, 1, 0, 0, 1, 0, 0.1, problem))

    def _find_closed(self, agent: HelperProcess | None, life: Life, at_most: int) -> None:
        if agent is not None and agent.alive and not agent.hung and not self._chance(self.faults.answer_lost):
            runs = tuple(f"run-{n}" for n in range(self.random.randint(0, min(at_most, 3))))
            self._tell_often(events.ClosedFound(life.entity, life.incarnation, runs))

    # Memory

    def _measure(self, supervisor: int) -> None:
        if supervisor != self.supervisors or self.finished:
            return
        known = [process for process in self.living() if process.known and process.connected]
        for process in known:
            if process.doing is Doing.POLLING and self._chance(self.faults.growth):
                process.cached += self.random.randint(0, 40)
                process.tasks += 20
                process.leaked += self.random.choice((0, 0, 0, 0, 0, 0, 0, 0, 0, 30)) * MEBIBYTE
        readings = tuple(
            events.Reading(
                process.entity,
                process.incarnation,
                process.rss,
                process.rss // 2,
                process.cached,
                process.cached * 3 // 4,
                process.tasks,
            )
            for process in known
        )
        if readings:
            self.deliver(events.Measured(readings))
        self.after(MEASURED_EVERY, self._measure, supervisor)

    def _evict(self, process: EntityProcess | None, at_most: int) -> None:
        if process is None or not process.alive or process.hung or self._chance(self.faults.answer_lost):
            return
        before = process.rss
        gone = min(at_most, process.cached * 3 // 4)
        process.cached -= gone
        self._tell_often(
            events.Evicted(process.entity, process.incarnation, gone, process.cached, before, process.rss)
        )

    # Fork servers

    def _ask_for_fork(self, order: act.Fork, server: HelperProcess | None) -> None:
        if server is None or not server.alive or server.hung:
            return
        if self._chance(self.faults.fork_refused):
            self.soon(self.deliver, events.ForkRefused(order.entity, order.incarnation, "out of processes"))
            return
        pool = self.fleet.pools.get(order.pool)
        process = EntityProcess(order.entity, order.incarnation, next(self._pids), pool, gpus=order.gpus)
        shared = [p for p in self.living() if set(p.gpus) & set(order.gpus)]
        assert not shared, f"{order} gets what {shared} has"
        twins = [p for p in self.living() if p.entity == order.entity]
        assert not twins, f"{order.entity}: {order.incarnation} comes while {twins} live"
        self.entities[order.entity, order.incarnation] = process
        if not self._chance(self.faults.announcement_lost):
            self.soon(self._announce, process)
        else:
            self.soon(self._helper_dies, server, "killed by SIGKILL")
        self.after(self.random.uniform(0.0, 0.1), self._greet, process)

    def _announce(self, process: EntityProcess) -> None:
        process.known = True
        self._tell_often(events.Forked(process.entity, process.incarnation, process.pid))
        if not process.alive:
            self._reap(process)

    # Entities

    def _greet(self, process: EntityProcess) -> None:
        if not process.alive or process.hung:
            return
        process.connected = True
        process.known = True
        self._tell_often(events.Greeted(process.entity, process.incarnation, process.pid))
        if process.doing in {Doing.POLLING, Doing.QUIET} and not process.ours:
            is_quiet = process.doing is Doing.QUIET
            self._tell_often(events.BecameReady(process.entity, process.incarnation, is_quiet))
        elif process.doing is Doing.DRAINING and not process.ours:
            self._tell_often(events.LeftByItself(process.entity, process.incarnation, "told", told=True))
        if process.doing is Doing.BOOTING:
            self.after(self.random.uniform(0.0, 0.2), self._boot_ends, process)

    def _boot_ends(self, process: EntityProcess) -> None:
        if process.doing is not Doing.BOOTING or process.hung:
            return
        crashes = process.pool is not None and process.pool.digest in self.crashing
        if self._chance(self.faults.boot_hang):
            process.hung = True
        elif self.cluster is not ClusterIs.UP:
            refusing = self.cluster is ClusterIs.REFUSING
            self._die(process, ExitCode.CLUSTER_REFUSED if refusing else ExitCode.CLUSTER_UNREACHABLE, None)
        elif self._chance(self.faults.disk_full):
            self._die(process, ExitCode.NO_BLACK_BOX, None)
        elif crashes or self._chance(self.faults.boot_crash):
            self._die(process, *self.random.choice(ENDS))
        else:
            process.doing = Doing.POLLING
            self._tell_often(events.BecameReady(process.entity, process.incarnation))
            self.after(HEARTBEAT, self._beat, process)

    def _beat(self, process: EntityProcess) -> None:
        if process.alive and not process.hung:
            process.activities = self.random.randrange(3)
            told = process.activities, process.cached
            self.deliver(events.Heard(process.entity, process.incarnation, *told))
            self._stand_still(process)
            self.after(HEARTBEAT, self._beat, process)

    def _stand_still(self, process: EntityProcess) -> None:
        deaf, stuck = process.deaf_since, process.stuck_since
        if process.doing is Doing.POLLING and (deaf is not None or stuck):
            ages = tuple(self.now - since for since in stuck)
            told = events.StoodStill(
                process.entity,
                process.incarnation,
                unpolled="" if deaf is None else "no poller",
                unpolled_for=0.0 if deaf is None else self.now - deaf,
                activities=ages,
                activations=ages[1:],
                activity_slots=2 if len(ages) >= 2 else None,
            )
            self._tell_often(told)

    def _hear_drain(self, process: EntityProcess | None) -> None:
        if process is None or not process.connected or process.hung:
            return
        if process.doing in {Doing.BOOTING, Doing.POLLING, Doing.QUIET}:
            self._drain(process)

    def _hear_quiet(self, process: EntityProcess | None) -> None:
        if process is None or not process.connected or process.hung:
            return
        if process.doing is Doing.POLLING:
            process.doing = Doing.QUIET

    def leave_by_itself(self, process: EntityProcess) -> None:
        """SIGTERM from somebody else."""
        stays = process.doing in {Doing.BOOTING, Doing.POLLING, Doing.QUIET}
        if process.connected and not process.hung and stays:
            self.soon(self.deliver, events.LeftByItself(process.entity, process.incarnation, "signal"))
            self._drain(process)

    def _drain(self, process: EntityProcess) -> None:
        process.doing = Doing.DRAINING
        limit = process.pool.drain if process.pool else 30.0
        overrun = 20.0 if self._chance(self.faults.drain_overrun) else 1.0
        end = self.random.choice(ENDS) if self._chance(self.faults.drain_crash) else (ExitCode.STOPPED, None)
        self.after(self.random.uniform(0.0, limit) * overrun, self._die, process, *end)

    def kill(self, process: EntityProcess, code: int | None, signal: str | None) -> None:
        self._die(process, code, signal)

    def kill_helper(self, helper: HelperProcess) -> None:
        self._helper_dies(helper, "killed by SIGKILL")

    def _die(self, process: EntityProcess | None, code: int | None, signal: str | None) -> None:
        if process is None or not process.alive:
            return
        if not self._chance(self.faults.box_lost):
            says_so = signal is None and code in {ExitCode.STOPPED, ExitCode.ORPHANED}
            drained = says_so and process.doing is Doing.DRAINING
            worked = process.doing is not Doing.BOOTING
            connected = process.connected or worked
            self.boxes[process.life] = (
                NOTHING if drained else self.work.estate(self.random, connected, worked)
            )
        process.doing = Doing.DEAD
        process.exit = (code, signal) if process.ours else (None, None)
        if process.known:
            self.soon(self._reap, process)

    def _reap(self, process: EntityProcess) -> None:
        if process.reaped:
            return
        process.reaped = True
        life = process.entity, process.incarnation
        self.entities.pop(life, None)
        self.past.append(life)
        code, signal = process.exit
        box = self.boxes.get(process.life, NOTHING)
        self._tell_often(events.Died(*life, code, signal, "", box, EPOCH + self.now))

    def _find_and_kill(self, entity: str, incarnation: int) -> None:
        """Kill(pid=None): the fork server is dead, so what it forked is there or never will be."""
        process = self.entities.get((entity, incarnation))
        if process is None:
            if (entity, incarnation) not in self.past:
                self.past.append((entity, incarnation))
                self.deliver(events.Died(entity, incarnation, None, None))
            return
        process.known = True
        self._die(process, None, "SIGKILL")
        self.soon(self._reap, process)

    # Messages

    def _tell_often(self, event: events.Event) -> None:
        """Once now, and perhaps once more, when it is long since untrue."""
        self.deliver(event)
        if self._chance(self.faults.repeated):
            self.after(self.random.uniform(0.0, 20.0), self.deliver, event)

    def _chance(self, probability: float) -> bool:
        return probability > 0.0 and self.random.random() < probability


ENDS: tuple[tuple[int | None, str | None], ...] = (
    (0, None),
    (1, None),
    (42, None),
    (ExitCode.WORKER_FAILED, None),
    (ExitCode.ORPHANED, None),
    (None, "SIGKILL"),
    (None, "SIGSEGV"),
    (None, "SIGTERM"),
)
"""Ends that are an entity's own doing, and no word about the program or the Cluster."""
