"""Entities under test: a real fork server that forks them, and the supervisor's end of the bus in the test.

The test process is their real parent, as the supervisor is: a subreaper.
"""

import ctypes
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import zmq

from temporal_fleet.protocol.blackbox import BlackBoxContents, read_blackbox
from temporal_fleet.protocol.channel import Channel
from temporal_fleet.protocol.codec import Decoder, encode
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import Forked, ForkEntity, FromForkServer, Prepare, Prepared
from temporal_fleet.protocol.messages import (
    Drain,
    EntityMessage,
    FromEntity,
    Heartbeat,
    Hello,
    Quiet,
    Ready,
    SupervisorMessage,
    Welcome,
)
from temporal_fleet.protocol.rundir import RunDirectory, ipc, routing_id
from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, ProgramSpec
from tests.waiting import wait_until

PROGRAMS = Path(__file__).parent
M = TypeVar("M", bound=FromEntity)

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def set_subreaper(on: bool) -> None:
    assert _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0


class Life:
    """One forked entity."""

    def __init__(self, pid: int, spec: EntitySpec, nursery: "Nursery") -> None:
        self.pid = pid
        self.spec = spec
        self._files = RunDirectory(spec.run_dir)
        self._nursery = nursery
        self._status: int | None = None

    def _reaped(self) -> bool:
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # It was announced by the process between the fork server and it, which is still its parent.
                return False
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is not None

    def alive(self) -> bool:
        return not self._reaped()

    def exit_code(self, within: float = 20.0) -> int:
        """Its exit code once it ends, or minus the signal."""
        wait_until(self._reaped, within, f"the end of {self.spec.entity}; its log:\n{self.log()}")
        assert self._status is not None
        return self._status

    def expect(self, code: ExitCode) -> str:
        """Its last words, when it ended with this code."""
        ended = self.exit_code()
        assert ended == code, f"it ended with {ended}; its log:\n{self.log()}"
        return self.blackbox().last_words

    def blackbox(self) -> BlackBoxContents:
        return read_blackbox(self._files.blackbox(self.spec.entity, self.spec.incarnation))

    def identity(self) -> str:
        """What it calls itself to the Cluster; empty until it is about to connect."""
        try:
            return self.blackbox().identity
        except (FileNotFoundError, PeerRubbish):
            return ""

    def stacks(self) -> str:
        return self._files.stacks(self.spec.entity, self.spec.incarnation).read_text()

    def log(self) -> str:
        return self._nursery.log()

    def send_signal(self, number: int) -> None:
        assert self.alive(), self.log()
        os.kill(self.pid, number)

    def end(self) -> None:
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            self.exit_code()


class Nursery:
    """A fork server and what it forked. Its standard streams go to a file, or to `output`."""

    def __init__(self, program: ProgramSpec, log: Path, output: int | None = None) -> None:
        self._log = log
        self.program = program
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("ab") as file, theirs:
            target = file.fileno() if output is None else output
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "temporal_fleet.entity.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                env={**os.environ, **program.env},
            )
        self._channel = Channel[FromForkServer](ours, FromForkServer)
        self._lives: list[Life] = []
        self._channel.send(Prepare(program=program))
        prepared = self._receive(60)
        assert isinstance(prepared, Prepared), f"{prepared}\n{self.log()}"

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def fork(self, spec: EntitySpec) -> Life:
        self._channel.send(ForkEntity(spec=spec))
        answer = self._receive(20)
        assert isinstance(answer, Forked), f"{answer}\n{self.log()}"
        life = Life(answer.pid, spec, self)
        self._lives.append(life)
        return life

    def end(self) -> None:
        self._channel.close()
        for life in self._lives:
            life.end()
        self._server.wait(20)

    def _receive(self, within: float) -> FromForkServer:
        readable, _, _ = select.select([self._channel], [], [], within)
        assert readable, f"no word from the fork server; its log:\n{self.log()}"
        return self._channel.receive()


