"""Worker Programs that are plugins or factories, for the tests of an entity's life."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from life_program import Run, RunAside, greet, wait_for_file
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker, WorkerConfig


class Fails(SimplePlugin):
    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        raise OSError("no such queue")


class Returns(SimplePlugin):
    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        return


class IsRefused(SimplePlugin):
    """Asks a service that is away just now."""

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        raise RuntimeError("no settings") from ConnectionError("the vault is away")


class Second(SimplePlugin):
    """Runs a Worker of its own beside the entity's, on a queue of its own."""

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        patience = timedelta(minutes=1)
        queue = f"{worker.task_queue}-aside"
        if worker.task_queue.endswith("-aside"):
            # Its client brings the plugin along.
            await next(worker)
            return
        activities = [wait_for_file]
        async with Worker(
            worker.client, task_queue=queue, activities=activities, graceful_shutdown_timeout=patience
        ):
            await next(worker)


second = Second("second", workflows=[RunAside])
refused = IsRefused("refused", workflows=[Run], activities=[greet])
fails = Fails("fails", workflows=[Run], activities=[greet])
returns = Returns("returns", workflows=[Run], activities=[greet])
works = SimplePlugin("works", workflows=[Run], activities=[greet])


async def factory(client: Client) -> dict[str, Any]:
    return {"activities": [greet], "workflows": [Run], "max_concurrent_activities": 1}
