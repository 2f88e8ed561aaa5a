"""Workflow runners that tell the table of executions what each activation did.

The SDK and its plugins recognise its own runners with isinstance and change them with dataclasses.replace,
so those become subclasses of themselves. Any other runner is the user's, and is asked.
"""

import copy
import types
from collections.abc import Sequence
from time import monotonic
from typing import Any, TypeVar, cast

import temporalio.workflow
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import (
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.executions import Execution, Executions

R = TypeVar("R", bound=WorkflowRunner)


def tracked(runner: WorkflowRunner, executions: Executions) -> WorkflowRunner:
    """A runner that does what this one does, and tells."""
    if isinstance(runner, (SandboxedWorkflowRunner, UnsandboxedWorkflowRunner)):
        same = copy.copy(runner)
        # Some are frozen.
        object.__setattr__(same, "__class__", _tracking_class(type(runner), executions))
        return same
    return _TrackedRunner(runner, executions)


def _tracking_class(kind: type[R], executions: Executions) -> type[R]:
    """A subclass with the same fields. The table belongs to the class: whatever copies an instance, or makes
    another one of its fields, gets one that tells too."""

    def create_instance(self: R, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _followed(kind.create_instance(self, det), det, executions)

    name = f"Tracked{kind.__name__}"
    body = {
        "__doc__": kind.__doc__,
        "__module__": __name__,
        "__qualname__": name,
        # The same layout in memory, so that an instance can change its class.
        "__slots__": (),
        "create_instance": create_instance,
    }
    return cast(type[R], types.new_class(name, (kind,), exec_body=lambda namespace: namespace.update(body)))


class _TrackedRunner(WorkflowRunner):
    """A runner of the user's."""

    def __init__(self, runner: WorkflowRunner, executions: Executions) -> None:
        self._runner = runner
        self._executions = executions

    def prepare_workflow(self, defn: temporalio.workflow._Definition) -> None:
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _followed(self._runner.create_instance(det), det, self._executions)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        self._runner.set_worker_level_failure_exception_types(types)


def _followed(
    instance: WorkflowInstance, details: WorkflowInstanceDetails, executions: Executions
) -> WorkflowInstance:
    execution = executions.find(details.info.run_id)
    # Validation makes instances of no execution.
    return instance if execution is None else TrackedInstance(instance, execution)


class TrackedInstance(WorkflowInstance):
    """An instance of the SDK's, or of the user's, and the execution that it runs."""

    __slots__ = ("_execution", "_instance")

    def __init__(self, instance: WorkflowInstance, execution: Execution) -> None:
        self._instance = instance
        self._execution = execution

    def activate(self, act: Any) -> Any:
        self._execution.runs_since = monotonic()
        try:
            completion = self._instance.activate(act)
        finally:
            self._execution.runs_since = None
        self._execution.activated(act, completion)
        return completion

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> temporalio.workflow.Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
