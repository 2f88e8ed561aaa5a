"""Plain workers, started all at once as any supervisor that execs them would at best."""

import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.program import Program

_WITHIN_S = 300.0


@dataclass(frozen=True)
class PlainWorkers:
    pids: list[int]
    seconds: float
    """From before the first exec to the last `ready`."""


@contextmanager
def plain_workers(
    program: Program, address: str, number: int, environment: Mapping[str, str]
) -> Iterator[PlainWorkers]:
    started = time.monotonic()
    processes = [start_worker(program, address, environment) for _ in range(number)]
    try:
        for process in processes:
            await_ready(process, started + _WITHIN_S)
        yield PlainWorkers([process.pid for process in processes], time.monotonic() - started)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()


def start_worker(program: Program, address: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    code = (program.path, program.module, program.workflow, program.activity)
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("plain.py"), address, program.task_queue, *code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
    )


def await_ready(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Until it polls, or `deadline` (monotonic)."""
    assert process.stdout is not None
    select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"a plain worker ended (exit status {process.poll()}) or is not ready in time")
