import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.units import (
    LONGEST,
    UnitError,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("250ms", 0.25),
        ("0s", 0),
        ("24h", 86400),
        ("1d2h3m4s5ms", 93784.005),
        ("90m", 5400),
        ("007s", 7),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (30, '"30s"'),
        (1.5, '"30s"'),
        (True, '"30s"'),
        (None, '"30s"'),
        (["30s"], '"30s"'),
        (-1, '"30s"'),
        ("30", '"30s" for seconds, "30ms"'),
        ("", '"1m30s"'),
        ("s", '"1m30s"'),
        ("30 s", 'written "30s"'),
        ("30sec", 'written "30s"'),
        ("5min", 'written "5m"'),
        ("1 hour, 30 minutes", 'written "1h30m"'),
        ("1.5s", 'written "1s500ms"'),
        ("30s1m", 'written "1m30s"'),
        ("30S", 'written "30s"'),
        ("0.0001s", '"1m30s"'),
        ("-1s", '"1m30s"'),
        ("1w", '"1m30s"'),
        ("٣s", '"1m30s"'),
        ("30s\n", 'written "30s"'),
        ("1001d", 'at most "1000d"'),
        ("9" * 5000 + "s", '"1m30s"'),
    ],
)
def test_what_is_no_duration_is_refused_with_what_would_be(value: object, remedy: str) -> None:
    with pytest.raises(UnitError) as refusal:
        parse_duration(value)
    assert remedy in str(refusal.value)


@given(st.integers(0, int(LONGEST * 1000)))
def test_every_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.text("0123456789dhms. -") | st.integers() | st.floats() | st.none())
def test_anything_else_is_refused_and_what_the_refusal_quotes_is_right(value: object) -> None:
    try:
        seconds = parse_duration(value)
    except UnitError as refusal:
        for quoted in str(refusal).split('"')[1::2]:
            parse_duration(quoted)
    else:
        assert parse_duration(format_duration(seconds)) == seconds
