"""Fixtures of the fault tests: fleets whose every process is marked, so that none can hide; gates to hold a
Worker Program where it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import FleetUnderTest
from tests.marks import MARK, nothing_left
from tests.system.conftest import MakeFleet, make_fleet

__all__ = ["make_fleet"]


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
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    """Asked for before a fleet is made: whatever was started under the fleet must be gone after it."""
    with nothing_left(tmp_path):
        yield


@pytest.fixture
def make(no_process_is_left: None, make_fleet: MakeFleet, gates: Gates, tmp_path: Path) -> MakeFleet:
    """`make_fleet`, with marked processes and gates."""

    def make(*, environment: dict[str, str] | None = None, **options: object) -> FleetUnderTest:
        marks = {MARK: str(tmp_path), "GATES": str(gates.folder)}
        return make_fleet(environment={**marks, **(environment or {})}, **options)

    return make
