"""An entity's Worker with its table of executions, in the process of a test, against the real dev server."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.evictor import Evictor
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.metrics import EntityMetrics
from temporal_fleet.entity.options import settle
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.entity.worker import EntityWorker
from temporal_fleet.protocol.blackbox import BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState
from temporal_fleet.protocol.messages import Evict, Evicted
from temporal_fleet.protocol.process import own_identity
from temporal_fleet.protocol.spec import ClusterSpec
from tests.entity import cached_workflows
from tests.entity.lives import entity_spec, program_spec
from tests.waiting import eventually

WORKFLOWS: Sequence[type] = (
    cached_workflows.Patient,
    cached_workflows.Unboxed,
    cached_workflows.Naps,
    cached_workflows.AtHome,
    cached_workflows.Generations,
    cached_workflows.Fails,
    cached_workflows.Trespasses,
    cached_workflows.Sticks,
)


@activity.defn
async def at_home() -> str:
    return "at home"


@dataclass
class Cache:
    client: Client
    queue: str
    executions: Executions
    worker: EntityWorker
    evictor: Evictor
    box: Path

    async def start(self, workflow: str, *arguments: Any, name: str = "1") -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            workflow, args=arguments, id=f"{self.queue}-{name}", task_queue=self.queue
        )

    async def blocked(self, workflow: str, *arguments: Any, name: str = "1") -> WorkflowHandle[Any, Any]:
        """Started, and at rest in the cache."""
        handle = await self.start(workflow, *arguments, name=name)
        await self.rests(handle)
        return handle

    def recorded(self) -> dict[str, CachedExecution]:
        """What the black box says, by run id."""
        return {one.run_id: one for one in read_blackbox(self.box).holdings.executions}

    async def rests(self, handle: WorkflowHandle[Any, Any]) -> CachedExecution:
        run_id = handle.result_run_id or handle.first_execution_run_id or ""

        def found() -> CachedExecution | None:
            one = self.recorded().get(run_id)
            return one if one is not None and one.state is ExecutionState.BLOCKED else None

        return await eventually(found, what=f"{handle.id} is blocked, of {self.recorded()}")

    async def holds(self, number: int) -> None:
        await eventually(
            lambda: len(self.recorded()) == self.executions.cached == number,
            what=f"{number} executions in the cache, which has {self.recorded()}",
        )

    async def evict(self, **conditions: Any) -> Evicted:
        """Once all that a test did has come to rest."""
        await eventually(lambda: self.executions.blocked == self.executions.cached, what="all are blocked")
        return await self.order(**conditions)

    async def order(self, **conditions: Any) -> Evicted:
        return await self.evictor.evict(Evict(entity="orders-1", incarnation=1, request="r", **conditions))


@asynccontextmanager
async def running_cache(
    client: Client, queue: str, folder: Path, activities: Sequence[Any] = (at_home,), **arguments: Any
) -> AsyncIterator[Cache]:
    """Keyword arguments are those of Worker()."""
    path = folder / "box"
    box = BlackBoxWriter(path, "orders-1", 1, own_identity())
    executions = Executions(box)
    program = program_spec(queue)
    configuration: dict[str, Any] = {
        "workflow_runner": SandboxedWorkflowRunner(),
        "workflows": list(WORKFLOWS),
        "activities": list(activities),
        "build_id": f"tests-{os.getpid()}",
        **arguments,
    }
    settle(configuration, program, validated=False, executions=executions)
    recorder = Recorder(box, executions)
    spec = entity_spec(folder, program, ClusterSpec(), drain=0.0)
    worker = EntityWorker(
        spec, configuration, client, Vitals(queue, EntityMetrics(folder / "metrics", "orders-1", 1)), recorder
    )
    async with worker._worker:
        evictor = Evictor(executions, worker.request_eviction)
        yield Cache(client, queue, executions, worker, evictor, path)
