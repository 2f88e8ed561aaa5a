"""What simulated entities hold when they die: activities and runs that come again, as those that are retried
do, and new ones in the place of those that ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from temporal_fleet.supervisor.core.estate import (
    ActivityInHand,
    ActivityKey,
    ActivityVerdict,
    Estate,
    RunInHand,
    RunKey,
)

_ACTIVITIES = 5
_RUNS = 3


@dataclass(slots=True)
class Work:
    activities: list[ActivityKey] = field(default_factory=list)
    runs: list[RunKey] = field(default_factory=list)
    poisoned: set[ActivityKey] = field(default_factory=set)
    """Those that were failed for good."""
    _serial: Any = field(default_factory=count)

    def estate(self, random: Random, connected: bool, worked: bool) -> Estate:
        """What one leaves; of one that never worked, at most that it was connected."""
        while len(self.activities) < _ACTIVITIES:
            number = next(self._serial)
            standalone = number % 4 == 0
            self.activities.append(ActivityKey("" if standalone else f"w-{number}", f"run-{number}", "1"))
        while len(self.runs) < _RUNS:
            self.runs.append(RunKey("w", f"run-{next(self._serial)}"))
        if not worked:
            return Estate(connected=connected)
        held = random.sample(self.activities, random.choice((0, 1, 1, 2, 2, 3)))
        runs = random.sample(self.runs, random.choice((0, 0, 0, 1, 2)))
        estate = Estate(
            activities=tuple(self._attempt(key) for key in (*held, *held[: random.choice((0, 0, 0, 1))])),
            runs=tuple(RunInHand(key, "Order") for key in runs),
            cached=random.choice((0, 1, 100)),
            connected=connected,
        )
        if random.random() < 0.05:
            self.activities.pop(0)
            self.runs.pop(0)
        return estate

    def rule(self, verdicts: Mapping[bytes, ActivityVerdict], estate: Estate) -> None:
        """The agent does what it was told with what it finds in a box."""
        for activity in estate.activities:
            verdict = verdicts.get(activity.task_token)
            if verdict is not None and verdict.poison:
                self.poisoned.add(activity.key)
                if activity.key in self.activities:
                    self.activities.remove(activity.key)

    def _attempt(self, key: ActivityKey) -> ActivityInHand:
        number = next(self._serial)
        return ActivityInHand(key, "charge", 1, f"token-{number}".encode())
