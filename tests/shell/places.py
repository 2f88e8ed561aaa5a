"""A fleet as the core would have it, made by hand."""

from dataclasses import replace

from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core.fleet import Entity, Fleet, Pool
from temporal_fleet.supervisor.core.states import State

ORDERS = Pool(
    name="orders",
    desired=2,
    program=ProgramSpec(program="shop", path="/", task_queue="orders"),
    revision="r",
    digest="d",
)


def place(ordinal: int, state: State = State.READY, pid: int | None = None) -> Entity:
    """`orders-N` in its third life."""
    return Entity(
        id=f"orders-{ordinal}",
        pool="orders",
        ordinal=ordinal,
        state=state,
        since=0.0,
        incarnation=3,
        pid=pid,
    )


def fleet_of(*places: Entity, pool: Pool = ORDERS, budget: int | None = None) -> Fleet:
    fleet = Fleet(embedded=False, pools={pool.name: pool}, entities={entity.id: entity for entity in places})
    return replace(fleet, budget=budget)
