"""A real Worker with its recorder, in the process of a test or, run as a module, in one of its own.

    python -m tests.entity.recorded ADDRESS NAMESPACE TASK_QUEUE BOX

runs until it is killed; its activities of the type `wait_for_ever` do, too.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.tracking import tracked
from temporal_fleet.protocol.blackbox import BlackBoxContents, BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.holdings import HeldActivity
from temporal_fleet.protocol.process import own_identity

_numbers = itertools.count(1)


class Recorded:
    """A Worker, what records it, and where."""

    def __init__(self, worker: Worker, recorder: Recorder, executions: Executions, box: Path) -> None:
        self.worker = worker
        self.recorder = recorder
        self.executions = executions
        self.box = box

    @property
    def contents(self) -> BlackBoxContents:
        return read_blackbox(self.box)

    @property
    def activities(self) -> list[HeldActivity]:
        return self.contents.holdings.activities


def record(
    client: Client,
    task_queue: str,
    path: Path,
    box: BlackBoxWriter | None = None,
    beneath: Callable[[Any], Any] | None = None,
    **arguments: Any,
) -> Recorded:
    """`beneath` gets the SDK's bridge worker and returns what is to stand between it and the recorder."""
    box = box or BlackBoxWriter(path, "recorded-1", 1, own_identity())
    executions = Executions(box)
    worker = Worker(
        client,
        task_queue=task_queue,
        identity=client.identity,
        build_id="tests",
        workflow_runner=tracked(UnsandboxedWorkflowRunner(), executions),
        **arguments,
    )
    if beneath is not None:
        worker._bridge_worker = beneath(worker._bridge_worker)
    recorder = Recorder(box, executions)
    recorder.install(worker)
    return Recorded(worker, recorder, executions, path)


def new_identity() -> str:
    return f"recorded-{next(_numbers)}@host:{os.getpid()}"


@asynccontextmanager
async def recorded_worker(
    client: Client, task_queue: str, path: Path, **arguments: Any
) -> AsyncIterator[Recorded]:
    recorded = record(client, task_queue, path, **arguments)
    async with recorded.worker:
        yield recorded


@workflow.defn
class RunOne:
    """Runs one activity."""

    @workflow.run
    async def run(self, name: str, arguments: list[Any], seconds: float, attempts: int) -> Any:
        return await workflow.execute_activity(
            name,
            args=arguments,
            start_to_close_timeout=timedelta(seconds=seconds),
            schedule_to_close_timeout=timedelta(seconds=45),
            heartbeat_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=attempts, initial_interval=timedelta(seconds=0.1)),
        )


@workflow.defn
class RunMany:
    """Runs so many at once."""

    @workflow.run
    async def run(self, name: str, number: int) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    name,
                    activity_id=f"a-{index}",
                    start_to_close_timeout=timedelta(seconds=60),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
                for index in range(number)
            )
        )


@workflow.defn
class RunLocal:
    """Runs one local activity."""

    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_local_activity(name, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class CountTo:
    """Returns after so many signals."""

    def __init__(self) -> None:
        self._seen = 0

    @workflow.run
    async def run(self, number: int) -> int:
        await workflow.wait_condition(lambda: self._seen >= number)
        return self._seen

    @workflow.signal
    def tick(self) -> None:
        self._seen += 1

    @workflow.update
    async def count(self) -> int:
        self._seen += 1
        return self._seen

    @workflow.query
    def seen(self) -> int:
        return self._seen


WORKFLOWS: Sequence[type] = (RunOne, RunMany, RunLocal, CountTo)


@activity.defn
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def _main(address: str, namespace: str, task_queue: str, box: str) -> None:
    client = await Client.connect(address, namespace=namespace, identity=new_identity())
    recorded = record(client, task_queue, Path(box), workflows=WORKFLOWS, activities=[wait_for_ever])
    await recorded.worker.run()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
