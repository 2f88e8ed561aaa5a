"""Files of the kernel, in /proc and /sys, as they are read for `doctor`: what cannot be read is not there.
What they mean is not known here."""

from pathlib import Path


def number(file: Path) -> int | None:
    """None too for `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
