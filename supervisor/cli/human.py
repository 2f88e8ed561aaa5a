"""Numbers as an operator reads them. Values to text, nothing else."""

import time

from temporal_fleet.supervisor.core import sizes


def size(count: int | None) -> str:
    """Bytes: `41.2 MiB`; `-` where they are not known."""
    return "-" if count is None else sizes.size(count)


def duration(seconds: float) -> str:
    """The two largest units: `850ms`, `12s`, `3m12s`, `2h05m`, `4d06h`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def clock(epoch: float) -> str:
    """The time of day here, to the millisecond."""
    return f"{time.strftime('%H:%M:%S', time.localtime(epoch))}.{int(epoch * 1000) % 1000:03}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 pool`, `2 pools`, `2 entities`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str, besides: str = "") -> str:
    """What others have said and named, so that nothing of it steers a terminal: `\\x1b` for an escape, and so
    on. `besides`: control characters that stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in besides else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
