"""Fixtures of the fault tests: fleets whose every process is marked, so that none can hide; gates to hold a
Worker Program where it is."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet, make_fleet

__all__ = ["make_fleet"]

_MARK = "FLEET_UNDER_TEST"


class Gates:
    """Where the program `gates` stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def close(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def open(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink()


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path / "gates")


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Asked for before a fleet is made: whatever was started under the fleet must be gone after it."""
    yield
    leftovers = marked(tmp_path)
    for process in leftovers:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert not leftovers


@pytest.fixture
def make(nothing_left: None, make_fleet: MakeFleet, gates: Gates, tmp_path: Path) -> MakeFleet:
    """`make_fleet`, with marked processes and gates."""

    def make(*, environment: dict[str, str] | None = None, **options: object) -> FleetUnderTest:
        marks = {_MARK: str(tmp_path), "GATES": str(gates.folder)}
        return make_fleet(environment={**marks, **(environment or {})}, **options)

    return make


def marked(folder: Path) -> list[psutil.Process]:
    """Every living process that was started under the fleet of this folder, whoever is its parent now."""
    mark = f"{_MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        # A zombie's is empty.
        with suppress(OSError, psutil.NoSuchProcess):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(psutil.Process(int(entry.name)))
    return found
