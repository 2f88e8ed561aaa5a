"""`upgrade`: this process goes on as the code that is installed now. First that code is tried in a process of
its own; what becomes of the entities meanwhile, and after it, is adoption's business.
"""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, NoReturn

import structlog

from temporal_fleet.protocol.control import Accepted, Progress, Rejected
from temporal_fleet.protocol.lifeline import die_with
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.core.fleet import Fleet, Phase
from temporal_fleet.supervisor.shell.children import TRIAL, Children, Ended, kill_children, marked
from temporal_fleet.supervisor.shell.configuration import Configuration, ReloadRefused
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.run_directory import LOCK_VARIABLE, OwnedRunDirectory

_log = structlog.get_logger()

TRIAL_LIMIT = 30.0
"""Seconds for the new code to be imported and to read the file."""
HELPERS_LIMIT = 5.0
BIRTH_LIMIT = 2.0
WATCHER = "temporal_fleet.supervisor.cli.watcher"


@dataclass(frozen=True)
class _Trial:
    operator: bytes
    request: str
    process: subprocess.Popen[bytes]
    told: IO[bytes]
    """What it prints."""
    due: float


@dataclass(frozen=True)
class _Accepted:
    operator: bytes
    request: str
    version: str
    """Of the code that was tried."""


class Upgrade:
    def __init__(self, control: Control, children: Children, configuration: Configuration) -> None:
        self._control = control
        self._children = children
        self._configuration = configuration
        self._trial: _Trial | None = None
        self._accepted: _Accepted | None = None

    @property
    def is_due(self) -> bool:
        """The new code was tried, and the loop is to end for it."""
        return self._accepted is not None

    @property
    def due(self) -> float:
        """When `expire` has something to do."""
        return math.inf if self._trial is None else self._trial.due

    def ask(self, fleet: Fleet, operator: bytes, request: str, now: float) -> None:
        """Try the new code, unless something is in the way; then say what."""
        under_way = self._trial is not None or self._accepted is not None
        problems = ["an upgrade is under way already"] if under_way else self._obstacles(fleet)
        if problems:
            self._control.reply(operator, Rejected(id=request, problems=problems))
            return
        told: IO[bytes] | None = None
        try:
            told = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the trial has ended
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "temporal_fleet.supervisor.shell.trial",
                    str(self._configuration.path),
                ],
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - one Python thread
            )
        except OSError as error:
            if told is not None:
                told.close()
            problem = f"the new code cannot be tried: {error}"
            self._control.reply(operator, Rejected(id=request, problems=[problem]))
            return
        self._children.claim(process.pid, TRIAL)
        self._trial = _Trial(operator, request, process, told, now + TRIAL_LIMIT)
        self._control.reply(operator, Progress(id=request, message="tries the code that is installed now"))

    def expire(self, now: float) -> None:
        if self._trial is not None and now >= self._trial.due:
            self._children.kill(TRIAL)

    def tried(self, ended: Ended) -> None:
        """The trial was waited for: the operator is told, or the loop is to end."""
        trial, self._trial = self._trial, None
        assert trial is not None
        trial.process.returncode = -signal.SIGKILL
        with trial.told:
            trial.told.seek(0)
            lines = trial.told.read().decode("utf-8", "replace").strip().splitlines()
        if ended.code != 0:
            if len(lines) > 1:
                _log.error("the code that is installed now cannot run this fleet", detail="\n".join(lines))
            how = lines[-1] if lines else f"it ended with {ended.signal or ended.code}"
            problems = [f"the code that is installed now cannot run this fleet: {how}"]
            self._control.reply(trial.operator, Rejected(id=trial.request, problems=problems))
            return
        self._accepted = _Accepted(trial.operator, trial.request, lines[-1])

    def call_off(self, fleet: Fleet) -> bool:
        """Whether something came into its way since it was accepted; then its operator is told."""
        assert self._accepted is not None
        problems = self._obstacles(fleet)
        if problems:
            _log.warning("the upgrade is called off", problems=problems)
            rejected = Rejected(id=self._accepted.request, problems=problems)
            self._control.reply(self._accepted.operator, rejected)
            self._accepted = None
        return bool(problems)

    def hand_over(self, fleet: Fleet, helpers: Helpers, run: OwnedRunDirectory) -> None:
        """The last that this code does, with signals held. Whoever asks from now on asks the next."""
        assert self._accepted is not None
        _log.info(
            "goes on as the code that is installed now", before=__version__, after=self._accepted.version
        )
        _end_beside(helpers, run)
        for asked in self._control.receive():
            told = ["an upgrade is under way: try again in a moment"]
            self._control.reply(asked.operator, Rejected(id=asked.request.id, problems=told))
        message = f"version {__version__} goes"
        accepted = Accepted(id=self._accepted.request, message=message, generation=fleet.generation)
        self._control.reply(self._accepted.operator, accepted)

    def _obstacles(self, fleet: Fleet) -> list[str]:
        if self._configuration.path is None:
            return [
                "this fleet was started by `run`, and its sizes stand in no file: stop it and start it again"
            ]
        if self._configuration.config.cluster.embedded is not None:
            return ["the embedded Cluster ends with this supervisor: stop the fleet and start it again"]
        if fleet.phase is not Phase.RUNNING:
            return ["the fleet is stopping"]
        if (order := next((order for order in fleet.changes if order.is_open), None)) is not None:
            return [f"change {order.id} ({order.command}) is under way: wait for its end, then try again"]
        try:
            self._configuration.propose()
        except ReloadRefused as refused:
            return list(refused.problems)
        return []


def _end_beside(helpers: Helpers, run: OwnedRunDirectory) -> None:
    """End all that is beside the supervisor and no entity. Newborn entities that have no black box yet could
    not be found by who comes next: they get a moment, and hold nothing when they are ended."""
    helpers.end_all(HELPERS_LIMIT)
    kill_children(marked(WATCHER))
    until = time.monotonic() + BIRTH_LIMIT
    while newborn := set(helpers.forks()) - run.processes():
        if time.monotonic() >= until:
            kill_children(newborn)
            return
        time.sleep(0.005)


def become_the_new_code(lock: int, environment: Mapping[str, str]) -> NoReturn:
    """exec: the same process, and so the same PID and the same children, with what is installed now. All that
    is open is closed by it but the lock and the standard streams.

    Raises OSError.
    """
    os.set_inheritable(lock, True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **environment, LOCK_VARIABLE: str(lock)})
