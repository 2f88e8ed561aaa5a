"""A fork server as the supervisor has one, for tests: a real process, spoken to over its pair."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from temporal_fleet.protocol.channel import Channel, ChannelClosed
from temporal_fleet.protocol.helpers import Forked, ForkEntity, FromForkServer, Prepare, Prepared
from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, ProgramSpec
from tests.waiting import wait_until

_PR_SET_CHILD_SUBREAPER = 36


class ForkServerProcess:
    """Ends with its block, and every entity of it with it."""

    def __init__(
        self, folder: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.run_dir = folder / "run"
        (self.run_dir / "entities").mkdir(parents=True)
        self.log = folder / "log"
        self.entities: dict[str, int] = {}
        assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "temporal_fleet.entity.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.channel: Channel[Any] = Channel(ours, FromForkServer)

    def __enter__(self) -> "ForkServerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            for pid in self.entities.values():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        if error is not None:
            error.add_note(f"log of the fork server:\n{self.log.read_text()}")

    def answer(self, within: float = 30.0) -> Any:
        """The next message; None when the fork server closed the pair."""
        ready, _, _ = select.select([self.channel], [], [], within)
        assert ready, f"the fork server says nothing:\n{self.log.read_text()}"
        try:
            return self.channel.receive()
        except ChannelClosed:
            return None

    def prepare(self, program: ProgramSpec) -> Any:
        self.channel.send(Prepare(program=program))
        return self.answer()

    def prepared(self, program: ProgramSpec) -> Prepared:
        answer = self.prepare(program)
        assert isinstance(answer, Prepared), f"{answer}\n{self.log.read_text()}"
        return answer

    def ask(self, entity: str, program: ProgramSpec, address: str) -> None:
        spec = EntitySpec(
            fleet="test",
            entity=entity,
            incarnation=1,
            run_dir=str(self.run_dir),
            supervisor_pid=os.getpid(),
            cluster=ClusterSpec(address=address),
            program=program,
            drain=1.0,
            orphan=1.0,
            log_format="json",
        )
        self.channel.send(ForkEntity(spec=spec))

    def fork(self, entity: str, program: ProgramSpec, address: str) -> int:
        self.ask(entity, program, address)
        forked = self.answer()
        assert isinstance(forked, Forked), forked
        assert (forked.entity, forked.incarnation) == (entity, 1)
        self.entities[entity] = forked.pid
        return forked.pid

    def ended(self, entity: str) -> int:
        """The exit status of an entity, as its parent learns it."""
        pid = self.entities.pop(entity)
        waited = wait_until(lambda: _status(pid), what=f"the end of {entity}")
        assert waited is not None
        return os.waitstatus_to_exitcode(waited[0])


def _status(pid: int) -> tuple[int] | None:
    try:
        waited, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Still the intermediate process's child.
        return None
    return (status,) if waited else None
