"""The keyword arguments of the SDK's Worker(): which there are, which are ours, how configured values
become them, and what is filled in when the program leaves it open."""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

from temporalio.plugin import SimplePlugin
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerConfig, WorkerTuner

from temporal_fleet.entity.discovery import (
    ARGUMENT_OF,
    contents_of_configuration,
    has_sync_activity,
    has_sync_operation,
    mistakes,
)
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.references import ProgramError
from temporal_fleet.entity.tracking import tracked
from temporal_fleet.entity.validation import prepared
from temporal_fleet.protocol.spec import ProgramSpec, WorkerOption

PARAMETERS = {
    name: parameter
    for name, parameter in inspect.signature(Worker.__init__).parameters.items()
    if name != "self"
}

OWNED = {
    "client": "the fleet connects the client: configure it in [cluster]",
    "task_queue": "set the pool's `task_queue`",
    "identity": "the fleet names its entities: FLEET/ENTITY.INCARNATION@HOST:PID",
    "graceful_shutdown_timeout": "set the pool's `drain`",
}
"""Arguments that no program may set, each with what to do instead."""

_DURATIONS = {name for name, parameter in PARAMETERS.items() if "timedelta" in str(parameter.annotation)}

# The SDK's own number of slots where none is configured, for activities and Nexus operations alike.
_DEFAULT_SLOTS = 100


def default_configuration() -> dict[str, Any]:
    """What Worker() is given for each argument that nobody names."""
    return {
        name: parameter.default
        for name, parameter in PARAMETERS.items()
        if parameter.default is not inspect.Parameter.empty
    }


def from_configuration(options: Mapping[str, WorkerOption]) -> dict[str, Any]:
    """The pool's `worker = {…}` as keyword arguments. Raises ProgramError."""
    refuse_foreign(options, "worker")
    return {
        name: timedelta(seconds=value)
        if name in _DURATIONS and isinstance(value, (int, float)) and not isinstance(value, bool)
        else value
        for name, value in options.items()
    }


def refuse_foreign(arguments: Iterable[str], whose: str) -> None:
    """Raise ProgramError for arguments that Worker() does not have, and for those that are ours."""
    problems = [
        f"{whose}: `{name}` is the fleet's own; {OWNED[name]}"
        if name in OWNED
        else f"{whose}: Worker() has no argument `{name}`; {_instead_of(name)}"
        for name in arguments
        if name in OWNED or name not in PARAMETERS
    ]
    if problems:
        raise ProgramError(problems[0], "\n".join(problems))


def _instead_of(name: str) -> str:
    open_to_programs = sorted(PARAMETERS.keys() - OWNED.keys())
    close = difflib.get_close_matches(name, open_to_programs, 1)
    return f"did you mean `{close[0]}`?" if close else f"it has {', '.join(open_to_programs)}"


def settle(
    arguments: dict[str, Any], spec: ProgramSpec, *, validated: bool, executions: Executions | None
) -> None:
    """Make Worker() arguments final, in place: only the kinds of work the pool wants, executors where sync
    code needs one, no second validation, runners that tell `executions` if there are. Raises ProgramError
    when nothing is left, or it cannot be run."""
    everything = contents_of_configuration(arguments)
    wanted = everything.only(spec.workers)
    if not wanted.kinds():
        raise nothing_to_run(spec, everything.kinds())
    problems = mistakes(wanted)
    if problems:
        raise ProgramError(f'program = "{spec.program}": {problems[0]}', "\n".join(problems))
    for kind, argument in ARGUMENT_OF.items():
        arguments[argument] = list(getattr(wanted, "nexus" if kind == "nexus" else argument))
    if spec.workers is not None and "activity" not in spec.workers and wanted.activities:
        arguments["no_remote_activities"] = True
    tuner: WorkerTuner | None = arguments.get("tuner")
    if arguments.get("activity_executor") is None and has_sync_activity(wanted.activities):
        slots = tuner._get_activities_max() if tuner else arguments.get("max_concurrent_activities")
        # Local ones have slots of their own, and would queue behind what runs for hours.
        local = arguments.get("max_concurrent_local_activities") if wanted.workflows else 0
        threads = (slots or _DEFAULT_SLOTS) + (_DEFAULT_SLOTS if local is None else local)
        arguments["activity_executor"] = ThreadPoolExecutor(threads, "activity")
    if arguments.get("nexus_task_executor") is None and has_sync_operation(wanted.nexus):
        slots = tuner._get_nexus_tasks_max() if tuner else arguments.get("max_concurrent_nexus_tasks")
        arguments["nexus_task_executor"] = ThreadPoolExecutor(slots or _DEFAULT_SLOTS, "nexus")
    if validated and "workflow_runner" in arguments:
        arguments["workflow_runner"] = prepared(arguments["workflow_runner"])
    if executions is not None:
        arguments.setdefault("unsandboxed_workflow_runner", UnsandboxedWorkflowRunner())
        for runner in ("workflow_runner", "unsandboxed_workflow_runner"):
            arguments[runner] = tracked(arguments[runner], executions)


def nothing_to_run(spec: ProgramSpec, kinds: list[Any], hints: Iterable[str] = ()) -> ProgramError:
    """The refusal of a program that holds `kinds`, of which the pool wants none."""
    hints = list(hints)
    if kinds:
        return ProgramError(
            f'program = "{spec.program}" has {" and ".join(kinds)} work, of which `workers` = '
            f"{list(spec.workers or ())} leaves nothing; correct `workers`, or take it away"
        )
    reason = (
        f'program = "{spec.program}" has nothing to run: no @workflow.defn class, no @activity.defn, '
        "no Nexus service handler; import them into it, or name a `module:plugin` or `module:factory`"
    )
    return ProgramError(f"{reason}; {hints[0]}" if hints else reason, "\n".join([reason, *hints]))


class Settlement(SimplePlugin):
    """The last plugin of an entity's Worker: settles what the plugins before it configured."""

    def __init__(self, spec: ProgramSpec, *, validated: bool, executions: Executions | None) -> None:
        super().__init__("temporal-fleet")
        self._spec = spec
        self._validated = validated
        self._executions = executions

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        settle(
            cast(dict[str, Any], config),
            self._spec,
            validated=self._validated,
            executions=self._executions,
        )
        return config
