"""Every test of the shell leaves no process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.marks import MARK, nothing_left


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(MARK, str(tmp_path))
    with nothing_left(tmp_path):
        yield
