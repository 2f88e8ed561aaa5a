"""What `doctor` finds: how bad, what, by which figure, and what to do. What is looked at, and judged so,
stands in host_health, fleet_health and cluster_health."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    OK = "ok"
    WARNING = "warning"
    """It works, and may not for long, or not under load."""
    PROBLEM = "problem"
    """It does not work, or will not."""


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    figure: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""


def ok(what: str, figure: str) -> Finding:
    return Finding(Level.OK, what, figure)


def warning(what: str, figure: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, what, figure, remedy)


def problem(what: str, figure: str, remedy: str) -> Finding:
    return Finding(Level.PROBLEM, what, figure, remedy)


def unseen(what: str, reason: str) -> Finding:
    """Of what this user may not look at, or that fails when it is looked at."""
    return warning(what, f"could not be looked at: {reason}", "run it as the fleet's user")


_WORST_FIRST = (Level.PROBLEM, Level.WARNING, Level.OK)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order in which they were found, among equally bad ones."""
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.level))


def judged(used: float, limit: float, *, from_: float = 0.8) -> Level:
    """Of something that runs out: a warning from that part of the limit on, a problem beyond it."""
    if used > limit:
        return Level.PROBLEM
    return Level.WARNING if used > from_ * limit else Level.OK
