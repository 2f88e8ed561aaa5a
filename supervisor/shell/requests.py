"""The requests of operators: who asked what, and the replies they get. What a request does to the fleet is
decided in core; here it is turned into an event, or answered from what is known."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import structlog

from temporal_fleet.protocol import control
from temporal_fleet.protocol.control import (
    Accepted,
    ChangeRequest,
    ChangesReply,
    ControlReply,
    DrainPool,
    DumpStacks,
    EvictExecutions,
    ExamineCluster,
    Failed,
    GetChanges,
    GetMetrics,
    GetPlan,
    GetStatus,
    MetricsReply,
    PlanReply,
    Progress,
    QuietEntity,
    Rejected,
    Reload,
    Restart,
    ResumePool,
    Scale,
    StacksReply,
    StatusReply,
    Stop,
)
from temporal_fleet.protocol.report import StatusReport, StepReport
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.config.reader import Config
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.core.plan import Step, plan
from temporal_fleet.supervisor.shell.children import Children, EntityLife
from temporal_fleet.supervisor.shell.configuration import Configuration, Proposal, ReloadRefused
from temporal_fleet.supervisor.shell.control import Asked, Control
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.examinations import Examinations
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.log import ASKED_FOR
from temporal_fleet.supervisor.shell.reports import changes
from temporal_fleet.supervisor.shell.stacks import ask_for_stacks
from temporal_fleet.supervisor.shell.tally import Tally
from temporal_fleet.supervisor.shell.upgrade import Upgrade

_log = structlog.get_logger()

_FAILED = "a request failed; please report this"


@dataclass(frozen=True)
class _Asker:
    """Where the replies of one request go. A signal has nobody to reply to."""

    operator: bytes
    request: str
    waits: bool = False
    """For the end of the change, and not only for its acceptance."""


class Requests:
    def __init__(
        self,
        control: Control,
        configuration: Configuration,
        helpers: Helpers,
        children: Children,
        evictions: Evictions,
        examinations: Examinations,
        upgrade: Upgrade,
        paths: RunDirectory,
        report: Callable[[bool], StatusReport],
        tally: Tally,
    ) -> None:
        self._control = control
        self._configuration = configuration
        self._helpers = helpers
        self._children = children
        self._evictions = evictions
        self._examinations = examinations
        self._upgrade = upgrade
        self._paths = paths
        self._report = report
        self._tally = tally
        self._tokens = itertools.count(1)
        self._askers: dict[str, _Asker] = {}
        self._proposals: dict[str, Proposal] = {}
        self._in_force: dict[str, int] = {}
        """The generations that accepted changes made, until their ends."""

    def receive(self, fleet: Fleet, asked: Asked, now: float) -> list[events.Event]:
        """Answer a request, or turn it into events whose outcome answers it. Whatever goes wrong with it
        costs the fleet nothing."""
        try:
            return self._take(fleet, asked, now)
        except Exception as error:
            name = type(asked.request).__name__
            _log.exception(_FAILED, request=name)
            told = [f"{name} failed: {type(error).__name__}: {error}; the supervisor's log has more"]
            asker = _Asker(asked.operator, asked.request.id)
            self._reply(asker, Rejected(id=asker.request, problems=told))
            return []

    def reload_by_signal(self) -> list[events.Event]:
        """Its outcome goes to the log alone."""
        try:
            return self.reload()
        except Exception:
            _log.exception(_FAILED, request="SIGHUP")
            return []

    def _take(self, fleet: Fleet, asked: Asked, now: float) -> list[events.Event]:
        request = asked.request
        asker = _Asker(asked.operator, request.id)
        match request:
            case GetStatus():
                self._reply(asker, StatusReply(id=request.id, report=self._report(request.memory)))
            case GetMetrics():
                self._reply(asker, MetricsReply(id=request.id, families=self._tally.families(fleet)))
            case GetPlan():
                self._plan(fleet, asker)
            case GetChanges():
                self._changes(fleet, asker, request.change, now)
            case DumpStacks():
                self._dump(fleet, asker, request.entity)
            case EvictExecutions():
                self._evictions.ask(fleet, asked.operator, request, now)
            case ExamineCluster():
                tell_agent = self._helpers.tell_agent
                self._examinations.ask(tell_agent, fleet, asked.operator, request, now)
            case control.Upgrade():
                self._upgrade.ask(fleet, asked.operator, request.id, now)
            case Stop():
                self._reply(asker, Accepted(id=request.id, message="stops", generation=fleet.generation))
                return [events.StopRequested(now=request.now)]
            case _:
                return self._change(request, replace(asker, waits=request.wait))
        return []

    def _change(self, request: ChangeRequest, asker: _Asker) -> list[events.Event]:
        match request:
            case Reload():
                return self.reload(asker, tuple(request.force))
            case Scale():
                if self._configuration.path is not None:
                    problem = f"change `entities` in {self._configuration.path}, then reload"
                    self._reply(asker, Rejected(id=request.id, problems=[problem]))
                    return []
                return [events.ScaleRequested(self._token(asker), request.pools)]
            case Restart():
                codes, _ = self._helpers.code_now()
                return [events.RestartRequested(self._token(asker), request.target, codes)]
            case DrainPool():
                return [events.DrainRequested(self._token(asker), request.pool)]
            case ResumePool():
                return [events.ResumeRequested(self._token(asker), request.pool)]
            case QuietEntity():
                return [events.QuietRequested(self._token(asker), request.entity)]

    def reload(self, asker: _Asker | None = None, forced: tuple[str, ...] = ()) -> list[events.Event]:
        """Read the config again; without an asker the outcome goes to the log alone."""
        token = self._token(asker)
        try:
            proposal = self._configuration.propose()
        except ReloadRefused as refused:
            return [events.FileRefused(token, refused.problems)]
        self._proposals[token] = proposal
        codes, edited = self._helpers.code_now()
        pools, budget, settings = proposal.pools, proposal.budget, proposal.settings
        return [events.ReloadRequested(token, pools, budget, forced, codes, edited, settings)]

    def accept(self, told: actions.Accept) -> None:
        before = self._configuration.config
        self._configuration.adopt(told.generation, self._proposals.pop(told.request, None))
        self._in_force[told.request] = told.generation
        self._follow(before)
        asker = self._askers.get(told.request)
        if asker is not None and asker.waits:
            self._reply(asker, Progress(id=asker.request, message=told.message))
        elif asker is not None:
            del self._askers[told.request]
            self._reply(asker, _accepted(asker, told.message, told.generation, told.change))

    def reject(self, token: str, problems: tuple[str, ...]) -> None:
        self._proposals.pop(token, None)
        if asker := self._askers.pop(token, None):
            self._reply(asker, Rejected(id=asker.request, problems=list(problems)))

    def converged(self, told: actions.Converged) -> None:
        generation = self._in_force.pop(told.request)
        self._configuration.settle(generation)
        if asker := self._askers.pop(told.request, None):
            self._reply(asker, _accepted(asker, told.message, generation, told.change))

    def failed(self, told: actions.Failed) -> None:
        self._in_force.pop(told.request, None)
        if told.restored is not None:
            before = self._configuration.config
            self._configuration.restore(told.restored)
            self._follow(before)
        if asker := self._askers.pop(told.request, None):
            failed = Failed(
                id=asker.request,
                problems=list(told.problems),
                change=told.change,
                restored=told.restored is not None,
            )
            self._reply(asker, failed)

    def tell(self, told: actions.Tell) -> None:
        if asker := self._askers.get(told.request):
            self._reply(asker, Progress(id=asker.request, message=told.message, steps=_reports(told.steps)))

    def happened(self, told: actions.Emit) -> None:
        """What becomes of entities is the progress of the change that somebody waits for."""
        if told.entity is None or told.level is actions.Level.DEBUG or not told.kind.startswith("entity."):
            return
        for token in self._in_force:
            self.tell(actions.Tell(token, f"{told.entity}: {told.message}"))

    def _follow(self, before: Config) -> None:
        """Another config is in force than before."""
        now = self._configuration.config
        if now is before:
            return
        if self._configuration.watch(now) != self._configuration.watch(before):
            self._helpers.watch(self._configuration.watch(now))

    def log_status(self) -> None:
        try:
            _log.info("state", **{ASKED_FOR: True}, status=msgspec.to_builtins(self._report(True)))
        except Exception:
            _log.exception(_FAILED, request="SIGUSR1")

    def _plan(self, fleet: Fleet, asker: _Asker) -> None:
        try:
            wanted = self._configuration.propose()
        except ReloadRefused as refused:
            self._reply(asker, Rejected(id=asker.request, problems=list(refused.problems)))
            return
        codes, edited = self._helpers.code_now()
        planned = plan(
            fleet, wanted.pools, wanted.budget, codes=codes, edited=edited, settings=wanted.settings
        )
        self._reply(asker, PlanReply(id=asker.request, steps=_reports(planned.steps)))

    def _changes(self, fleet: Fleet, asker: _Asker, change: int | None, now: float) -> None:
        found = changes(fleet.changes, change, now)
        if change is not None and not found:
            known = [order.id for order in fleet.changes]
            there = f"there are {known[0]} to {known[-1]}" if known else "nothing was asked of this fleet yet"
            problem = f"no change {change}; {there}"
            self._reply(asker, Rejected(id=asker.request, problems=[problem]))
        else:
            self._reply(asker, ChangesReply(id=asker.request, changes=found))

    def _dump(self, fleet: Fleet, asker: _Asker, name: str) -> None:
        entity = fleet.entities.get(name)
        if entity is None:
            there = ", ".join(sorted(fleet.entities)) or "none"
            problem = f"no entity {name!r}; there are: {there}"
        else:
            life = EntityLife(entity.id, entity.incarnation)
            dump = ask_for_stacks(self._paths, self._children, life)
            if dump is not None:
                reply = StacksReply(id=asker.request, pid=dump.pid, path=str(dump.path), offset=dump.offset)
                self._reply(asker, reply)
                return
            problem = f"{name} is {entity.state.value}: it has no process of ours that could be asked yet"
        self._reply(asker, Rejected(id=asker.request, problems=[problem]))

    def _token(self, asker: _Asker | None) -> str:
        token = str(next(self._tokens))
        if asker is not None:
            self._askers[token] = asker
        return token

    def _reply(self, asker: _Asker, reply: ControlReply) -> None:
        self._control.reply(asker.operator, reply)


def _reports(steps: tuple[Step, ...]) -> list[StepReport]:
    return [StepReport(action=step.action, target=step.target, reason=step.reason) for step in steps]


def _accepted(asker: _Asker, message: str, generation: int, change: int) -> Accepted:
    return Accepted(id=asker.request, message=message, generation=generation, change=change)
