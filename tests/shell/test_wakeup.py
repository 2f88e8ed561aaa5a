"""Real signals to this very process."""

import os
import select
import signal
from collections.abc import Iterator

import pytest

from temporal_fleet.supervisor.shell.wakeup import HANDLED, Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def woken(wakeup: Wakeup) -> bool:
    return bool(select.select([wakeup], [], [], 0)[0])


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_wakes_and_is_told_once(wakeup: Wakeup, number: signal.Signals) -> None:
    assert not woken(wakeup)
    os.kill(os.getpid(), number)
    assert woken(wakeup)
    assert wakeup.received() == {number}
    assert not woken(wakeup)
    assert wakeup.received() == set()


def test_signals_that_came_together_are_told_together(wakeup: Wakeup) -> None:
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGCHLD):
        os.kill(os.getpid(), number)
    assert wakeup.received() == {signal.SIGCHLD, signal.SIGTERM}


def test_a_full_pair_loses_no_signal(wakeup: Wakeup) -> None:
    for _ in range(2000):
        os.kill(os.getpid(), signal.SIGCHLD)
    os.kill(os.getpid(), signal.SIGTERM)
    assert wakeup.received() == {signal.SIGCHLD, signal.SIGTERM}
    os.kill(os.getpid(), signal.SIGHUP)
    assert woken(wakeup)
    assert wakeup.received() == {signal.SIGHUP}


def test_afterwards_all_is_as_it_was() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    Wakeup().close()
    assert [signal.getsignal(number) for number in HANDLED] == before
