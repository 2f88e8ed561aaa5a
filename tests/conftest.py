"""Fixtures that more than one folder of tests uses: the real dev server, a task queue of one's own."""

import fcntl
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from temporal_fleet.supervisor.shell.dev_server import DYNAMIC_CONFIG, ONE_PARTITION
from tests.waiting import wait_until

# A run in the background of a script is born deaf to Ctrl-C, and so would be the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those first that have more time than others: begun last, one of them would end the run alone."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@dataclass(frozen=True)
class DevServer:
    """A real Temporal server of this test run."""

    address: str
    namespace: str
    pid: int
    log: Path


# Of the system: the same seed in each process would mean the same ports.
_chance = random.SystemRandom()


def temporal_command() -> Path:
    """The Temporal CLI that the `embedded` extra installs beside the interpreter."""
    return Path(sys.executable).parent / "temporal"


def free_port() -> int:
    """Below those that the kernel gives to connections (32768 and above): it may be gone before its use."""
    while True:
        port = _chance.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def start_dev_server(
    port: int, log: Path, *, settings: Sequence[str] = (*DYNAMIC_CONFIG, *ONE_PARTITION)
) -> subprocess.Popen[bytes]:
    """Start the dev server, by default with the settings of an embedded one, and wait until it answers. The
    caller ends it."""
    with log.open("ab") as output:
        server = subprocess.Popen(
            [
                *(temporal_command(), "server", "start-dev", "--headless", "--ip", "127.0.0.1"),
                *("--port", str(port), "--log-level", "warn"),
                *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
                *(word for setting in settings for word in ("--dynamic-config-value", setting)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def healthy() -> bool:
        assert server.poll() is None, f"the dev server ended:\n{log.read_text()}"
        if not accepts(f"127.0.0.1:{port}"):
            return False
        health = [str(temporal_command()), "operator", "cluster", "health", "--address", f"127.0.0.1:{port}"]
        return subprocess.run(health, check=False, capture_output=True, timeout=20).returncode == 0

    try:
        wait_until(healthy, within=60, what=f"a dev server on port {port}")
    except BaseException:
        end_process(server)
        raise
    return server


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that a test started, whatever state it is in."""
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def dev_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[DevServer]:
    """One for the whole run: the first of several processes that asks for it starts it for all, the last that
    is done with it ends it."""
    alone = worker_id == "master"
    mine = tmp_path_factory.getbasetemp()
    shared = (mine if alone else mine.parent) / "dev-server"
    shared.mkdir(exist_ok=True)
    server = None
    with _only_one_at_a_time(shared):
        if not _users(shared):
            port = free_port()
            server = start_dev_server(port, shared / "log")
            (shared / "address").write_text(f"127.0.0.1:{port} {server.pid}")
        (shared / f"{os.getpid()}.user").touch()
    address, pid = (shared / "address").read_text().split()
    yield DevServer(address=address, namespace="default", pid=int(pid), log=shared / "log")
    with _only_one_at_a_time(shared):
        (shared / f"{os.getpid()}.user").unlink()
        if not _users(shared):
            os.kill(int(pid), signal.SIGKILL)
            if server is not None:
                server.wait()


@contextmanager
def _only_one_at_a_time(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _users(folder: Path) -> list[Path]:
    return list(folder.glob("*.user"))


_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--executions", type=int, default=500, help="open executions in the test of many")
    parser.addoption("--changes", type=int, default=50, help="changes of a fleet under load")
    parser.addoption("--changes-seed", type=int, default=1, help="which changes those are")


@pytest.fixture
def executions(request: pytest.FixtureRequest) -> int:
    number: int = request.config.getoption("executions")
    return number


@pytest.fixture
def task_queue() -> str:
    """A Task Queue that nobody else uses."""
    return f"queue-{os.getpid()}-{next(_numbers)}"
