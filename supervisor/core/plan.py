"""What runs + what is wanted -> the plan of a reload: how the pools will run, and the steps there, each with
its reason. The value that `plan` prints and that `reload` carries out. What a pool does about it, moment by
moment, stands in moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from temporal_fleet.supervisor.core.differences import live_differences, made_of_differences
from temporal_fleet.supervisor.core.fleet import (
    Entity,
    Fleet,
    HelperKey,
    HelperState,
    Pool,
    Standing,
    members,
)
from temporal_fleet.supervisor.core.moves import divide, moves
from temporal_fleet.supervisor.core.names import listed
from temporal_fleet.supervisor.core.sizes import mebibytes


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `plan`. `action`: start, stop, replace, change or keep."""

    action: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: tuple[Step, ...]
    pools: Mapping[str, Pool]
    """As they will run: with the epoch and the turn of each."""
    budget: int | None
    epoch: int
    """The last that is given to a pool by it, or was before."""

    @property
    def summary(self) -> str:
        """In one line."""
        told: dict[str, list[str]] = {}
        for step in self.steps:
            if step.action != "keep":
                told.setdefault(step.action, []).append(step.target)
        return ", ".join(f"{action} {listed(targets)}" for action, targets in told.items())


def plan(
    fleet: Fleet,
    wanted: Mapping[str, Pool],
    budget: int | None,
    *,
    forced: Sequence[str] = (),
    codes: Mapping[str, str] | None = None,
    edited: Mapping[str, Sequence[str]] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Plan:
    """What a reload to `wanted` does to this fleet. `forced`: pools to be replaced without a change; `codes`:
    of each fork server, by name, the digest of its program's code as it would be imported now; `edited`: what
    of that code is not as it was; `settings`: of the fleet itself, from what to what."""
    epoch = fleet.epoch + 1
    pools = {}
    why: dict[str, str] = {}
    for name, pool in wanted.items():
        pools[name], why[name] = _renewed(fleet, pool, epoch, name in forced, codes or {}, edited or {})
    steps: list[Step] = []
    kept = 0
    for name in sorted({*fleet.pools, *pools}):
        if name in pools:
            told, untouched = _pool_steps(fleet, pools[name], why[name])
            steps += told
            kept += untouched
        else:
            leaving = _present(members(fleet.entities, name))
            steps += [Step("stop", e.id, f"pool {name} is not in the config") for e in leaving]
    if fleet.budget != budget:
        sizes = f"{_size(fleet.budget)} -> {_size(budget)}"
        steps.append(Step("change", "memory_budget", f"{sizes}: applied without a restart"))
    for key, difference in (settings or {}).items():
        steps.append(Step("change", key, f"{difference}: applied without a restart"))
    if kept:
        steps.append(Step("keep", f"{kept} {'entity' if kept == 1 else 'entities'}", "untouched"))
    given = max((number for pool in pools.values() for number in (pool.epoch, pool.turn)), default=0)
    return Plan(tuple(steps), pools, budget, max(fleet.epoch, given))


def is_code_changed(fleet: Fleet, server: HelperKey, codes: Mapping[str, str]) -> bool:
    """Whether a program would be another one if its fork server imported it now. Not known: it would not."""
    helper = fleet.helpers.get(server)
    # One that was still importing when this was asked has another that imported the same files.
    revision, _, _ = server.name.rpartition(".")
    others = (code for name, code in codes.items() if name.rpartition(".")[0] == revision)
    now = codes.get(server.name) or next(others, "")
    return helper is not None and "" not in {helper.code, now} and helper.code != now


def _pool_steps(fleet: Fleet, pool: Pool, why: str) -> tuple[list[Step], int]:
    """And how many entities are untouched."""
    if pool.name in fleet.drained:
        return [Step("keep", pool.name, f"drained: temporal-fleet resume {pool.name}")], 0
    before = fleet.pools.get(pool.name)
    places = members(fleet.entities, pool.name)
    staying, surplus = divide(pool, places)
    more = "more entities" if before is not None else "new pool"
    steps = [Step("start", f"{pool.name}-{ordinal}", more) for ordinal in moves(pool, places).add]
    steps += [Step("stop", entity.id, "fewer entities") for entity in surplus]
    if before is None:
        return steps, len(staying)
    live = live_differences(before, pool)
    if why and staying:
        return [*steps, Step("replace", pool.name, "; ".join(part for part in (why, live) if part))], 0
    if live:
        steps.append(Step("change", pool.name, f"{live}: applied without a restart"))
    return steps, len(staying)


def _renewed(
    fleet: Fleet,
    pool: Pool,
    number: int,
    is_forced: bool,
    codes: Mapping[str, str],
    edited: Mapping[str, Sequence[str]],
) -> tuple[Pool, str]:
    """The pool as it would run, and why what runs is replaced; empty: it is not. With the code that was
    imported, unless that was refused or is not what stands on the disk any more."""
    before = fleet.pools.get(pool.name)
    known = (before, fleet.roll.fallback.pools.get(pool.name) if fleet.roll is not None else None)
    # What was in force before the roll may be there still, and is gone back to as it was.
    same = next((each for each in known if each is not None and each.revision == pool.revision), None)
    if same is not None:
        kept = replace(pool, epoch=same.epoch, turn=same.turn)
    else:
        shared = [each.epoch for each in fleet.pools.values() if each.revision == pool.revision]
        epoch = max(shared, default=0)
        kept = replace(pool, epoch=epoch, turn=epoch)
    server = fleet.helpers.get(kept.fork_server)
    anew = replace(kept, epoch=number, turn=number)
    if server is not None and server.state is HelperState.REFUSED:
        return anew, "its program was refused, and is imported again"
    if is_code_changed(fleet, kept.fork_server, codes):
        return anew, _code_changed(pool, edited.get(kept.fork_server.name, ()))
    if is_forced:
        return anew, "forced"
    if before is None:
        return kept, ""
    if kept.version != before.version:
        return kept, made_of_differences(before, kept)
    if server is not None and any(_is_older(entity, server.code) for entity in fleet.members(pool.name)):
        return replace(kept, turn=number), "code changed"
    return kept, ""


def _is_older(entity: Entity, code: str) -> bool:
    """Whether it runs code that its fork server, which died meanwhile, did not find on the disk again."""
    told = entity.is_live and entity.standing is not Standing.RETIRED
    return told and "" not in {entity.code, code} and entity.code != code


def _code_changed(pool: Pool, edited: Sequence[str]) -> str:
    """With the names as they are within the pool's `path`."""
    names = [name.removeprefix(f"{pool.program.path}/") for name in edited]
    return f"code changed: {listed(names)}" if names else "code changed"


def _present(places: Sequence[Entity]) -> list[Entity]:
    return [entity for entity in places if entity.standing is not Standing.RETIRED or entity.is_live]


def _size(budget: int | None) -> str:
    return "none" if budget is None else mebibytes(budget)
