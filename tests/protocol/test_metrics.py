"""Metrics: what a meter counts, what one life inherits from another, and the file between them."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.metrics import (
    LONGEST_TEXT,
    SLOT,
    Family,
    Kind,
    Meter,
    MetricsFile,
    Series,
    encode_metrics,
    read_metrics,
    write_metrics,
)

QUEUE = {"task_queue": "orders"}


def of(meter: Meter) -> dict[str, list[float]]:
    return {family.name: [series.value for series in family.series] for family in meter.families()}


def encoded(meter: Meter, sequence: int = 1) -> bytes:
    families = meter.families()
    return encode_metrics(MetricsFile(entity="orders-1", incarnation=1, sequence=sequence, families=families))


def counted(so_far: int) -> Meter:
    meter = Meter(1)
    meter.add("tasks", {}, so_far)
    return meter


def test_counters_add_up_gauges_are_set_and_observations_go_into_their_buckets() -> None:
    meter = Meter(10)
    meter.add("tasks", QUEUE)
    meter.add("tasks", QUEUE, 2)
    meter.add("tasks", {}, 0)
    meter.put("pollers", QUEUE, 5)
    meter.put("pollers", QUEUE, 3)
    for seconds in (0.1, 0.2, 1.0, 7.0):
        meter.observe("latency", QUEUE, seconds, (0.1, 1.0, 5.0), unit="s")
    assert of(meter) == {"tasks": [3, 0], "pollers": [3], "latency": [pytest.approx(8.3)]}
    assert meter.families()[2].series[0].counts == [1, 2, 0, 1]


def test_what_has_no_room_or_two_meanings_is_dropped_and_counted() -> None:
    meter = Meter(2)
    meter.add("tasks", {"n": "1"})
    meter.add("tasks", {"n": "2"})
    for number in range(3, 8):
        meter.add("tasks", {"n": str(number)})
    meter.put("tasks", {"n": "1"}, 7)
    assert (of(meter), meter.dropped) == ({"tasks": [1, 1]}, 6)
    roomy = Meter(2)
    roomy.add("tasks", {"text": "x" * (LONGEST_TEXT + 1)})
    assert (of(roomy), roomy.dropped) == ({}, 1)


def test_no_more_is_taken_in_than_a_file_has_room_for(tmp_path: Path) -> None:
    meter = Meter(2000)
    buckets = [0.1 * number for number in range(16)]
    for number in range(2000):
        meter.observe("latency", {"order": f"{number:0500}"}, 2**40, buckets, help="é" * 1000)
    (family,) = meter.families()
    for series in family.series:
        series.counts = [2**40] * len(series.counts)
    assert 1000 < len(family.series) < 2000
    assert meter.dropped == 2000 - len(family.series)
    write_metrics(tmp_path / "orders-1.metrics", encoded(meter), 1)


def test_a_life_goes_on_from_the_one_before_but_for_its_gauges(tmp_path: Path) -> None:
    first = Meter(10)
    first.add("tasks", QUEUE, 7)
    first.put("pollers", QUEUE, 5)
    first.observe("latency", QUEUE, 0.5, (1.0,))
    path = tmp_path / "orders-1.metrics"
    write_metrics(path, encoded(first), 1)
    second = Meter(10)
    second.inherit(read_metrics(path).families)
    second.add("tasks", QUEUE)
    second.observe("latency", QUEUE, 3.0, (99.0,))
    assert of(second) == {"tasks": [8], "latency": [3.5]}
    assert second.families()[1].series[0].counts == [1, 1]
    assert first.families()[2].series[0].counts == [1, 0], "the former life's numbers moved"
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 9)), max_size=60),
    st.integers(1, 5),
)
def test_no_counter_goes_backwards_over_any_number_of_lives(
    steps: list[tuple[bool, str, int]], limit: int
) -> None:
    meter = Meter(limit)
    seen: dict[tuple[str, str], float] = {}
    for dies, label, by in steps:
        if dies:
            heir = Meter(limit)
            heir.inherit(msgspec.msgpack.decode(encoded(meter), type=MetricsFile).families)
            meter = heir
        meter.add("tasks", {"label": label}, by)
        meter.observe("latency", {"label": label}, by, (3.0,))
        for family in meter.families():
            for series in family.series:
                key = family.name, series.labels["label"]
                assert series.value >= seen.get(key, 0.0)
                seen[key] = series.value


def test_each_write_leaves_the_one_before_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "orders-1.metrics"
    for sequence in range(1, 6):
        write_metrics(path, encoded(counted(10 * sequence), sequence), sequence)
        assert read_metrics(path).sequence == sequence
    assert path.stat().st_blocks * 512 < 64 << 10, "it is not sparse"
    # One that is killed while it writes, at whatever byte: what it wrote before is there.
    torn = encoded(counted(60), 6)
    write_metrics(path, torn, 6)
    whole = path.read_bytes()
    for cut in range(13, 12 + len(torn)):
        path.write_bytes(whole[:cut] + b"\xff" * (12 + len(torn) - cut) + whole[12 + len(torn) :])
        assert read_metrics(path).sequence == 5, f"cut after {cut} bytes"


@pytest.mark.parametrize(
    "content",
    [
        b"rubbish",
        bytes(100),
        bytes(2 * SLOT),
        b"TFLM" + bytes(8),
        b"TFLM" + (2**32 - 1).to_bytes(4, "little") + bytes(SLOT),
    ],
)
def test_a_file_that_holds_something_else_is_rubbish(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders-1.metrics"
    path.write_bytes(content)
    with pytest.raises(PeerRubbish, match=r"orders-1\.metrics holds no metrics"):
        read_metrics(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xc1",
        b"\x91" * 5000,
        encode_metrics(
            MetricsFile(
                entity="orders-1",
                incarnation=1,
                sequence=1,
                families=[
                    Family(
                        name="f", kind=Kind.HISTOGRAM, buckets=[1.0], series=[Series(labels={}, counts=[1])]
                    )
                ],
            )
        ),
    ],
)
def test_what_is_whole_and_makes_no_sense_is_rubbish_too(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders-1.metrics"
    write_metrics(path, content, 1)
    with pytest.raises(PeerRubbish):
        read_metrics(path)


def test_one_that_is_empty_was_not_written_yet(tmp_path: Path) -> None:
    (tmp_path / "orders-1.metrics").touch()
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path / "orders-1.metrics")


def test_what_does_not_fit_is_refused_and_hurts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "orders-1.metrics"
    write_metrics(path, encoded(counted(1)), 1)
    with pytest.raises(OSError, match="too many"):
        write_metrics(path, bytes(SLOT), 2)
    assert read_metrics(path).sequence == 1
