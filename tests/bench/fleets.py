"""A fleet under the real supervisor, driven by its command and read by its events, as its operator would."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.bench.program import Program
from tests.waiting import wait_until

_COMMAND = (sys.executable, "-m", "temporal_fleet.supervisor.cli.main")
_POOL = "bench"
_WITHIN_S = 120.0
_STOP_WITHIN_S = 60.0

Event = dict[str, Any]

_CONFIG = """
[fleet]
name = "bench"
run_dir = "run"
state_dir = "state"

[cluster]
address = "{address}"

[pools.{name}]
program = "{program.module}"
path = "{program.path}"
task_queue = "{program.task_queue}"
entities = 1
{pool}
"""


class BenchFleet:
    """One pool on an external Cluster."""

    def __init__(self, folder: Path, environment: Mapping[str, str], supervisor: int) -> None:
        self.supervisor = supervisor
        self._folder = folder
        self._environment = dict(environment)
        self._events: list[Event] = []

    def boot_seconds(self, entities: int) -> float:
        """From the change being in force, the fork server standing ready, to the last entity's `ready`."""
        self.scale(0)
        known = len(self._events)
        self.scale(entities)
        events = self._events[known:]
        changed = next(event["time"] for event in events if event["kind"] == "fleet.changed")
        ready = [event["time"] for event in events if event["kind"] == "entity.ready"]
        return float(max(ready) - changed)

    def kill_seconds(self, entity: str, pid: int) -> float:
        """From the instant before SIGKILL to the replacement's `ready`."""
        known = len(self._events)
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
        event = self._await(
            lambda: next(
                (
                    event
                    for event in self._events[known:]
                    if event["kind"] == "entity.ready" and event["entity"] == entity
                ),
                None,
            ),
            f"{entity} is back",
        )
        return float(event["time"]) - killed_at

    def scale(self, entities: int) -> None:
        self._command("scale", f"{_POOL}={entities}")
        self._await(lambda: self._has(entities), f"{entities} entities are ready")

    def restart(self) -> None:
        """Every entity replaced, one after the other."""
        self._command("restart", _POOL)

    def evict_all(self) -> int:
        """How many executions went."""
        entities = json.loads(self._command("evict", _POOL, "--all", "--json"))["entities"]
        return sum(entity["evicted"] for entity in entities)

    def entities(self) -> dict[str, int]:
        """The PIDs by entity id."""
        return {entity["id"]: entity["pid"] for entity in self._status()["entities"]}

    def _has(self, entities: int) -> bool:
        status = self._status()
        return bool(len(status["entities"]) == entities == status["pools"][0]["ready"])

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._command("status", "--json"))
        return status

    def _command(self, *words: str) -> str:
        done = subprocess.run(
            [*_COMMAND, *words],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(words)} failed: {done.stderr}\n{log_tail(self._folder)}")
        return done.stdout

    def _await(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            return wait_until(condition, within=_WITHIN_S, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log_tail(self._folder)}") from None

    def await_first(self) -> None:
        """Until the one entity of the config is ready."""

        def ready() -> bool:
            try:
                return self._has(1)
            except AssertionError:
                # Nobody answers before the sockets are bound.
                return False

        self._await(ready, "the first entity is ready")

    def follow(self, lines: IO[bytes]) -> None:
        self._events.extend(json.loads(line) for line in lines)


@contextmanager
def bench_fleet(
    program: Program, address: str, folder: Path, environment: Mapping[str, str], pool: str = ""
) -> Iterator[BenchFleet]:
    """`pool`: more keys of the one pool."""
    folder.mkdir()
    config = _CONFIG.format(address=address, name=_POOL, program=program, pool=pool)
    (folder / "fleet.toml").write_text(config)
    with (folder / "log").open("wb") as log:
        up = _start("up", folder, environment, stdout=log, stderr=log)
    try:
        fleet = BenchFleet(folder, environment, up.pid)
        fleet.await_first()
        with _following(fleet, folder, environment):
            yield fleet
    finally:
        up.terminate()
        try:
            up.wait(_STOP_WITHIN_S)
        finally:
            up.kill()
            up.wait()


@contextmanager
def _following(fleet: BenchFleet, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    events = _start("events --json", folder, environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert events.stdout is not None
    assert events.stderr is not None
    reader = threading.Thread(target=fleet.follow, args=(events.stdout,))
    try:
        said = events.stderr.readline()
        if b"listening" not in said:
            raise AssertionError(f"events failed: {said.decode(errors='replace')}")
        reader.start()
        yield
    finally:
        events.kill()
        events.wait()
        reader.join()
        events.stdout.close()
        events.stderr.close()


def _start(
    words: str, folder: Path, environment: Mapping[str, str], stdout: Any, stderr: Any
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_COMMAND, *words.split()],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


def log_tail(folder: Path) -> str:
    lines = (folder / "log").read_text(errors="replace").splitlines()
    return "\n".join(["the fleet's log ends with:", *lines[-20:]])
