"""A load of the program `voyage`: one voyage after the other, all the while told things, and each looked at
whether it is whole. For who does something to the fleet meanwhile that must cost none of them anything."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from tests.programs.voyage import LEGS


@dataclass
class Crossing:
    """One voyage, and what its updates were told."""

    handle: WorkflowHandle[object, list[str]]
    acknowledged: list[str] = field(default_factory=list)


async def navigate(crossing: Crossing, seed: int) -> list[str]:
    """Blow and give orders, in random order, until the voyage is over; its result."""
    chance = random.Random(seed)
    result = asyncio.create_task(crossing.handle.result())
    number = 0
    while not result.done():
        number += 1
        try:
            if chance.random() < 0.5:
                await crossing.handle.signal("wind")
            else:
                text = f"{seed}.{number}"
                answer: str = await crossing.handle.execute_update("order", text, result_type=str)
                assert answer == f"aye {text}"
                crossing.acknowledged.append(f"order {text}")
        except (RPCError, WorkflowUpdateFailedError) as error:
            if not _means_it_is_over(error) and not _is_refused_for_now(error):
                raise
        await asyncio.wait([result], timeout=chance.uniform(0.0, 0.3))
    return result.result()


def _means_it_is_over(error: RPCError | WorkflowUpdateFailedError) -> bool:
    if isinstance(error, RPCError):
        return error.status is RPCStatusCode.NOT_FOUND
    # The run ended, or continued as new, before the update was answered.
    return isinstance(error.cause, ApplicationError) and error.cause.type == "AcceptedUpdateCompletedWorkflow"


def _is_refused_for_now(error: RPCError | WorkflowUpdateFailedError) -> bool:
    """The Cluster takes no updates for an execution whose Workflow Task has failed three times in a row, and
    each death of who had it in hand is such a failure (temporal pull request 4376). Nothing was accepted."""
    refused = isinstance(error, RPCError) and error.status is RPCStatusCode.FAILED_PRECONDITION
    return refused and "Workflow Task in failed state" in str(error)


async def sail_on(client: Client, queue: str, seeds: Iterator[int], over: asyncio.Event) -> list[int]:
    """One voyage after the other; how many."""
    sailed = []
    while not over.is_set():
        seed = next(seeds)
        name = f"{queue}-{seed}"
        handle: WorkflowHandle[object, list[str]] = await client.start_workflow(
            "Voyage", args=[name, 0, []], id=name, task_queue=queue, result_type=list[str]
        )
        crossing = Crossing(handle)
        _assert_whole(name, await navigate(crossing, seed), crossing.acknowledged)
        sailed.append(seed)
    return sailed


def _assert_whole(name: str, log: list[str], acknowledged: list[str]) -> None:
    per_leg = Counter(tuple(line.split()[:3]) for line in log if not line.startswith(("order", "reckon")))
    assert per_leg == Counter((kind, name, str(leg)) for kind in ("sail", "trade") for leg in range(LEGS)), (
        log
    )
    assert [line for line in log if line.startswith("reckon")] == [
        f"reckon {leg * leg}" for leg in range(LEGS)
    ]
    orders = Counter(line for line in log if line.startswith("order"))
    assert max(orders.values(), default=1) == 1, log
    assert set(acknowledged) <= set(orders), (acknowledged, log)
