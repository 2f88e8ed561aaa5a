"""The run directory: names that carry id and incarnation, sockets that the kernel will bind."""

import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
import zmq

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.rundir import SOCKET_PATH_LIMIT, RunDirectory, ipc, routing_id

LONGEST_NAME = "/control.sock"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room; pytest's own is long."""
    folder = Path(mkdtemp(dir="/tmp"))
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else path.rmdir()
    folder.rmdir()


def of_length(folder: Path, length: int, letter: str = "x") -> Path:
    """A folder under `folder` whose path has so many bytes."""
    missing = length - len(bytes(folder)) - 1
    path = folder / (letter * (missing // len(letter.encode())))
    path.mkdir()
    return path


def test_the_names_carry_id_and_incarnation() -> None:
    run = RunDirectory("/run/shop")
    assert routing_id("orders-3", 7) == "orders-3.7"
    assert run.blackbox("orders-3", 7) == Path("/run/shop/entities/orders-3.7.blackbox")
    assert run.stacks("orders-3", 7) == Path("/run/shop/entities/orders-3.7.stacks")
    assert ipc(run.bus) == "ipc:///run/shop/bus.sock"


def test_the_longest_path_that_passes_can_be_bound(short: Path) -> None:
    run = RunDirectory(of_length(short, SOCKET_PATH_LIMIT - len(LONGEST_NAME)))
    assert len(bytes(run.control)) == SOCKET_PATH_LIMIT
    with socket.socket(socket.AF_UNIX) as plain:
        plain.bind(bytes(run.events))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(ipc(run.control))


def test_one_byte_more_could_not_be_bound_and_is_a_clear_error(short: Path) -> None:
    folder = of_length(short, SOCKET_PATH_LIMIT - len(LONGEST_NAME) + 1)
    with socket.socket(socket.AF_UNIX) as plain, pytest.raises(OSError, match="too long"):
        plain.bind(bytes(folder / "control.sock"))
    with pytest.raises(ProtocolMisuse, match=r"108 bytes is over the limit of 107; set \[fleet\] run_dir"):
        RunDirectory(folder)


def test_it_is_bytes_that_count(short: Path) -> None:
    folder = of_length(short, SOCKET_PATH_LIMIT, "ü")
    assert len(str(folder)) < SOCKET_PATH_LIMIT - len(LONGEST_NAME)
    with pytest.raises(ProtocolMisuse, match="over the limit"):
        RunDirectory(folder)
