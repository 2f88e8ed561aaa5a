"""The keys of a real pseudo-terminal."""

import os
import termios
from collections.abc import Iterator

import pytest

from temporal_fleet.supervisor.cli.keyboard import Keyboard


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """The end that types, and the terminal."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("key", ["\x1a", "\x1c"], ids=["Ctrl-Z", "Ctrl-\\"])
def test_no_key_ends_or_stops_who_has_changed_the_terminal(pair: tuple[int, int], key: str) -> None:
    ours, theirs = pair
    before = termios.tcgetattr(theirs)
    with Keyboard(theirs) as keyboard:
        os.write(ours, f"{key}q".encode())
        # One that is a signal is not read.
        assert os.read(theirs, 16) == f"{key}q".encode()
        os.write(ours, f"{key}q".encode())
        assert keyboard.read() == ["q"]
    assert termios.tcgetattr(theirs) == before
