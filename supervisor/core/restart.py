"""Restart policy: whether, and after how long, a place gets another life. Knows no fleet and no clock."""

from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from temporal_fleet.protocol.exits import Verdict


class Policy(Enum):
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`restart = {…}` of a pool. Durations in seconds."""

    policy: Policy = Policy.ALWAYS
    backoff: float = 0.1
    backoff_max: float = 30.0
    max_restarts: int = 10
    within: float = 60.0


HEALTHY_AFTER = 10.0
"""Seconds of being ready after which a life counts as healthy, and the backoff starts anew."""

_EXPONENT_LIMIT = 32


def may_restart(policy: RestartPolicy, meaning: Verdict) -> bool:
    """Whether a life that ended of its own making may be followed by another at all."""
    if policy.policy is Policy.ON_FAILURE:
        return meaning is not Verdict.LEFT
    return policy.policy is Policy.ALWAYS


def delay(policy: RestartPolicy, streak: int, salt: str) -> float:
    """Seconds to wait before the next life, after `streak` unhealthy lives in a row (1 for the first).

    The first one is free: a single death must cost as little as can be. Then `backoff`, doubled each
    time, at most `backoff_max`; of that between one half and the whole, so that entities which died
    together do not come back together. `salt` decides where between.
    """
    if streak <= 1:
        return 0.0
    full = min(policy.backoff_max, policy.backoff * 2.0 ** min(streak - 2, _EXPONENT_LIMIT))
    return full * (0.5 + 0.5 * fraction(salt))


def next_try(wait: float) -> str:
    """How an operator is told of a delay."""
    return f"next try in {wait:.1f} s" if wait else "another starts at once"


def slow_delay(policy: RestartPolicy, salt: str) -> float:
    """Seconds between the tries of what is retried for ever: `backoff_max`, with the same spread."""
    return policy.backoff_max * (0.5 + 0.5 * fraction(salt))


def in_window(crashes: tuple[float, ...], policy: RestartPolicy, now: float) -> tuple[float, ...]:
    """The crashes that still count at `now`."""
    return tuple(crash for crash in crashes if now - crash < policy.within)


def too_many(crashes: tuple[float, ...], policy: RestartPolicy) -> bool:
    """Whether these crashes, all of them within the window, exceed the restart intensity."""
    return len(crashes) > policy.max_restarts


def fraction(salt: str) -> float:
    """From 0 to 1, always the same for one salt: jitter without chance."""
    # Not a checksum: those of names that differ in one digit are near each other.
    return int.from_bytes(blake2b(salt.encode(), digest_size=8).digest()) / (2**64 - 1)
