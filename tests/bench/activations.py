"""What it costs an activation that the entity follows it: the SDK's runner bare, and as entities have it, in
pairs, in one process. No Cluster, whose noise is a hundred times as much."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.discovery import WorkflowDefinition
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.tracking import tracked
from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.process import own_identity
from tests.bench.programs.ticks import Ticks
from tests.bench.results import Result

_PAIRS = 20_000
_LIMIT = 10.0


def measure_activations() -> list[Result]:
    return asyncio.run(_measure())


async def _measure() -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        box = BlackBoxWriter(Path(folder) / "box", "bench-1", 1, own_identity())
        executions = Executions(box)
        recorder = Recorder(box, executions)
        return [
            await _measure_runner(kind, runner, executions, recorder)
            for kind, runner in (
                ("unsandboxed", UnsandboxedWorkflowRunner()),
                ("sandboxed", SandboxedWorkflowRunner()),
            )
        ]


async def _measure_runner(
    kind: str, runner: WorkflowRunner, executions: Executions, recorder: Recorder
) -> Result:
    run_id = f"run-{kind}"
    first = _activation(run_id, 3)
    start = first.jobs.add().initialize_workflow
    start.workflow_id, start.workflow_type = "bench", "Ticks"
    recorder.activation_taken(first)
    bare, followed = _instance(runner, run_id), _instance(tracked(runner, executions), run_id)
    # As the SDK: made on the event loop, activated in a thread.
    difference, without = await asyncio.to_thread(_pairs, first, bare, followed, recorder)
    name = f"following an activation, {kind}; plain: the activation itself"
    return Result(name, difference * 1e6, without * 1e6, "µs", _LIMIT)


def _pairs(
    first: WorkflowActivation, bare: WorkflowInstance, followed: WorkflowInstance, recorder: Recorder
) -> tuple[float, float]:
    """The median difference, and what an activation takes without it."""
    run_id = first.run_id

    def activate_bare(activation: WorkflowActivation) -> None:
        bare.activate(activation)

    def activate_followed(activation: WorkflowActivation) -> None:
        recorder.activation_taken(activation)
        followed.activate(activation)
        recorder.activation_given_back(run_id, recorder.activation_answered(run_id))

    activate_bare(first)
    followed.activate(first)
    recorder.activation_given_back(run_id, recorder.activation_answered(run_id))
    without, differences = [], []
    for number in range(_PAIRS):
        activation = _activation(run_id, 4 + number)
        job = activation.jobs.add().signal_workflow
        job.signal_name, job.originating_event_id = "tick", 4 + number
        # Whoever comes second finds warm caches.
        if number % 2:
            alone, along = _timed(activate_bare, activation), _timed(activate_followed, activation)
        else:
            along, alone = _timed(activate_followed, activation), _timed(activate_bare, activation)
        without.append(alone)
        differences.append(along - alone)
    return statistics.median(differences), statistics.median(without)


def _timed(activate: Callable[[WorkflowActivation], None], activation: WorkflowActivation) -> float:
    began = time.perf_counter()
    activate(activation)
    return time.perf_counter() - began


def _activation(run_id: str, history_length: int) -> WorkflowActivation:
    activation = WorkflowActivation(run_id=run_id, history_length=history_length)
    activation.timestamp.GetCurrentTime()
    return activation


class _Details(SandboxedWorkflowRunner):
    """Keeps the details that the SDK makes up to validate a workflow."""

    made_up: ClassVar[list[WorkflowInstanceDetails]] = []

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        self.made_up.append(det)
        return super().create_instance(det)


def _instance(runner: WorkflowRunner, run_id: str) -> WorkflowInstance:
    definition = WorkflowDefinition.must_from_class(Ticks)
    _Details().prepare_workflow(definition)
    made_up = _Details.made_up[-1]
    return runner.create_instance(replace(made_up, info=replace(made_up.info, run_id=run_id)))
