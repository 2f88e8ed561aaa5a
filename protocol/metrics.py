"""Metrics: families of series that one process counts up, sets or observes, and the file in which an entity
leaves its own. What is measured, and how it is shown, does not belong here.

    RUN_DIR/entities/ID.metrics   two slots of 1 MiB, sparse; each a header (magic, length, CRC-32) and a
                                  MetricsFile (MessagePack)

Each write goes into the slot that does not hold the last one: so one of them is whole whenever somebody
reads, or dies while it writes. Nothing is renamed: an entity that runs as another user may write to its file,
and may make none.

The file is an entity's, not a life's. A life writes all that its forebears of the same id counted and what it
counted itself, so that no counter goes backwards when the next life begins, whatever ended the one before.
Gauges are of the life that wrote them (`incarnation`), and say nothing once that is over.

Names, units and labels are as the process has them. Those of Prometheus (`_total`, `_seconds`, which
characters) are made where they are shown.
"""

import errno
import os
import struct
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from zlib import crc32

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish

MAGIC = b"TFLM"
SLOT = 1 << 20
_HEADER = struct.Struct("<4sII")

_ROOM = SLOT - (1 << 16)
"""Bytes for all series together."""
_NUMBER = 9
"""Bytes of the longest."""
_AROUND = 8
"""And of what stands around a text, or a list."""

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
    sequence: int
    """Grows with each write, over all lives."""
    families: list[Family]
    dropped: int = 0
    """Updates that found no room, since the first life."""


class Meter:
    """Takes updates in, for at most `limit` series, and as many as the file has room for: more of them, or a
    name with two meanings, are dropped and counted."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._number = 0
        self._bytes = 0
        """At most, once they are encoded."""
        self._families: dict[str, tuple[Family, dict[str, Series]]] = {}
        """By name, and by labels in one text: a set of pairs would take up more than the series."""

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
            series.value = float(value)

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
        key = "\0".join(f"{label}={labels[label]}" for label in sorted(labels))
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
        bounds = list(buckets) if known is None else known[0].buckets
        size = _AROUND + _NUMBER + _NUMBER * (len(bounds) + 1) + _size(*labels, *labels.values())
        if known is None:
            size += _AROUND + _NUMBER * len(bounds) + _size(name, help, unit)
        if self._bytes + size > _ROOM:
            self.dropped += 1
            return None
        self._bytes += size
        if known is None:
            family = Family(name=name, kind=kind, help=help, unit=unit, buckets=bounds, series=[])
            known = self._families[name] = family, {}
        family, by_labels = known
        counts = [0] * (len(family.buckets) + 1) if kind is Kind.HISTOGRAM else []
        series = by_labels[key] = Series(labels=_shared(labels), counts=counts)
        family.series.append(series)
        self._number += 1
        return series


def _size(*texts: str) -> int:
    return sum(_AROUND + len(text.encode()) for text in texts)


def _shared(labels: Mapping[str, str]) -> dict[str, str]:
    """Most series have the same ones."""
    return {sys.intern(name): sys.intern(value) for name, value in labels.items()}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MetricsFile)


def encode_metrics(metrics: MetricsFile) -> bytes:
    return _encoder.encode(metrics)


def write_metrics(path: Path, encoded: bytes, sequence: int) -> None:
    """Into the slot whose turn it is.

    Raises OSError, and the other slot holds what was written before.
    """
    if len(encoded) > SLOT - _HEADER.size:
        raise OSError(errno.EFBIG, f"{len(encoded)} bytes of metrics are too many", str(path))
    frame = _HEADER.pack(MAGIC, len(encoded), crc32(encoded)) + encoded
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.pwrite(descriptor, frame, SLOT * (sequence % 2)) < len(frame):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def read_metrics(path: Path) -> MetricsFile:
    """What was written last, as far as it is whole.

    Raises OSError (FileNotFoundError where none was written yet), and PeerRubbish for anything else.
    """
    with path.open("rb") as file:
        content = file.read(2 * SLOT)
    if not content:
        raise FileNotFoundError(errno.ENOENT, "none was written yet", str(path))
    whole = [found for found in (_slot(content[:SLOT]), _slot(content[SLOT:])) if found is not None]
    if not whole:
        raise PeerRubbish(f"{path} holds no metrics")
    return max(whole, key=lambda found: found.sequence)


def _slot(content: bytes) -> MetricsFile | None:
    """None: nothing was written there, or it is torn, or it is none of ours."""
    try:
        magic, length, checksum = _HEADER.unpack_from(content)
        encoded = content[_HEADER.size : _HEADER.size + length]
        if (magic, checksum) != (MAGIC, crc32(encoded)):
            return None
        metrics = _decoder.decode(encoded)
    except (struct.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for family in metrics.families:
        wanted = len(family.buckets) + 1 if family.kind is Kind.HISTOGRAM else 0
        if any(len(series.counts) != wanted for series in family.series):
            return None
    return metrics
