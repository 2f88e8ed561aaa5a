"""What `up --watch` does before there is a supervisor."""

import importlib.util
from pathlib import Path

import pytest

from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.watcher import start_watcher


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Failure) as refused:
        start_watcher(Path("fleet.toml"))
    assert "pip install 'temporal-fleet[watch]'" in refused.value.format_message()
