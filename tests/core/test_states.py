"""The transition table: what a place may become, and that nothing else is possible."""

import pytest

from temporal_fleet.supervisor.core.states import LIVE, TRANSITIONS, Change, State
from temporal_fleet.supervisor.core.transitions import IllegalTransition, following


def test_an_ordinary_life() -> None:
    state = State.WAITING
    expected: tuple[tuple[Change, State], ...] = (
        (Change.FORK, State.STARTING),
        (Change.BECOME_READY, State.READY),
        (Change.LEAVE, State.DRAINING),
        (Change.RETRY_NOW, State.WAITING),
    )
    for change, after in expected:
        state = following(TRANSITIONS, state, change)
        assert state is after


@pytest.mark.parametrize("state", [state for state in State if state in LIVE])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change.RETRY_NOW, State.WAITING),
        (Change.RETRY_LATER, State.BACKOFF),
        (Change.END, State.STOPPED),
        (Change.GIVE_UP, State.FAILED),
    ],
)
def test_a_life_may_end_at_any_moment_in_every_way(state: State, change: Change, expected: State) -> None:
    assert following(TRANSITIONS, state, change) is expected


@pytest.mark.parametrize("state", [State.BACKOFF, State.STOPPED, State.FAILED])
def test_only_a_retry_leads_out_of_a_place_without_a_process(state: State) -> None:
    for change in Change:
        if change is Change.RETRY_NOW:
            assert following(TRANSITIONS, state, change) is State.WAITING
        else:
            with pytest.raises(IllegalTransition):
                following(TRANSITIONS, state, change)


def test_only_who_is_ready_goes_quiet_and_leads_no_way_back() -> None:
    assert following(TRANSITIONS, State.READY, Change.GO_QUIET) is State.QUIET
    assert following(TRANSITIONS, State.QUIET, Change.LEAVE) is State.DRAINING
    for state in State:
        if state is not State.READY:
            with pytest.raises(IllegalTransition):
                following(TRANSITIONS, state, Change.GO_QUIET)
    with pytest.raises(IllegalTransition):
        following(TRANSITIONS, State.QUIET, Change.BECOME_READY)


@pytest.mark.parametrize("state", [state for state in State if state is not State.WAITING])
def test_a_place_with_a_process_or_a_reason_to_wait_is_never_forked(state: State) -> None:
    with pytest.raises(IllegalTransition, match=f"{state.value} cannot fork"):
        following(TRANSITIONS, state, Change.FORK)


@pytest.mark.parametrize("state", [state for state in State if state is not State.STARTING])
def test_only_what_starts_becomes_ready(state: State) -> None:
    with pytest.raises(IllegalTransition):
        following(TRANSITIONS, state, Change.BECOME_READY)


def test_one_that_drains_is_not_told_again() -> None:
    with pytest.raises(IllegalTransition):
        following(TRANSITIONS, State.DRAINING, Change.LEAVE)
