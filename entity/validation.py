"""Workflows against the sandbox: once, where the program is loaded, and not again in each entity.

Knows workflows and runners, nothing of programs or processes.
"""

import asyncio
from collections.abc import Iterable

import temporalio.workflow
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.discovery import WorkflowDefinition, place_of_code, workflow_name
from temporal_fleet.entity.references import summary, users_place


class PreparedSandbox(SandboxedWorkflowRunner):
    """The SDK's sandbox for workflows that were validated before the fork.

    A subclass, since the SDK and its plugins recognise the sandbox with isinstance and change it with
    dataclasses.replace.
    """

    def prepare_workflow(self, defn: temporalio.workflow._Definition) -> None:
        """Nothing: the import of every workflow in a sandbox is what made this slow, and was done."""


def prepared(runner: WorkflowRunner) -> WorkflowRunner:
    """The runner without its validation, where that is the SDK's own; any other is left alone."""
    if type(runner) is SandboxedWorkflowRunner:
        return PreparedSandbox(restrictions=runner.restrictions, runner_class=runner.runner_class)
    return runner


def sandbox_failures(
    workflows: Iterable[type],
    runner: WorkflowRunner | None = None,
    unsandboxed_runner: WorkflowRunner | None = None,
) -> list[str]:
    """What each workflow that does not validate fails with; needs a running event loop, as the SDK does."""
    asyncio.get_running_loop()
    runner = runner or SandboxedWorkflowRunner()
    unsandboxed_runner = unsandboxed_runner or UnsandboxedWorkflowRunner()
    failures = []
    for workflow in workflows:
        definition = WorkflowDefinition.must_from_class(workflow)
        try:
            (runner if definition.sandboxed else unsandboxed_runner).prepare_workflow(definition)
        # The sandbox runs the user's module: anything can come out of it.
        except Exception as error:
            failures.append(_failure(workflow, error))
    return failures


def _failure(workflow: type, error: Exception) -> str:
    cause = users_place(error, workflow.__module__)
    return (
        f"workflow {workflow_name(workflow)} ({place_of_code(workflow)}) fails in the sandbox"
        f"{f', at {cause}' if cause else ''}: {summary(error)}"
    )
