"""The helper processes that run now: starting and ending them, and what they say as events of the core."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from temporal_fleet.protocol import logfile
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.helpers import (
    ClosedFound,
    ClusterState,
    CredentialsTried,
    Examine,
    Examined,
    FindClosed,
    Forked,
    ForkEntity,
    ForkRefused,
    FromAgent,
    FromForkServer,
    FromWeb,
    LogSettings,
    Prepare,
    Prepared,
    ProgramRefused,
    Recovered,
    RecoverEntity,
    RecoveryDelayed,
    Serve,
    Serving,
    WatchCluster,
)
from temporal_fleet.protocol.spec import EntitySpec, LogFiles, ProgramSpec
from temporal_fleet.protocol.title import titles_of
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import AGENT, DEV_SERVER, HelperKey, HelperKind
from temporal_fleet.supervisor.shell.children import Children, EntityLife, HelperLife, marked
from temporal_fleet.supervisor.shell.codes import Codes
from temporal_fleet.supervisor.shell.confinement import make_log_folder, named
from temporal_fleet.supervisor.shell.dev_server import DevServerPlan, DevServerProcess
from temporal_fleet.supervisor.shell.helper_process import AGENT as AGENT_MODULE
from temporal_fleet.supervisor.shell.helper_process import (
    FORK_SERVER,
    WEB,
    HelperGone,
    HelperProcess,
)
from temporal_fleet.supervisor.shell.inherited import Inherited

_log = structlog.get_logger()

_PAUSE = 0.005


@dataclass(frozen=True)
class _Running:
    life: int
    process: HelperProcess | DevServerProcess
    program: ProgramSpec | None
    """What a fork server loads."""


class Helpers:
    def __init__(
        self,
        children: Children,
        watch: WatchCluster,
        dev_server: DevServerPlan | None,
        *,
        log_format: str,
        run_dir: Path,
        examined: Callable[[Examined], None],
        log_files: LogFiles | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        """`examined`: who asked the agent for a look at the Cluster; `inherited`: what programs get back."""
        self.cluster_state: ClusterState | None = None
        """What the agent said last."""
        self._codes = Codes()
        self._children = children
        self._watch = watch
        self._dev_server = dev_server
        self._log_format = log_format
        self._run_dir = run_dir
        self._examined = examined
        self._log_files = log_files
        self._inherited = inherited
        self._running: dict[HelperKey, _Running] = {}

    def channels(self) -> dict[int, HelperKey]:
        """Descriptors to listen to."""
        return {process.fileno(): key for key, process in self._talking() if process.listens}

    def behind(self) -> dict[int, HelperKey]:
        """Descriptors that cannot be written to now, and are to be."""
        return {process.fileno(): key for key, process in self._talking() if process.is_behind}

    def start(self, key: HelperKey, life: int, program: ProgramSpec | None) -> list[events.Event]:
        try:
            process = self._spawn(key, program)
        except OSError as error:
            return [events.HelperDied(key, life, f"cannot be started: {error}")]
        self._running[key] = _Running(life, process, program)
        self._children.claim(process.pid, HelperLife(key, life))
        if isinstance(process, DevServerProcess):
            return [events.HelperReady(key, life)]
        # One that is gone already is about to be waited for.
        with contextlib.suppress(HelperGone):
            if key == AGENT:
                process.send(self._log_settings(None))
            process.send(self._first_order(key, program))
        return []

    def log_to(self, files: LogFiles | None) -> None:
        """Where the helpers log from now on. The dev server follows with its next life."""
        self._log_files = files
        for key, running in self._running.items():
            if isinstance(running.process, HelperProcess) and key.kind is not HelperKind.WEB:
                # One that is gone is about to be waited for.
                with contextlib.suppress(HelperGone):
                    running.process.send(self._log_settings(running.program))

    def forks(self) -> list[int]:
        """Our direct children that are fork servers, or were forked by one, as their command lines and titles
        tell; the other helpers too, once they have a title."""
        return marked(FORK_SERVER, titles_of(self._watch.fleet))

    def look_after_logs(self, now: float) -> None:
        """Those that their processes do not look after themselves."""
        dev_server = self._running.get(DEV_SERVER)
        if dev_server is not None and isinstance(dev_server.process, DevServerProcess):
            dev_server.process.log.look_after(now)

    def _log_settings(self, program: ProgramSpec | None) -> LogSettings:
        module = program.program.partition(":")[0] if program is not None else ""
        return LogSettings(
            fleet=self._watch.fleet,
            process="agent" if program is None else "fork server",
            name=logfile.AGENT if program is None else f"{logfile.FORK_SERVER}.{module}",
            log_format=self._log_format,
            files=_made(self._log_files, program.limits.user if program is not None else None),
        )

    def watch(self, watch: WatchCluster) -> None:
        """The Cluster to watch is another one now."""
        self._watch = watch
        self.tell_agent(watch)

    def tell_agent(self, message: WatchCluster | RecoverEntity | FindClosed | Examine) -> bool:
        """False: there is no agent now."""
        agent = self._running.get(AGENT)
        if agent is None or not isinstance(agent.process, HelperProcess):
            return False
        try:
            agent.process.send(message)
        except HelperGone:
            return False
        return True

    def fork(self, key: HelperKey, spec: EntitySpec) -> list[events.Event]:
        running = self._running.get(key)
        try:
            if running is None or not isinstance(running.process, HelperProcess):
                raise HelperGone("the fork server is gone")
            running.process.send(ForkEntity(spec=spec))
        except HelperGone as error:
            return [events.ForkRefused(spec.entity, spec.incarnation, str(error))]
        return []

    def catch_up(self) -> None:
        """Send what helpers had no room for, as far as they have now."""
        for _, process in self._talking():
            # One that is gone is about to be waited for, and its death brings what it was not told.
            with contextlib.suppress(HelperGone):
                process.flush()

    def stop(self, key: HelperKey) -> None:
        """For good. One that only died is started again, and what it had imported still counts until then."""
        self._codes.forget(key.name)
        if running := self._running.get(key):
            running.process.stop()

    def kill(self, key: HelperKey) -> None:
        if running := self._running.get(key):
            running.process.kill()

    def end_all(self, within: float) -> None:
        """Every helper goes, and is waited for here; nobody is told. Whoever is late is killed."""
        processes = {running.process.pid: running.process for running in self._running.values()}
        for process in processes.values():
            process.stop()
        until = time.monotonic() + within
        while processes:
            for pid, process in tuple(processes.items()):
                if time.monotonic() >= until:
                    process.kill()
                if os.waitpid(pid, os.WNOHANG)[0]:
                    process.was_waited_for()
                    del processes[pid]
            time.sleep(_PAUSE)
        self._running.clear()

    def receive(self, key: HelperKey) -> list[events.Event]:
        """What a helper said since the last time."""
        running = self._running.get(key)
        if running is None or not isinstance(running.process, HelperProcess):
            return []
        return self._understand_all(key, running.life, running.process.receive())

    def receive_all(self) -> list[events.Event]:
        """What any helper said since the last time."""
        return [event for key in self._running for event in self.receive(key)]

    def ended(self, owner: HelperLife, code: int | None, signal_name: str | None) -> list[events.Event]:
        """A helper was waited for. First what it said before its end."""
        process = self._running.pop(owner.key).process
        how = f"killed by {signal_name}" if signal_name else f"exit status {code}"
        told: list[events.Event] = []
        if isinstance(process, DevServerProcess):
            last_line = process.was_waited_for()
            how = how if signal_name else f"{how}: {last_line}"
        else:
            told = self._understand_all(owner.key, owner.life, process.was_waited_for())
        return [*told, events.HelperDied(owner.key, owner.life, f"died: {how}")]

    def code_now(self) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Of each fork server, by its name: the digest of the code that it would import now, and what of that
        is not as it was."""
        found = self._codes.now()
        return (
            {name: code.digest for name, code in found.items()},
            {name: code.edited for name, code in found.items()},
        )

    def _talking(self) -> Iterator[tuple[HelperKey, HelperProcess]]:
        for key, running in self._running.items():
            if isinstance(running.process, HelperProcess):
                yield key, running.process

    def _spawn(self, key: HelperKey, program: ProgramSpec | None) -> HelperProcess | DevServerProcess:
        if key == DEV_SERVER:
            assert self._dev_server is not None
            return DevServerProcess(self._dev_server, self._log_files)
        if key == AGENT:
            return HelperProcess(AGENT_MODULE, FromAgent, {})
        if key.kind is HelperKind.WEB:
            return HelperProcess(WEB, FromWeb, {})
        assert program is not None
        return HelperProcess(FORK_SERVER, FromForkServer, program.env, program.limits, self._inherited)

    def _first_order(self, key: HelperKey, program: ProgramSpec | None) -> Prepare | Serve | WatchCluster:
        if program is not None:
            return Prepare(program=program, log=self._log_settings(program))
        if key.kind is HelperKind.WEB:
            return Serve(fleet=self._watch.fleet, http=key.name, run_dir=str(self._run_dir))
        return self._watch

    def _understand_all(
        self, key: HelperKey, life: int, said: list[FromForkServer | FromAgent | FromWeb]
    ) -> list[events.Event]:
        return [event for message in said for event in self._understand(key, life, message)]

    def _learn(self, key: HelperKey, prepared: Prepared) -> str:
        """The digest of the code that it imported; empty: nobody could compare it."""
        try:
            self._codes.learn(key.name, prepared)
        except PeerRubbish as rubbish:
            told = "changes of this code go unnoticed; roll it with reload --force"
            _log.error(told, fork_server=key.name, problem=str(rubbish))
            return ""
        return prepared.code

    def _understand(
        self, key: HelperKey, life: int, message: FromForkServer | FromAgent | FromWeb
    ) -> list[events.Event]:
        match message:
            case Prepared():
                _log.info(
                    "program imported",
                    seconds=round(message.seconds, 2),
                    workflows=message.workflows or None,
                    activities=message.activities or None,
                    nexus_services=message.nexus_services or None,
                )
                return [events.HelperReady(key, life, self._learn(key, message))]
            case ProgramRefused():
                if message.detail.strip() != message.reason.strip():
                    _log.info("what the program was refused for", detail=message.detail)
                return [events.HelperRefused(key, life, message.reason)]
            case Forked():
                # Whose word it is runs code of the program, and we may kill whom it names.
                if not self._children.may_be_new(message.pid):
                    _log.error(
                        "told of an entity that is none; please report this",
                        fork_server=key.name,
                        entity=message.entity,
                        pid=message.pid,
                    )
                    return []
                self._children.claim(message.pid, EntityLife(message.entity, message.incarnation))
                return [events.Forked(message.entity, message.incarnation, message.pid)]
            case ForkRefused():
                return [events.ForkRefused(message.entity, message.incarnation, message.reason)]
            case ClusterState():
                self.cluster_state = message
                changed = events.ClusterChanged(message.reachable, message.refused, message.reason)
                return [events.HelperReady(key, life), changed]
            case Recovered():
                return [
                    events.Recovered(
                        life=Life(message.entity, message.incarnation),
                        executions=message.executions,
                        tasks_freed=message.tasks_freed,
                        queries_answered=message.queries_answered,
                        activities_failed=message.activities_failed,
                        refused=message.refused,
                        seconds=message.seconds,
                        problem=message.problem,
                    )
                ]
            case RecoveryDelayed():
                return [events.RecoveryDelayed(Life(message.entity, message.incarnation), message.reason)]
            case CredentialsTried():
                return [events.CredentialsTried(None, message.problem)]
            case Serving():
                told = events.HttpTold(key, life, message.address, message.problem)
                return [events.HelperReady(key, life), told]
            case Examined():
                self._examined(message)
                return []
            case ClosedFound():
                return [events.ClosedFound(message.entity, message.incarnation, tuple(message.run_ids))]


def _made(files: LogFiles | None, user: str | None) -> LogFiles | None:
    """Where the processes of a user log; the folder is made for that user, who could not. Where it cannot be,
    they say so themselves, on the streams that they inherited."""
    if files is not None and user is not None:
        try:
            make_log_folder(Path(files.folder), named(user))
        except OSError as error:
            _log.error("no folder for the logs of a user", user=user, log_dir=files.folder, reason=str(error))
    return logfile.files_of(files, user)
