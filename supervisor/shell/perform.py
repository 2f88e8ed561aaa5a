"""The actions of the core, performed. Each is I/O and nothing else; what comes of it at once is returned as
events."""

import os
import time
from collections.abc import Callable

import structlog

from temporal_fleet.protocol.blackbox import BlackBoxContents
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import FindClosed
from temporal_fleet.protocol.messages import Drain, Quiet, Welcome
from temporal_fleet.protocol.spec import EntitySpec
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.core.books import must_be_kept_before
from temporal_fleet.supervisor.core.estate import NOTHING, Estate, Life
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.books_file import BooksFile
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children, Ended, EntityLife, kill_children
from temporal_fleet.supervisor.shell.confinement import named
from temporal_fleet.supervisor.shell.dead import Dead
from temporal_fleet.supervisor.shell.estates import UNREAD, estate
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.live_settings import LiveSettings
from temporal_fleet.supervisor.shell.requests import Requests
from temporal_fleet.supervisor.shell.run_directory import Deceased, OwnedRunDirectory
from temporal_fleet.supervisor.shell.stack_log import StackLog
from temporal_fleet.supervisor.shell.suspects import SuspectsFile

_log = structlog.get_logger()

_SWEEPS = 5
"""One for the announcers, one for their entities, one that finds nobody; more for who lingers."""

SpecMaker = Callable[[str, str, int, tuple[int, ...]], EntitySpec]
"""(pool, entity, incarnation, its GPUs) -> everything that life needs."""


