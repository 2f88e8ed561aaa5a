"""Metrics: families of series that one process counts up, sets or observes, and the file in which an entity
leaves its own. What is measured, and how it is shown, does not belong here.

    RUN_DIR/entities/ID.metrics   one MetricsFile (MessagePack), replaced whole

The file is an entity's, not a life's. A life writes all that its forebears of the same id counted and what it
counted itself, so that no counter goes backwards when the next life begins, whatever ended the one before.
Gauges are of the life that wrote them (`incarnation`), and say nothing once that is over.

Names, units and labels are as the process has them. Those of Prometheus (`_total`, `_seconds`, which
characters) are made where they are shown.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish

LONGEST_TEXT = 500
"""Characters of a name or a label's value. A series with a longer one is dropped."""


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Series(msgspec.Struct, kw_only=True, array_like=True):
    """The values of one set of labels."""

    labels: dict[str, str]
    value: float = 0.0
    """Of a histogram: the sum of what was observed."""
    counts: list[int] = []
    """Of a histogram: the observations in each bucket alone, and last those above all of them."""


class Family(msgspec.Struct, kw_only=True):
    """All series of one name."""

    name: str
    kind: Kind
    help: str = ""
    unit: str = ""
    """`s`, `By`, …; empty: none."""
    buckets: list[float] = []
    """Upper bounds, ascending."""
    series: list[Series] = []


class MetricsFile(msgspec.Struct, kw_only=True):
    entity: str
    incarnation: int
    """Of the life that wrote it."""
    families: list[Family]
    dropped: int = 0
    """Updates that found no room, since the first life."""


class Meter:
    """Takes updates in, for at most `limit` series: more of them, or a name with two meanings, are dropped
    and counted."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._number = 0
        self._families: dict[str, tuple[Family, dict[frozenset[tuple[str, str]], Series]]] = {}

    def add(
        self, name: str, labels: Mapping[str, str], by: float = 1, *, help: str = "", unit: str = ""
    ) -> None:
        """Count up; by 0: from now on the series is there."""
        series = self._series(name, Kind.COUNTER, labels, help, unit, ())
        if series is not None:
            series.value += by

    def put(
        self, name: str, labels: Mapping[str, str], value: float, *, help: str = "", unit: str = ""
    ) -> None:
        series = self._series(name, Kind.GAUGE, labels, help, unit, ())
        if series is not None:
            series.value = value

    def observe(
        self,
        name: str,
        labels: Mapping[str, str],
        value: float,
        buckets: Sequence[float],
        *,
        help: str = "",
        unit: str = "",
    ) -> None:
        """`buckets`: those of the family are those of its first observation."""
        series = self._series(name, Kind.HISTOGRAM, labels, help, unit, buckets)
        if series is not None:
            series.value += value
            series.counts[bisect_left(self._families[name][0].buckets, value)] += 1

    def inherit(self, families: Iterable[Family]) -> None:
        """Go on from what a former life counted. Before the first update."""
        for family in families:
            for former in family.series:
                if family.kind is Kind.GAUGE:
                    continue
                series = self._series(
                    family.name, family.kind, former.labels, family.help, family.unit, family.buckets
                )
                if series is not None:
                    series.value = former.value
                    series.counts = list(former.counts)

    def families(self) -> list[Family]:
        """As they stand now: not a copy."""
        return [family for family, _ in self._families.values()]

    def _series(
        self,
        name: str,
        kind: Kind,
        labels: Mapping[str, str],
        help: str,
        unit: str,
        buckets: Sequence[float],
    ) -> Series | None:
        known = self._families.get(name)
        key = frozenset(labels.items())
        if known is not None:
            family, by_labels = known
            found = by_labels.get(key)
            if found is not None and family.kind is kind:
                return found
            if family.kind is not kind:
                self.dropped += 1
                return None
        if self._number >= self._limit or any(len(text) > LONGEST_TEXT for text in (name, *labels.values())):
            self.dropped += 1
            return None
        if known is None:
            family = Family(name=name, kind=kind, help=help, unit=unit, buckets=list(buckets), series=[])
            known = self._families[name] = family, {}
        family, by_labels = known
        counts = [0] * (len(family.buckets) + 1) if kind is Kind.HISTOGRAM else []
        series = by_labels[key] = Series(labels=dict(labels), counts=counts)
        family.series.append(series)
        self._number += 1
        return series


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MetricsFile)


def encode_metrics(metrics: MetricsFile) -> bytes:
    return _encoder.encode(metrics)


def write_metrics(path: Path, encoded: bytes) -> None:
    """Atomically: who reads the file finds all of it, or what was there before.

    Raises OSError.
    """
    draft = path.with_suffix(".metrics-new")
    try:
        with open(draft, "wb", opener=_private) as file:
            file.write(encoded)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_metrics(path: Path) -> MetricsFile:
    """Raises OSError (FileNotFoundError where none was written yet), and PeerRubbish for anything else."""
    try:
        metrics = _decoder.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerRubbish(f"{path} holds no metrics: {error}") from error
    for family in metrics.families:
        wanted = len(family.buckets) + 1 if family.kind is Kind.HISTOGRAM else 0
        if any(len(series.counts) != wanted for series in family.series):
            raise PeerRubbish(f"{path} holds no metrics: {family.name} has other buckets than counts")
    return metrics


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
