"""A service manager's socket, and what it is told on it."""

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.shell.notify import STATUS_EVERY, TRY_AGAIN, Notifier
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

READY_LINE = "STATUS=1/1 entity ready in 1 pool; 7 executions cached"


class Manager:
    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self.address = f"@temporal-fleet-test-{os.getpid()}" if abstract else str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{self.address[1:]}" if abstract else self.address)
        self.socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": self.address, "PATH": "/bin"}

    def heard(self) -> list[str]:
        """Each assignment since the last time; the time of a reload is left out."""
        told = []
        while True:
            try:
                told += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return [line for line in told if not line.startswith("MONOTONIC_USEC=")]

    def be_crowded(self) -> None:
        """Its queue is full, for every sender."""
        sent = 1
        while sent:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(BlockingIOError):
                sender.setblocking(False)
                sender.connect(self.socket.getsockname())
                for sent in itertools.count():  # noqa: B007
                    sender.send(b"X=1")


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def manager(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Manager]:
    made = Manager(tmp_path, abstract=request.param)
    yield made
    made.socket.close()


def cached(fleet: Fleet) -> int:
    return 7


def test_from_start_to_stop(manager: Manager) -> None:
    notifier = Notifier(manager.environment, cached)
    driver = Driver(make_pool("orders", 1))
    now = 100.0
    notifier.tell(driver.fleet, now)
    assert manager.heard() == [
        "EXTEND_TIMEOUT_USEC=30000000",
        "STATUS=starting: imports orders.program; 0/1 entity ready in 1 pool; 7 executions cached",
    ]
    driver.prepare()
    driver.boot()
    notifier.tell(driver.fleet, now)
    assert manager.heard() == ["READY=1", f"MAINPID={os.getpid()}", READY_LINE]
    driver.tell(events.ReloadRequested("a", by_name(make_pool("orders", 2))))
    notifier.tell(driver.fleet, now)
    assert manager.heard()[:2] == ["RELOADING=1", "EXTEND_TIMEOUT_USEC=30000000"]
    driver.boot()
    notifier.tell(driver.fleet, now)
    assert manager.heard() == [
        "READY=1",
        f"MAINPID={os.getpid()}",
        "STATUS=2/2 entities ready in 1 pool; 7 executions cached",
    ]
    driver.tell(events.StopRequested(now=False))
    notifier.tell(driver.fleet, now)
    assert manager.heard()[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"]
    notifier.tell(driver.fleet, notifier.due(driver.fleet))
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=30000000"]
    notifier.close()


def test_the_line_follows_what_is_cached_and_is_not_repeated(manager: Manager) -> None:
    counts = iter([1, 1, 2])
    notifier = Notifier(manager.environment, lambda _fleet: next(counts))
    fleet = up(make_pool("orders", 1)).fleet
    notifier.tell(fleet, 100.0)
    assert manager.heard()[-1].endswith("1 execution cached")
    notifier.tell(fleet, 100.0 + STATUS_EVERY / 2)
    notifier.tell(fleet, 100.0 + STATUS_EVERY)
    assert manager.heard() == []
    notifier.tell(fleet, 100.0 + 2 * STATUS_EVERY)
    assert manager.heard() == ["STATUS=1/1 entity ready in 1 pool; 2 executions cached"]
    notifier.close()


def test_signs_of_life_at_half_of_what_is_expected(manager: Manager) -> None:
    manager.environment |= {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(manager.environment, cached)
    fleet = up(make_pool("orders", 1)).fleet
    beats = []
    for moment in (100.0, 101.0, 101.5, 102.0, 103.0):
        notifier.tell(fleet, moment)
        beats += [moment] * manager.heard().count("WATCHDOG=1")
    assert beats == [100.0, 101.5, 103.0]
    assert notifier.due(fleet) == 104.5
    notifier.close()


def test_signs_of_life_that_are_expected_of_another_process(manager: Manager) -> None:
    manager.environment |= {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    notifier = Notifier(manager.environment, cached)
    notifier.tell(up(make_pool("orders", 1)).fleet, 100.0)
    assert "WATCHDOG=1" not in manager.heard()
    notifier.close()


def test_a_manager_that_stands_still_is_told_later(manager: Manager) -> None:
    notifier = Notifier(manager.environment, cached)
    fleet = up(make_pool("orders", 1)).fleet
    manager.be_crowded()
    notifier.tell(fleet, 100.0)
    assert set(manager.heard()) == {"X=1"}
    assert notifier.due(fleet) == 100.0 + TRY_AGAIN
    notifier.tell(fleet, 100.0 + TRY_AGAIN)
    assert manager.heard() == ["READY=1", f"MAINPID={os.getpid()}", READY_LINE]
    notifier.close()


def test_what_is_meant_for_this_process_is_not_left_to_others(manager: Manager) -> None:
    manager.environment |= {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_FDS": "1"}
    before = dict(manager.environment)
    notifier = Notifier(manager.environment, cached)
    assert manager.environment == {"PATH": "/bin"}
    assert notifier.environment == {name: text for name, text in before.items() if name != "PATH"}
    notifier.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/notify"])
def test_without_a_manager_nothing_is_told(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address} if address else {}, cached)
    notifier.tell(up(make_pool("orders", 1)).fleet, 100.0)
    notifier.close()
