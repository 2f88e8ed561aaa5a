"""The two sides of a loss: workers of which one is killed, with the SDK alone and under the supervisor. How
each is started, grown by a second one, and robbed of its first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.bench.fleets import BenchFleet, bench_fleet
from tests.bench.program import Program
from tests.bench.workers import await_ready, start_worker

_WITHIN_S = 60.0


class Side(Protocol):
    def add_second(self) -> None:
        """One more worker, beside the first, which has everything in its cache."""

    def kill_first(self) -> None: ...


class SdkAlone:
    def __init__(self, program: Program, address: str, environment: dict[str, str]) -> None:
        self._made = (program, address, environment)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.add_second()

    def add_second(self) -> None:
        process = start_worker(*self._made)
        self.processes.append(process)
        await_ready(process, time.monotonic() + _WITHIN_S)

    def kill_first(self) -> None:
        self.processes[0].kill()

    def roll(self) -> None:
        """Each replaced: the next is ready before one leaves."""
        for old in tuple(self.processes):
            self.add_second()
            self.processes.remove(old)
            old.terminate()
            old.communicate(timeout=_WITHIN_S)


class UnderSupervisor:
    def __init__(self, fleet: BenchFleet) -> None:
        self.fleet = fleet
        (self._first,) = fleet.entities().values()

    def add_second(self) -> None:
        self.fleet.scale(2)

    def kill_first(self) -> None:
        os.kill(self._first, signal.SIGKILL)


@contextmanager
def sdk_alone(program: Program, address: str, environment: dict[str, str]) -> Iterator[SdkAlone]:
    side = SdkAlone(program, address, environment)
    try:
        yield side
    finally:
        for process in side.processes:
            process.kill()
            process.communicate()


@contextmanager
def under_supervisor(
    program: Program, address: str, folder: Path, environment: dict[str, str], pool: str = ""
) -> Iterator[UnderSupervisor]:
    with bench_fleet(program, address, folder, environment, pool) as fleet:
        yield UnderSupervisor(fleet)


def environment(log: Path) -> dict[str, str]:
    """For the processes of one side: where the program notes what happens."""
    return {**os.environ, "LOSS_LOG": str(log), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
