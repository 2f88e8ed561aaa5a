"""A real fleet under test: the installed command in a process of its own, and what a test asks of it.

Used by the tests of `system` and `faults`. The supervisor is asked over its own control socket, so that
waiting for a state costs no process; the command itself is run by `command`.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import zmq

from temporal_fleet.protocol.codec import Decoder, encode
from temporal_fleet.protocol.control import ControlReply, GetStatus, StatusReply
from temporal_fleet.protocol.report import EntityReport, StatusReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from tests.waiting import wait_until

COMMAND = Path(sys.executable).parent / "temporal-fleet"
PROGRAMS = Path(__file__).parent / "programs"
"""Worker Programs for tests, to be copied or put on `path`."""


def command(*arguments: str, cwd: Path | None = None, within: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `temporal-fleet ARGUMENTS` to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )


def ask(context: "zmq.Context[zmq.Socket[bytes]]", run: RunDirectory) -> StatusReport | None:
    """The status of the fleet in a run directory; None when no supervisor answers."""
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(ipc(run.control))
        socket.send(encode(GetStatus(id="test", memory=False)))
        if not socket.poll(1000):
            return None
        reply = Decoder[ControlReply](ControlReply).decode(socket.recv())
    assert isinstance(reply, StatusReply)
    return reply.report


class FleetUnderTest:
    """`temporal-fleet up` with a config, in a folder of its own. However it ends, no process is left."""

    def __init__(
        self,
        folder: Path,
        config: str,
        environment: dict[str, str] | None = None,
        *,
        within: tuple[str, ...] = (),
    ) -> None:
        """`within`: the command that runs the supervisor, if it is not run at once."""
        self.folder = folder
        self._within = within
        self.config = folder / "fleet.toml"
        self.config.write_text(config)
        self.run_dir = RunDirectory(folder / "run")
        self.log = folder / "fleet.log"
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context.destroy(linger=0)
        leftovers = self._end()
        if error is not None:
            error.add_note(f"--- {self.log}\n{self.log_text()[-20_000:]}")
        elif leftovers:
            raise AssertionError(f"left running: {leftovers}\n{self.log_text()[-20_000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, output: int | None = None, options: tuple[str, ...] = ()) -> Self:
        """Start the supervisor, without waiting for anything. Its streams are the log, or `output`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._within, COMMAND, "up", "-c", self.config, *options],
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log if output is None else output,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
            )
        return self

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def ask(self) -> StatusReport | None:
        """The status now; None when no supervisor answers."""
        report = ask(self._context, self.run_dir)
        if report is not None:
            self._remember(report)
        return report

    def status(self) -> StatusReport:
        """The first that the supervisor answers from now on."""
        return self.wait(lambda _: True, what="the supervisor answers")

    def entity(self, name: str) -> EntityReport:
        return next(entity for entity in self.status().entities if entity.id == name)

    def wait(
        self, condition: Callable[[StatusReport], object], within: float = 30.0, what: str = ""
    ) -> StatusReport:
        """The first status that meets a condition."""

        def met() -> StatusReport | None:
            assert self._process is None or self._process.poll() is None, "the supervisor ended"
            report = self.ask()
            return report if report is not None and condition(report) else None

        try:
            return wait_until(met, within=within, what=what)
        except AssertionError as error:
            error.add_note(f"status: {self.ask()}")
            raise

    def wait_running(self, within: float = 60.0) -> StatusReport:
        return self.wait(lambda s: s.fleet.state == "running", within, "the fleet runs")

    def wait_stopped(self, within: float = 30.0) -> int:
        """The supervisor's exit status."""
        assert self._process is not None
        return self._process.wait(timeout=within)

    def stop(self, within: float = 60.0) -> int:
        """TERM, and wait for the end; the supervisor's exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_stopped(within)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill_supervisor(self) -> None:
        """SIGKILL of the supervisor alone, and nothing else."""
        assert self._process is not None
        self.remember_all()
        self._process.kill()
        self._process.wait()
        self._process = None

    def command(self, *arguments: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command against this fleet."""
        return command(*arguments, "-c", str(self.config), within=within)

    def edit(self, before: str, after: str) -> None:
        """Change the config file."""
        text = self.config.read_text()
        assert before in text, f"{before!r} is not in {self.config}"
        self.config.write_text(text.replace(before, after))

    def remember_all(self) -> list[psutil.Process]:
        """Every process under the supervisor now; the end of the test holds us to their end."""
        assert self._process is not None
        found = psutil.Process(self._process.pid).children(recursive=True)
        self._seen.update({process.pid: process for process in found})
        return found

    def _remember(self, report: StatusReport) -> None:
        for entity in report.entities:
            if entity.pid is not None and entity.pid not in self._seen:
                with _gone_is_fine():
                    self._seen[entity.pid] = psutil.Process(entity.pid)

    def _end(self) -> list[psutil.Process]:
        """End whatever runs; what still ran although the fleet had stopped."""
        if self._process is not None and self._process.poll() is None:
            with _gone_is_fine():
                self.remember_all()
            self._process.terminate()
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        leftovers = [process for process in self._seen.values() if is_alive(process)]
        for process in leftovers:
            with _gone_is_fine():
                process.kill()
        psutil.wait_procs(leftovers, timeout=10)
        return leftovers


def command_line(process: psutil.Process) -> str:
    """Or the title that took its place; empty when it is gone."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.NoSuchProcess:
        return ""


def is_fork(process: psutil.Process) -> bool:
    """Whether it is a fork server, or was forked by one."""
    ours = r"temporal_fleet\.entity\.forkserver|temporal-fleet: \S+ (fork server |\S+-\d+ )"
    return bool(re.search(ours, command_line(process)))


def is_agent(process: psutil.Process) -> bool:
    return bool(re.search(r"temporal_fleet\.entity\.agent|temporal-fleet: \S+ agent$", command_line(process)))


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: an orphan's zombie, which only the host's init can reap, does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return
