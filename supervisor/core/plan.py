"""What runs + what is wanted -> the steps of a change, each with its reason: the value that `plan` prints and
that `reload` carries out. What a pool does about it, moment by moment, stands in moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from temporal_fleet.supervisor.core.fleet import Entity, Pool, members


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `plan`. `action`: start, stop, replace, change or keep."""

    action: str
    target: str
    reason: str


def reload_steps(
    current: Mapping[str, Pool],
    entities: Mapping[str, Entity],
    wanted: Mapping[str, Pool],
    *,
    budget: tuple[int | None, int | None] = (None, None),
) -> tuple[Step, ...]:
    """What a reload to `wanted` would do to this fleet. `budget`: for its memory, now and then."""
    steps: list[Step] = []
    kept = 0
    for name in sorted({*current, *wanted}):
        places = members(entities, name)
        pool = wanted.get(name)
        if pool is None:
            steps += [Step("stop", e.id, f"pool {name} is not in the config") for e in places]
            continue
        known = {e.ordinal for e in places}
        more = "more entities" if name in current else "new pool"
        steps += [Step("start", f"{name}-{n}", more) for n in range(1, pool.desired + 1) if n not in known]
        # Surplus that stands in for one that is being replaced goes by itself.
        so_far = current[name].desired if name in current else max(known, default=0)
        fewer = [e for e in places if pool.desired < e.ordinal <= so_far]
        steps += [Step("stop", e.id, "fewer entities") for e in fewer]
        staying = sum(e.ordinal <= pool.desired for e in places)
        reason = _why_replace(current.get(name), pool)
        if reason and staying:
            steps.append(Step("replace", name, reason))
        else:
            kept += staying
            if name in current and _live_settings(current[name]) != _live_settings(pool):
                steps.append(Step("change", name, "policies changed: applied without a restart"))
    if budget[0] != budget[1]:
        steps.append(Step("change", "memory_budget", "applied without a restart"))
    if kept:
        steps.append(Step("keep", f"{kept} {'entity' if kept == 1 else 'entities'}", "untouched"))
    return tuple(steps)


def _why_replace(before: Pool | None, after: Pool) -> str:
    if before is None or before.digest == after.digest:
        return ""
    return "program changed" if before.revision != after.revision else "settings changed"


def _live_settings(pool: Pool) -> tuple[object, ...]:
    timing = pool.restart, pool.rollout, pool.hang, pool.boot
    return *timing, pool.memory, pool.recycle, pool.poison_after