class Bus:
    """The supervisor's end: a ROUTER that keeps what it is told."""

    def __init__(self, run_dir: Path) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.router_mandatory = True
        self._socket.linger = 0
        self._socket.bind(ipc(RunDirectory(run_dir).bus))
        self._decoder = Decoder[EntityMessage](EntityMessage)
        self.messages: list[EntityMessage] = []

    def pump(self) -> None:
        while self._socket.poll(0):
            sender, frame = self._socket.recv_multipart()
            message = self._decoder.decode(frame)
            assert sender.decode() == routing_id(message.entity, message.incarnation)
            self.messages.append(message)

    def wait_for(self, kind: type[M], life: Life, within: float = 20.0, count: int = 1) -> M:
        """The `count`th message of this kind from this life."""

        def arrived() -> M | None:
            self.pump()
            found = [
                m
                for m in self.messages
                if isinstance(m, kind)
                and (m.entity, m.incarnation) == (life.spec.entity, life.spec.incarnation)
            ]
            if len(found) >= count:
                return found[count - 1]
            assert life.alive(), f"it ended with {life.exit_code()}; its log:\n{life.log()}"
            return None

        return wait_until(arrived, within, f"{kind.__name__} from {life.spec.entity}; its log:\n{life.log()}")

    def wait_for_heartbeat(self, life: Life, within: float = 20.0, **values: int) -> Heartbeat:
        """The first heartbeat from now on with these values."""
        self.pump()
        seen = len(self.messages)

        def arrived() -> Heartbeat | None:
            self.pump()
            for message in self.messages[seen:]:
                if (
                    isinstance(message, Heartbeat)
                    and message.entity == life.spec.entity
                    and all(getattr(message, name) == value for name, value in values.items())
                ):
                    return message
            return None

        return wait_until(arrived, within, f"a heartbeat with {values}, in {self.messages[seen:]}")

    def send(self, life: Life, message: SupervisorMessage) -> None:
        self.send_bytes(life, encode(message))

    def send_bytes(self, life: Life, *frames: bytes) -> None:
        address = routing_id(life.spec.entity, life.spec.incarnation).encode()
        self._socket.send_multipart([address, *frames])

    def welcome(self, life: Life, supervisor_pid: int) -> None:
        self.wait_for(Hello, life)
        self.send(
            life,
            Welcome(
                entity=life.spec.entity, incarnation=life.spec.incarnation, supervisor_pid=supervisor_pid
            ),
        )

    def ready(self, life: Life) -> None:
        """Greet it and wait until it is ready."""
        self.welcome(life, life.spec.supervisor_pid)
        self.wait_for(Ready, life)

    def drain(self, life: Life) -> None:
        self.send(life, Drain(entity=life.spec.entity, incarnation=life.spec.incarnation))

    def quiet(self, life: Life) -> None:
        self.send(life, Quiet(entity=life.spec.entity, incarnation=life.spec.incarnation))

    def close(self) -> None:
        self._context.destroy(linger=0)


_incarnations = itertools.count(1)


def entity_spec(
    run_dir: Path,
    program: ProgramSpec,
    cluster: ClusterSpec,
    *,
    supervisor_pid: int | None = None,
    drain: float = 10.0,
    orphan: float = 20.0,
    log_format: str = "json",
    log_level: str = "info",
) -> EntitySpec:
    return EntitySpec(
        fleet="shop",
        entity="orders-1",
        incarnation=next(_incarnations),
        run_dir=str(run_dir),
        supervisor_pid=os.getpid() if supervisor_pid is None else supervisor_pid,
        cluster=cluster,
        program=program,
        drain=drain,
        orphan=orphan,
        log_format=log_format,
        log_level=log_level,
    )


def program_spec(task_queue: str, **changes: object) -> ProgramSpec:
    values: dict[str, object] = {
        "program": "life_program",
        "path": str(PROGRAMS),
        "task_queue": task_queue,
        **changes,
    }
    return ProgramSpec(**values)  # type: ignore[arg-type]
