"""Pools for the tests of the core: made in one line each. Their program names say what is in them."""

from typing import Any

from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core.fleet import Pool


def make_pool(name: str, desired: int, *, revision: str = "r1", digest: str = "d1", **rest: Any) -> Pool:
    return Pool(
        name=name,
        desired=desired,
        program=ProgramSpec(program=f"{name}.program", path="/srv", task_queue=name),
        revision=revision,
        digest=digest,
        **rest,
    )


def by_name(*pools: Pool) -> dict[str, Pool]:
    return {pool.name: pool for pool in pools}
