"""Which GPUs an entity gets as its own: such as no other live entity has. Its death gives them back. How a
process is kept to them is no matter of the core."""

from collections.abc import Iterable

from temporal_fleet.supervisor.core.fleet import Entity, Pool


def allotted(pool: Pool, entities: Iterable[Entity]) -> tuple[int, ...] | None:
    """The GPUs of a new life in this pool; None: it has to wait, since too few are free."""
    taken = {gpu for entity in entities if entity.is_live for gpu in entity.gpus}
    free = [gpu for gpu in pool.gpus.devices if gpu not in taken]
    return tuple(free[: pool.gpus.each]) if len(free) >= pool.gpus.each else None


def why_it_waits(pool: Pool, entities: Iterable[Entity]) -> str:
    """Why a life cannot begin in this pool for want of GPUs; empty: it can."""
    everybody = tuple(entities)
    if allotted(pool, everybody) is not None:
        return ""
    holders = sorted(e.id for e in everybody if e.is_live and set(e.gpus) & set(pool.gpus.devices))
    listed = " ".join(map(str, pool.gpus.devices)) or "none"
    wanted = "a GPU" if pool.gpus.each == 1 else f"{pool.gpus.each} GPUs"
    return f"waits for {wanted} of [fleet] gpus ({listed}), which {', '.join(holders) or 'nobody'} has"
