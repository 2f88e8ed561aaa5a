"""What tells two versions of a pool apart, in the words of the config: `hang 10s -> 3s`. What follows from a
difference stands in plan."""

from collections.abc import Mapping
from math import inf

from temporal_fleet.supervisor.core.fleet import Pool
from temporal_fleet.supervisor.core.sizes import mebibytes

HIDDEN = "…"
"""How the value of a secret trait begins: it is compared, and not told."""


def live_differences(before: Pool, after: Pool) -> str:
    """Of the settings that the supervisor itself goes by; empty: there are none."""
    return _told(live_settings(before), live_settings(after))


def made_of_differences(before: Pool, after: Pool) -> str:
    """Of what the entities are made of. Never empty: who asks knows that there is one."""
    told = _told(before.traits, after.traits)
    return told or ("program changed" if before.revision != after.revision else "settings changed")


def _told(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    keys = [*before, *(key for key in after if key not in before)]
    return ", ".join(
        _difference(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    )


def _difference(key: str, before: str | None, after: str | None) -> str:
    if any(value is not None and value.startswith(HIDDEN) for value in (before, after)):
        return f"{key} changed"
    return f"{key} {before or 'unset'} -> {after or 'unset'}"


def live_settings(pool: Pool) -> dict[str, str]:
    restart, memory, recycle = pool.restart, pool.memory, pool.recycle
    liveness = pool.liveness
    return {
        "hang": _seconds(pool.hang),
        "liveness.polling": _seconds(liveness.polling),
        "liveness.activation": _seconds(liveness.activation),
        "liveness.activity": _seconds(liveness.activity),
        "boot": _seconds(pool.boot),
        "poison_after": str(pool.poison_after),
        "restart.policy": restart.policy.value,
        "restart.backoff": _seconds(restart.backoff),
        "restart.backoff_max": _seconds(restart.backoff_max),
        "restart.max_restarts": str(restart.max_restarts),
        "restart.within": _seconds(restart.within),
        "memory.evict_above": _size(memory.evict_above),
        "memory.recycle_above": _size(memory.recycle_above),
        "memory.kill_above": _size(memory.kill_above),
        "recycle.max_age": "" if recycle.max_age is None else _seconds(recycle.max_age),
        "recycle.max_tasks": "" if recycle.max_tasks is None else str(recycle.max_tasks),
        "rollout.max_surge": str(pool.rollout.max_surge),
        "rollout.max_unavailable": str(pool.rollout.max_unavailable),
    }


def _seconds(value: float) -> str:
    return "never" if value == inf else f"{value:g}s"


def _size(value: int | None) -> str:
    return "" if value is None else mebibytes(value)
