"""Many names in few words."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b and 3 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
