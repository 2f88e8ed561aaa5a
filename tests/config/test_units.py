from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.units import (
    LONGEST,
    UnitError,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

T = TypeVar("T", float, int)


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


@pytest.mark.parametrize(
    ("text", "size"),
    [("400MiB", 400 << 20), ("1GiB", 1 << 30), ("0B", 0), ("12KiB", 12288), ("2TiB", 2 << 40), ("7B", 7)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (400, '"400MiB"'),
        (True, '"400MiB"'),
        ("400", '"400MiB" for mebibytes, "400B"'),
        ("400MB", 'written "400MiB"'),
        ("400 MiB", 'written "400MiB"'),
        ("400m", 'written "400MiB"'),
        ("1.5GiB", 'written "1536MiB"'),
        ("400MiB\n", 'written "400MiB"'),
        ("-1MiB", '"400MiB"'),
        ("", '"400MiB"'),
        ("1EiB", '"400MiB"'),
    ],
)
def test_what_is_no_size_is_refused_with_what_would_be(value: object, remedy: str) -> None:
    with pytest.raises(UnitError) as refusal:
        parse_size(value)
    assert remedy in str(refusal.value)


@given(st.integers(0, int(LONGEST * 1000)))
def test_every_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 10**15 - 1))
def test_every_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(
    st.text()
    | st.text("0123456789dhms. -")
    | st.text("0123456789KMGTiB. -")
    | st.integers()
    | st.floats()
    | st.none()
)
def test_anything_else_is_refused_and_what_the_refusal_quotes_is_right(value: object) -> None:
    def survives(parse: Callable[[object], T], write: Callable[[T], str]) -> None:
        try:
            number = parse(value)
        except UnitError as refusal:
            for quoted in str(refusal).split('"')[1::2]:
                parse(quoted)
        else:
            assert parse(write(number)) == number

    survives(parse_duration, format_duration)
    survives(parse_size, format_size)
