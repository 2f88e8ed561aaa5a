"""The ranges that fleet.toml allows for Worker() options, on the SDK's real Worker."""

import asyncio
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from temporal_fleet.entity.options import from_configuration
from temporal_fleet.supervisor.config.schema import schema
from temporal_fleet.supervisor.config.worker_options import WorkerOptions
from tests.conftest import DevServer

SHAPES: dict[str, Any] = schema()["$defs"]["WorkerOptions"]["properties"]


@workflow.defn(sandboxed=False)
class Nothing:
    @workflow.run
    async def run(self) -> None: ...


@activity.defn
async def nothing() -> None: ...


def smallest(shape: dict[str, Any]) -> Any:
    least = {"integer": shape.get("minimum"), "number": 0.001, "boolean": False, "string": "1ms"}
    return least[shape["type"]]


def largest(shape: dict[str, Any]) -> Any:
    most = {"integer": shape.get("maximum"), "number": 1.0, "boolean": True, "string": "1000d"}
    return most[shape["type"]]


@pytest.mark.parametrize("extreme", [smallest, largest])
def test_the_sdk_takes_the_ends_of_every_range(extreme: Any, dev_server: DevServer, task_queue: str) -> None:
    options = WorkerOptions(**{name: extreme(shape) for name, shape in SHAPES.items()})
    arguments = from_configuration(options.given())
    assert set(arguments) == set(WorkerOptions.model_fields)

    async def live() -> None:
        client = await Client.connect(dev_server.address, namespace=dev_server.namespace)
        worker = Worker(client, task_queue=task_queue, workflows=[Nothing], activities=[nothing], **arguments)
        running = asyncio.create_task(worker.run())
        result = asyncio.create_task(
            client.execute_workflow(Nothing.run, id=task_queue, task_queue=task_queue)
        )
        await asyncio.wait([running, result], return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert result.done(), f"the worker does not work: {running}"
        await result
        await worker.shutdown()
        await running

    asyncio.run(live())
