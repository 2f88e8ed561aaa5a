"""Every test of the shell leaves no process. The sockets of a supervisor, and peers for them, are real."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from temporal_fleet.protocol.rundir import RunDirectory, ipc
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.control import Control
from tests.marks import MARK, nothing_left

Context = zmq.Context[zmq.Socket[bytes]]
Dealer = Callable[..., "zmq.Socket[bytes]"]


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(MARK, str(tmp_path))
    with nothing_left(tmp_path):
        yield


@pytest.fixture
def context() -> Iterator[Context]:
    context: Context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def paths(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def bus(context: Context, paths: RunDirectory) -> Iterator[Bus]:
    bus = Bus(context, paths)
    yield bus
    bus.socket.close()


@pytest.fixture
def control(context: Context, paths: RunDirectory) -> Iterator[Control]:
    control = Control(context, paths)
    yield control
    control.close()


@pytest.fixture
def dealer(context: Context) -> Iterator[Dealer]:
    sockets: list[zmq.Socket[bytes]] = []

    def make(path: Path, identity: str = "orders-1.3") -> "zmq.Socket[bytes]":
        made = context.socket(zmq.DEALER)
        made.linger = 0
        made.routing_id = identity.encode()
        made.connect(ipc(path))
        sockets.append(made)
        return made

    yield make
    for made in sockets:
        made.close()
