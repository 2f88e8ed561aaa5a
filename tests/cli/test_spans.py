"""Time spans as systemctl prints them."""

import math

import pytest

from temporal_fleet.supervisor.cli.spans import SpanError, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("1min 5s", 65.0),
        ("1h 30min", 5400.0),
        ("2d 3h", 183_600.0),
        ("250ms", 0.25),
        ("1.500s", 1.5),
        ("1w", 604_800.0),
        ("infinity", math.inf),
    ],
)
def test_what_it_means(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "1 s", "s", "1min x", "[not set]"])
def test_what_means_nothing(text: str) -> None:
    with pytest.raises(SpanError):
        seconds(text)
