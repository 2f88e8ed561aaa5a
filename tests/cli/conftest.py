"""Fixtures of the command's tests: the command in a folder of its own, and its run directories."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command, command_in


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Where run directories come by default. Short: socket paths have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working folder: a fleet whose file is there is named `shop`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


@pytest.fixture
def command(folder: Path, runtime: Path) -> Command:
    return command_in(folder, runtime)


@pytest.fixture
def run_dir(runtime: Path) -> Path:
    """The run directory of the fleet `shop`."""
    return runtime / "temporal-fleet" / "shop"
