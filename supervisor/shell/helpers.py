"""The helper processes that run now: starting and ending them, and what they say as events of the core."""

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from temporal_fleet.protocol.helpers import (
    ClusterState,
    Forked,
    ForkEntity,
    ForkRefused,
    FromAgent,
    FromForkServer,
    Prepare,
    Prepared,
    ProgramRefused,
    WatchCluster,
)
from temporal_fleet.protocol.spec import EntitySpec, ProgramSpec
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import AGENT, DEV_SERVER, HelperKey
from temporal_fleet.supervisor.shell.children import Children, HelperLife
from temporal_fleet.supervisor.shell.dev_server import DevServerPlan, DevServerProcess
from temporal_fleet.supervisor.shell.helper_process import AGENT as AGENT_MODULE
from temporal_fleet.supervisor.shell.helper_process import (
    FORK_SERVER,
    HelperNotReading,
    HelperProcess,
)

_log = structlog.get_logger()


@dataclass(frozen=True)
class _Running:
    life: int
    process: HelperProcess | DevServerProcess


class Helpers:
    def __init__(self, children: Children, watch: WatchCluster, dev_server: DevServerPlan | None) -> None:
        self.cluster_state: ClusterState | None = None
        """What the agent said last."""
        self._children = children
        self._watch = watch
        self._dev_server = dev_server
        self._running: dict[HelperKey, _Running] = {}
        self.channels: Mapping[int, HelperKey] = {}
        """Descriptors to listen to."""

    def _list_channels(self) -> None:
        self.channels = {
            running.process.channel.fileno(): key
            for key, running in self._running.items()
            if isinstance(running.process, HelperProcess)
        }

    def start(self, key: HelperKey, life: int, program: ProgramSpec | None) -> list[events.Event]:
        try:
            process = self._spawn(key, program)
        except OSError as error:
            return [events.HelperDied(key, life, f"cannot be started: {error}")]
        self._running[key] = _Running(life, process)
        self._list_channels()
        owner = HelperLife(key, life)
        if (ended := self._children.claim(process.pid, owner)) is not None:
            return self.ended(owner, ended.code, ended.signal)
        try:
            if isinstance(process, HelperProcess):
                process.send(Prepare(program=program) if program else self._watch)
        except HelperNotReading:
            # It died in this very moment: its end is on the way.
            return []
        return [events.HelperReady(key, life)] if key == DEV_SERVER else []

    def watch(self, watch: WatchCluster) -> None:
        """The Cluster to watch is another one now."""
        self._watch = watch
        agent = self._running.get(AGENT)
        if agent is not None and isinstance(agent.process, HelperProcess):
            with contextlib.suppress(HelperNotReading):
                agent.process.send(watch)

    def fork(self, key: HelperKey, spec: EntitySpec) -> list[events.Event]:
        running = self._running.get(key)
        try:
            if running is None or not isinstance(running.process, HelperProcess):
                raise HelperNotReading("the fork server is gone")
            running.process.send(ForkEntity(spec=spec))
        except HelperNotReading as error:
            return [events.ForkRefused(spec.entity, spec.incarnation, str(error))]
        return []

    def stop(self, key: HelperKey) -> None:
        if running := self._running.get(key):
            with contextlib.suppress(OSError):
                running.process.stop()

    def kill(self, key: HelperKey) -> None:
        if running := self._running.get(key):
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.process.pid, signal.SIGKILL)

    def receive(self, key: HelperKey) -> list[events.Event]:
        """What a helper said since the last time."""
        running = self._running.get(key)
        if running is None or not isinstance(running.process, HelperProcess):
            return []
        told: list[events.Event] = []
        for message in running.process.receive():
            told += self._understand(key, running.life, message)
        return told

    def ended(self, owner: HelperLife, code: int | None, signal_name: str | None) -> list[events.Event]:
        """A helper was waited for. First what it said before its end."""
        told = self.receive(owner.key)
        running = self._running.pop(owner.key)
        self._list_channels()
        how = f"killed by {signal_name}" if signal_name else f"exit status {code}"
        if isinstance(running.process, DevServerProcess):
            how = f"{how}: {running.process.gone()}"
        else:
            running.process.gone()
        return [*told, events.HelperDied(owner.key, owner.life, f"died: {how}")]

    def _spawn(self, key: HelperKey, program: ProgramSpec | None) -> HelperProcess | DevServerProcess:
        if key == DEV_SERVER:
            assert self._dev_server is not None
            return DevServerProcess(self._dev_server)
        if key == AGENT:
            return HelperProcess(AGENT_MODULE, FromAgent, {})
        assert program is not None
        return HelperProcess(FORK_SERVER, FromForkServer, program.env)

    def _understand(
        self, key: HelperKey, life: int, message: FromForkServer | FromAgent
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
                return [events.HelperReady(key, life)]
            case ProgramRefused():
                _log.error("program refused", reason=message.reason, detail=message.detail)
                return [events.HelperRefused(key, life, message.reason)]
            case Forked():
                return [events.Forked(message.entity, message.incarnation, message.pid)]
            case ForkRefused():
                return [events.ForkRefused(message.entity, message.incarnation, message.reason)]
            case ClusterState():
                self.cluster_state = message
                changed = events.ClusterChanged(message.reachable, message.refused, message.reason)
                return [events.HelperReady(key, life), changed]
