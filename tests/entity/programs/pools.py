"""A program that owns our names and runs its activities in process pools of every start method."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from temporalio import activity, workflow

import entity
import protocol
import supervisor


def whose(number: int) -> list[str]:
    return [entity.WHOSE, protocol.WHOSE, supervisor.WHOSE, f"{number}"]


@activity.defn
def in_pool(method: str) -> list[list[str]]:
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        return list(pool.map(whose, range(2)))


@activity.defn
def main_module() -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


@workflow.defn(sandboxed=False)
class Greet:
    @workflow.run
    async def run(self) -> str:
        return entity.WHOSE
