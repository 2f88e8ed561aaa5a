"""One order to stop, or two."""

from temporal_fleet.supervisor.core.events import StopRequested
from temporal_fleet.supervisor.shell.stop_signals import StopSignals


def test_the_first_drains_and_another_ends_all_at_once() -> None:
    signals = StopSignals()
    assert signals.heard(10.0) == StopRequested(now=False)
    assert signals.heard(11.0) == StopRequested(now=True)
    assert signals.heard(11.1) == StopRequested(now=True)


def test_the_same_order_by_two_ways_is_one() -> None:
    signals = StopSignals()
    assert signals.heard(10.0) == StopRequested(now=False)
    assert signals.heard(10.02) is None
    # A slow disk: the other one was read late.
    signals.carried_out(10.5)
    assert signals.heard(10.51) is None
    assert signals.heard(11.0) == StopRequested(now=True)