class Performer:
    def __init__(
        self,
        *,
        run: OwnedRunDirectory,
        books: BooksFile,
        children: Children,
        helpers: Helpers,
        bus: Bus,
        requests: Requests,
        evictions: Evictions,
        dead: Dead,
        stacks: StackLog,
        suspects: SuspectsFile,
        announcer: Announcer,
        make_spec: SpecMaker,
        settings: LiveSettings,
        supervisor_pid: int,
    ) -> None:
        self._run = run
        self._books = books
        self._children = children
        self._helpers = helpers
        self._bus = bus
        self._requests = requests
        self._evictions = evictions
        self._dead = dead
        self._stacks = stacks
        self._suspects = suspects
        self._announcer = announcer
        self._make_spec = make_spec
        self._settings = settings
        self._pid = supervisor_pid
        self._term = os.urandom(8).hex()
        self.finished = False

    def prepare(self, batch: tuple[actions.Action, ...], fleet: Fleet) -> str:
        """Before a batch of actions: what must be on disk before it. Why it must not fork; empty: it may."""
        if not must_be_kept_before(batch):
            return ""
        try:
            self._books.keep(fleet)
        except OSError as error:
            # An incarnation that is not persisted could come again: nobody is forked with it.
            return f"{self._run.paths.books} cannot be written, so nobody is forked: {error.strerror}"
        return ""

    def welcome(self, entity: str, incarnation: int) -> None:
        self._bus.send(
            Welcome(
                entity=entity,
                incarnation=incarnation,
                supervisor_pid=self._pid,
                term=self._term,
                log_level=self._settings.log_level,
                log_files=self._settings.log_files(entity),
            )
        )

    def perform(self, action: actions.Action, obstacle: str) -> list[events.Event]:
        """`obstacle`: what `prepare` said of its batch."""
        match action:
            case actions.Fork() if obstacle:
                return [events.ForkRefused(action.entity, action.incarnation, obstacle)]
            case actions.Fork():
                spec = self._make_spec(action.pool, action.entity, action.incarnation, action.gpus)
                if reason := self._admit(spec):
                    return [events.ForkRefused(action.entity, action.incarnation, reason)]
                return self._helpers.fork(action.fork_server, spec)
            case actions.Welcome():
                self.welcome(action.entity, action.incarnation)
            case actions.TellDrain():
                self._bus.send(Drain(entity=action.entity, incarnation=action.incarnation))
            case actions.TellQuiet():
                self._bus.send(Quiet(entity=action.entity, incarnation=action.incarnation))
            case actions.DumpStacks():
                self._stacks.ask(EntityLife(action.entity, action.incarnation), time.monotonic())
            case actions.Kill():
                return self._kill(EntityLife(action.entity, action.incarnation))
            case actions.Recover():
                self._dead.recover(action)
            case actions.Forget():
                self._dead.forget(action.life)
            case actions.SaveSuspects():
                self._suspects.save(action.suspects)
            case actions.FindClosed():
                return self._find_closed(action)
            case actions.Evict():
                self._evictions.order(action)
            case actions.StartHelper():
                return self._helpers.start(action.key, action.life, action.program)
            case actions.StopHelper():
                self._helpers.stop(action.key)
            case actions.KillHelper():
                self._helpers.kill(action.key)
            case actions.Accept():
                self._requests.accept(action)
                return self._settings.spread()
            case actions.Reject():
                self._requests.reject(action.request, action.problems)
            case actions.Converged():
                self._requests.converged(action)
            case actions.Failed():
                self._requests.failed(action)
                return self._settings.spread()
            case actions.Tell():
                self._requests.tell(action)
            case actions.Emit():
                self._announcer.announce(action)
                self._requests.happened(action)
            case actions.Finish():
                self.finished = True
        return []

    def _admit(self, spec: EntitySpec) -> str:
        """Let the user that a life runs as come to what is its own here. Why that cannot be; empty: it is
        done."""
        user = spec.program.limits.user
        if user is None:
            return ""
        try:
            account = named(user)
            self._run.let_in()
            self._bus.admit(account.uid)
            self._run.make_files(spec.entity, spec.incarnation, account)
        except OSError as error:
            return f"{user} cannot be let into {self._run.paths.path}: {error}"
        return ""

    def died(self, ended: Ended, life: EntityLife) -> events.Died:
        """The end of an entity, with what its black box and its stacks file tell."""
        box, left = self._opened(life)
        self._stacks.died(life)
        key = Life(life.entity, life.incarnation)
        self._dead.found(key)
        self._evictions.died(key)
        return events.Died(
            life.entity,
            life.incarnation,
            ended.code,
            ended.signal,
            self._last_words(ended, box),
            left,
            time.time(),
        )

    def _opened(self, life: EntityLife) -> tuple[BlackBoxContents | None, Estate]:
        """The black box of a dead entity, and what it leaves."""
        try:
            box = self._run.blackbox(life.entity, life.incarnation)
        except OSError:
            return None, UNREAD
        if box is not None:
            return box, estate(box)
        # It may have held whatever: the agent will say that it cannot tell, where this would say nothing.
        return None, NOTHING if self._run.foreign(life.entity, life.incarnation) is None else UNREAD

    def found_dead(self, deceased: Deceased) -> events.FoundDead:
        """Nobody knows when it died: it counts as dead since now, before this supervisor forked anything."""
        self._dead.found(Life(deceased.entity, deceased.incarnation))
        return events.FoundDead(deceased.entity, deceased.incarnation, deceased.estate)

    def _find_closed(self, action: actions.FindClosed) -> list[events.Event]:
        life = action.life
        box = self._run.paths.blackbox(life.entity, life.incarnation)
        order = FindClosed(
            entity=life.entity,
            incarnation=life.incarnation,
            blackbox=str(box),
            at_most=action.at_most,
        )
        # Without an agent nothing is known of them, and nothing is worth waiting for.
        told = self._helpers.tell_agent(order)
        return [] if told else [events.ClosedFound(life.entity, life.incarnation, ())]

    def _last_words(self, ended: Ended, box: BlackBoxContents | None) -> str:
        if ended.code == ExitCode.NO_BLACK_BOX:
            return (
                f"{self._run.paths.entities} takes no files: full, gone or not writable, its log says which"
            )
        return box.last_words if box is not None else ""

    def _kill(self, life: EntityLife) -> list[events.Event]:
        if self._children.kill(life):
            return []
        # Never announced, and its fork server is dead: then it is among the strays, or it never was.
        told = self._sweep_strays()
        if not self._children.kill(life):
            told.append(
                events.Died(
                    life.entity, life.incarnation, None, None, "it was never announced by its fork server"
                )
            )
        return told

    def _sweep_strays(self) -> list[events.Event]:
        """Kill every fork of a fork server that nobody announced; what was announced on the way."""
        told: list[events.Event] = []
        for _ in range(_SWEEPS):
            # Listed first: whoever is listed and was announced, was announced before.
            forks = self._helpers.forks()
            told += self._helpers.receive_all()
            unknown = [pid for pid in forks if not self._children.is_known(pid)]
            if not unknown:
                break
            # The one that was to announce an entity may be among them: its death makes the entity our child.
            kill_children(unknown)
        return told
