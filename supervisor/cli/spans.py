"""Time spans as systemctl prints them (systemd.time(7)), `1min 5s` or `infinity`, to seconds; no more."""

import math
import re

_UNITS = {
    **{"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0},
    **{"month": 2_629_800.0, "y": 31_557_600.0},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month|y)")


class SpanError(ValueError):
    """Not a time span."""


def seconds(text: str) -> float:
    """Raises SpanError."""
    if text == "infinity":
        return math.inf
    if text == "0":
        return 0.0
    quantities = [_QUANTITY.fullmatch(word) for word in text.split()]
    if not quantities:
        raise SpanError(f"{text!r} is no time span")
    total = 0.0
    for quantity in quantities:
        if quantity is None:
            raise SpanError(f"{text!r} is no time span")
        total += float(quantity[1]) * _UNITS[quantity[2]]
    return total
