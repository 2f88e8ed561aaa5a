"""The actions of the core, performed. Each is I/O and nothing else; what comes of it at once is returned as
events."""

from collections.abc import Callable, Mapping

import structlog

from temporal_fleet.protocol.messages import Drain, Welcome
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.protocol.signals import DUMP_STACKS
from temporal_fleet.protocol.spec import EntitySpec
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children, Ended, EntityLife
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.helper_process import FORK_SERVER
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.requests import Requests
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory

_log = structlog.get_logger()

SpecMaker = Callable[[str, str, int], EntitySpec]
"""(pool, entity, incarnation) -> everything that life needs."""


class Performer:
    def __init__(
        self,
        *,
        run: OwnedRunDirectory,
        children: Children,
        helpers: Helpers,
        bus: Bus,
        control: Control,
        requests: Requests,
        make_spec: SpecMaker,
        supervisor_pid: int,
        wall_clock: Callable[[], float],
    ) -> None:
        self._run = run
        self._children = children
        self._helpers = helpers
        self._bus = bus
        self._control = control
        self._requests = requests
        self._make_spec = make_spec
        self._pid = supervisor_pid
        self._wall_clock = wall_clock
        self._dumps: dict[EntityLife, int] = {}
        """Where in its stacks file the dump begins that we asked a life for."""
        self.finished = False

    def prepare(self, batch: tuple[actions.Action, ...], incarnations: Mapping[str, int]) -> None:
        """Before a batch of actions: what must be on disk before it."""
        if any(isinstance(action, actions.Fork) for action in batch):
            self._run.write_incarnations(incarnations)

    def perform(self, action: actions.Action) -> list[events.Event]:
        match action:
            case actions.Fork():
                spec = self._make_spec(action.pool, action.entity, action.incarnation)
                return self._helpers.fork(action.fork_server, spec)
            case actions.Welcome():
                self._bus.send(
                    Welcome(entity=action.entity, incarnation=action.incarnation, supervisor_pid=self._pid)
                )
            case actions.TellDrain():
                self._bus.send(Drain(entity=action.entity, incarnation=action.incarnation))
            case actions.DumpStacks():
                self._dump(EntityLife(action.entity, action.incarnation))
            case actions.Kill():
                return self._kill(EntityLife(action.entity, action.incarnation))
            case actions.StartHelper():
                return self._helpers.start(action.key, action.life, action.program)
            case actions.StopHelper():
                self._helpers.stop(action.key)
            case actions.KillHelper():
                self._helpers.kill(action.key)
            case actions.Accept():
                self._requests.accept(action.request, action.message, action.generation)
            case actions.Reject():
                self._requests.reject(action.request, action.problems)
            case actions.Tell():
                self._requests.tell(action.request, action.message)
            case actions.Emit():
                self._emit(action)
            case actions.Finish():
                self.finished = True
        return []

    def announced(self, life: EntityLife, pid: int) -> list[events.Event]:
        """A PID is known to be that life: the events of it, its death included when it is dead already."""
        ended = self._children.claim(pid, life)
        return [] if ended is None else [self.died(ended, life)]

    def died(self, ended: Ended, life: EntityLife) -> events.Died:
        """The end of an entity, with what its black box and its stacks file tell; both are then removed."""
        box = self._run.blackbox(life.entity, life.incarnation)
        start = self._dumps.pop(life, None)
        if start is not None:
            self._log_stacks(life, start)
        self._run.forget(life.entity, life.incarnation)
        return events.Died(
            life.entity,
            life.incarnation,
            ended.code,
            ended.signal,
            box.last_words if box is not None else "",
        )

    def _dump(self, life: EntityLife) -> None:
        path = self._run.paths.stacks(life.entity, life.incarnation)
        self._dumps[life] = path.stat().st_size if path.exists() else 0
        self._children.signal(life, DUMP_STACKS)

    def _log_stacks(self, life: EntityLife, start: int) -> None:
        path = self._run.paths.stacks(life.entity, life.incarnation)
        stacks = path.read_bytes()[start:].decode("utf-8", "replace") if path.exists() else ""
        _log.error(
            "stacks of a hung entity",
            entity=life.entity,
            incarnation=life.incarnation,
            stacks=stacks or "none: it was stopped, or had not come so far",
        )

    def _kill(self, life: EntityLife) -> list[events.Event]:
        if self._children.kill(life):
            return []
        # Never announced, and its fork server is dead: then it is among the strays, or it never was.
        # Listing comes first: whoever is listed and was announced, was announced before.
        strays = self._children.strays(FORK_SERVER)
        told = [event for key in self._helpers.channels.values() for event in self._helpers.receive(key)]
        announced = [event for event in told if isinstance(event, events.Forked)]
        known = {event.pid for event in announced}
        self._children.kill_strays([pid for pid in strays if pid not in known])
        if any(EntityLife(event.entity, event.incarnation) == life for event in announced):
            return told
        never_was = events.Died(
            life.entity, life.incarnation, None, None, "it was never announced by its fork server"
        )
        self._run.forget(life.entity, life.incarnation)
        return [*told, never_was]

    def _emit(self, emit: actions.Emit) -> None:
        _log.log(
            _LEVELS[emit.level],
            emit.message,
            kind=emit.kind,
            entity=emit.entity,
            incarnation=emit.incarnation,
        )
        self._control.publish(
            EventReport(
                time=self._wall_clock(),
                kind=emit.kind,
                level=emit.level.value,
                message=emit.message,
                pool=emit.pool,
                entity=emit.entity,
                incarnation=emit.incarnation,
            )
        )


_LEVELS = {
    actions.Level.DEBUG: 10,
    actions.Level.INFO: 20,
    actions.Level.WARNING: 30,
    actions.Level.ERROR: 40,
}
