"""Worker Programs that are plugins or factories, for the tests of an entity's life."""

from collections.abc import Awaitable, Callable
from typing import Any

from life_program import Run, greet
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


refused = IsRefused("refused", workflows=[Run], activities=[greet])
fails = Fails("fails", workflows=[Run], activities=[greet])
returns = Returns("returns", workflows=[Run], activities=[greet])
works = SimplePlugin("works", workflows=[Run], activities=[greet])


async def factory(client: Client) -> dict[str, Any]:
    return {"activities": [greet], "workflows": [Run], "max_concurrent_activities": 1}
