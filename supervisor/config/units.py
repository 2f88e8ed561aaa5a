"""Durations, sizes and lists of CPUs as people write them (`"1m30s"`, `"400MiB"`, `"0-3"`), to numbers and
back. Nothing else.

Strict on purpose: one way to write each unit, so that `"30"` is never taken for what it is not. What is
refused is refused with the text that was probably meant.
"""

import re
from collections.abc import Iterable
from typing import Final

DURATION_PATTERN: Final = r"^([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$"
SIZE_PATTERN: Final = r"^([0-9]{1,15})(TiB|GiB|MiB|KiB|B)$"
CPUS_PATTERN: Final = r"^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$"
LONGEST: Final = 1000 * 86_400.0
"""Seconds: the longest duration there is, 1000 days."""

_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_BYTES: Final = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}

_DURATION: Final = re.compile(DURATION_PATTERN)
_SIZE: Final = re.compile(SIZE_PATTERN)
_QUANTITY: Final = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)[\s,]*")
_MEANT_DURATION: Final = {
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), "ms"),
}
_MEANT_SIZE: Final = {
    **dict.fromkeys(("t", "tb", "tib"), "TiB"),
    **dict.fromkeys(("g", "gb", "gib"), "GiB"),
    **dict.fromkeys(("m", "mb", "mib"), "MiB"),
    **dict.fromkeys(("k", "kb", "kib"), "KiB"),
    **dict.fromkeys(("b", "byte", "bytes"), "B"),
}


class UnitError(ValueError):
    """The value is not a duration, size or list of CPUs; the text says what would be right."""


def parse_duration(value: object) -> float:
    """The seconds of `"1m30s"`, exact to the millisecond.

    Raises UnitError for anything but a string of whole numbers with units, the largest unit first.
    """
    if not isinstance(value, str):
        raise UnitError(f"must be a string with a unit, such as {_as_string(value, 's', '30s')}")
    match = _DURATION.match(value)
    if not value or match is None or value.endswith("\n"):
        raise UnitError(_duration_remedy(value))
    milliseconds = sum(
        int(group[: -len(unit)]) * factor
        for group, (unit, factor) in zip(match.groups(), _MILLISECONDS.items(), strict=True)
        if group
    )
    seconds = milliseconds / 1000
    if seconds > LONGEST:
        raise UnitError(f'must be at most "{format_duration(LONGEST)}"')
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as these seconds, rounded to the millisecond."""
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    text = ""
    for unit, factor in _MILLISECONDS.items():
        count, rest = divmod(rest, factor)
        text += f"{count}{unit}" if count else ""
    return text


def parse_size(value: object) -> int:
    """The bytes of `"400MiB"`.

    Raises UnitError for anything but a string of one whole number and one binary unit.
    """
    if not isinstance(value, str):
        raise UnitError(f"must be a string with a unit, such as {_as_string(value, 'MiB', '400MiB')}")
    match = _SIZE.match(value)
    if match is None or value.endswith("\n"):
        raise UnitError(_size_remedy(value))
    number, unit = match.groups()
    return int(number) * _BYTES[unit]


def format_size(size: int) -> str:
    """The text with the largest unit that `parse_size` reads as exactly these bytes."""
    if size == 0:
        return "0B"
    unit = next(unit for unit, factor in _BYTES.items() if size % factor == 0)
    return f"{size // _BYTES[unit]}{unit}"


def parse_cpus(value: object) -> tuple[int, ...]:
    """The numbers of `"0,2,4-7"`, each once, in ascending order.

    Raises UnitError for anything but a string of numbers and ranges with commas between them.
    """
    if not isinstance(value, str):
        raise UnitError('must be a string with a list of CPUs, such as "0-3"')
    if re.fullmatch(CPUS_PATTERN, value) is None or value.endswith("\n"):
        raise UnitError('must be CPUs and ranges of them with commas between, such as "0-3" or "0,2,4-7"')
    found: set[int] = set()
    for part in value.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise UnitError(f'must name the lower CPU of a range first: "{last}-{first}"')
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def format_cpus(cpus: Iterable[int]) -> str:
    """The shortest text that `parse_cpus` reads as these numbers."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _as_string(value: object, unit: str, example: str) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST
    return f'"{value}{unit}"' if whole else f'"{example}"'


def _duration_remedy(value: str) -> str:
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,8}", text) and int(text) <= LONGEST:
        return f'needs a unit: "{text}s" for seconds, "{text}ms" for milliseconds'
    milliseconds = _total(text, _MEANT_DURATION, _MILLISECONDS)
    whole = milliseconds is not None and abs(milliseconds - round(milliseconds)) < 1e-6
    if milliseconds is not None and whole and milliseconds / 1000 <= LONGEST:
        return f'must be written "{format_duration(milliseconds / 1000)}"'
    return 'must be whole numbers with the units d, h, m, s or ms, the largest first: "30s", "1m30s", "250ms"'


def _size_remedy(value: str) -> str:
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return f'needs a unit: "{text}MiB" for mebibytes, "{text}B" for bytes'
    size = _total(text, _MEANT_SIZE, _BYTES)
    if size is not None:
        return f'must be written "{format_size(round(size))}"'
    return 'must be one whole number with the unit B, KiB, MiB, GiB or TiB: "400MiB"'


def _total(text: str, meant: dict[str, str], factors: dict[str, int]) -> float | None:
    """What a loosely written text adds up to; None when not all of it can be read."""
    total = 0.0
    position = 0
    while position < len(text):
        match = _QUANTITY.match(text, position)
        unit = meant.get(match[2].lower()) if match else None
        if match is None or unit is None:
            return None
        total += float(match[1]) * factors[unit]
        position = match.end()
    return total if text else None
