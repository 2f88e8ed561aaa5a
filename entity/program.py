"""A Worker Program: from the reference in the config to what the SDK's Worker() is called with.

Loading happens once, in the fork server; the arguments are made in each entity. Which processes there
are, and when they fork, is not known here.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.discovery import (
    Contents,
    contents_of_module,
    is_activity,
    is_workflow,
    mistakes,
)
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.options import (
    Settlement,
    from_configuration,
    nothing_to_run,
    refuse_foreign,
    settle,
)
from temporal_fleet.entity.references import ProgramError, attribute_of, import_program, resolve
from temporal_fleet.entity.validation import PreparedSandbox
from temporal_fleet.protocol.spec import ProgramSpec

__all__ = [
    "FactoryProgram",
    "LoadedProgram",
    "ModuleProgram",
    "PluginProgram",
    "ProgramError",
    "client_plugins",
    "load",
    "resolve",
    "worker_arguments",
]


@dataclass(frozen=True)
class ModuleProgram:
    """What a plain module holds."""

    contents: Contents


@dataclass(frozen=True)
class PluginProgram:
    """A plugin, or a class of them, of which each entity makes its own."""

    plugin: temporalio.worker.Plugin | type[temporalio.worker.Plugin]


@dataclass(frozen=True)
class FactoryProgram:
    """A callable that returns Worker() keyword arguments, called in each entity."""

    factory: Callable[..., Any]
    takes_client: bool


@dataclass(frozen=True)
class LoadedProgram:
    """A program that is imported. Forked entities share it."""

    reference: str
    entry: ModuleProgram | PluginProgram | FactoryProgram
    warnings: tuple[str, ...] = ()
    """What is likely not as its author meant it; each names place and remedy."""
    validated: bool = False
    """Its workflows passed the sandbox: entities need not ask again."""


def load(spec: ProgramSpec) -> LoadedProgram:
    """Import a program and whatever else of the user's an entity will need. Calls none of it.

    Raises ProgramError: an import that fails, a name that is not there, nothing to run.
    """
    module_name, colon, attribute = spec.program.partition(":")
    module = import_program(module_name, "program")
    warnings: tuple[str, ...] = ()
    entry: ModuleProgram | PluginProgram | FactoryProgram
    if colon:
        entry = _entry(attribute_of(module, attribute, "program"), spec)
    else:
        contents, idle = contents_of_module(module)
        if not contents.only(spec.workers).kinds():
            raise nothing_to_run(spec, contents.kinds(), idle)
        problems = mistakes(contents.only(spec.workers))
        if problems:
            raise ProgramError(f'program = "{spec.program}": {problems[0]}', "\n".join(problems))
        entry = ModuleProgram(contents.only(spec.workers))
        warnings = tuple(f'program = "{spec.program}": {line}' for line in idle)
    if spec.after_fork is not None and not callable(resolve(spec.after_fork, "after_fork")):
        raise ProgramError(f'after_fork = "{spec.after_fork}" is not callable; name a function')
    if spec.data_converter is not None:
        converter = resolve(spec.data_converter, "data_converter")
        if not isinstance(converter, DataConverter) and not callable(converter):
            raise ProgramError(
                f'data_converter = "{spec.data_converter}" is a {type(converter).__name__}; name a '
                "temporalio.converter.DataConverter, a class of it, or a callable that returns one"
            )
    from_configuration(spec.worker)
    return LoadedProgram(spec.program, entry, warnings)


def _entry(value: Any, spec: ProgramSpec) -> PluginProgram | FactoryProgram:
    place = f'program = "{spec.program}"'
    if isinstance(value, temporalio.worker.Plugin):
        return PluginProgram(value)
    if isinstance(value, type) and issubclass(value, temporalio.worker.Plugin):
        if not _accepts(value):
            raise ProgramError(
                f"{place}: a plugin class is made without arguments, and {value.__name__} needs some; make "
                "an instance at module level and name that"
            )
        return PluginProgram(value)
    if is_workflow(value) or is_activity(value):
        raise ProgramError(
            f'{place} is a workflow or an activity; name its module alone: "{spec.program.partition(":")[0]}"'
        )
    if not callable(value):
        raise ProgramError(
            f"{place} is a {type(value).__name__}; name a temporalio.worker.Plugin, or a callable that "
            "returns Worker() keyword arguments"
        )
    takes_client = _takes_client(value)
    if not (_accepts(value, None) if takes_client else _accepts(value)):
        raise ProgramError(
            f"{place}: a factory takes the connected client or nothing, and {spec.program.partition(':')[2]}"
            f"{inspect.signature(value)} takes more"
        )
    return FactoryProgram(value, takes_client)


def _takes_client(factory: Callable[..., Any]) -> bool:
    """Whether the first parameter is for the client: a parameter with a default and another name is the
    factory's own matter."""
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return parameter.default is parameter.empty or parameter.name == "client"
        if parameter.kind is parameter.VAR_POSITIONAL:
            return False
    return False


def _accepts(value: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError:
        return False
    return True


def client_plugins(loaded: LoadedProgram) -> list[temporalio.client.Plugin]:
    """What the client of an entity must be connected with: a plugin program that configures clients too
    (data converter, interceptors). The SDK hands it on to the Worker by itself."""
    match loaded.entry:
        case PluginProgram(plugin):
            made = plugin() if isinstance(plugin, type) else plugin
            return [made] if isinstance(made, temporalio.client.Plugin) else []
        case _:
            return []


async def worker_arguments(
    loaded: LoadedProgram, spec: ProgramSpec, client: Client, executions: Executions | None = None
) -> dict[str, Any]:
    """What the program and the pool's `worker = {…}` say of Worker()'s keyword arguments; the config wins.
    Not among them: those of `options.OWNED`, which the fleet adds. What they run is told to `executions`.

    Raises ProgramError, and whatever the program's own factory or plugin class raises. When the program
    has plugins, some refusals come out of Worker() itself.
    """
    on_client = [p for p in client.config()["plugins"] if isinstance(p, temporalio.worker.Plugin)]
    arguments: dict[str, Any]
    match loaded.entry:
        case ModuleProgram(contents):
            arguments = {
                "workflows": list(contents.workflows),
                "activities": list(contents.activities),
                "nexus_service_handlers": [
                    handler() if isinstance(handler, type) else handler for handler in contents.nexus
                ],
            }
        case PluginProgram(plugin):
            arguments = {"plugins": _plugins_for_worker(plugin, on_client)}
        case FactoryProgram():
            arguments = await _from_factory(loaded.entry, spec, client)
    arguments |= from_configuration(spec.worker)
    arguments.setdefault(
        "workflow_runner", PreparedSandbox() if loaded.validated else SandboxedWorkflowRunner()
    )
    plugins = list(arguments.get("plugins", ()))
    if plugins or on_client:
        settlement = Settlement(spec, validated=loaded.validated, executions=executions)
        arguments["plugins"] = [*plugins, settlement]
    else:
        settle(arguments, spec, validated=loaded.validated, executions=executions)
    return arguments


def _plugins_for_worker(
    plugin: temporalio.worker.Plugin | type[temporalio.worker.Plugin],
    on_client: Sequence[temporalio.worker.Plugin],
) -> list[temporalio.worker.Plugin]:
    if isinstance(plugin, type):
        return [] if any(type(present) is plugin for present in on_client) else [plugin()]
    return [] if any(present is plugin for present in on_client) else [plugin]


async def _from_factory(entry: FactoryProgram, spec: ProgramSpec, client: Client) -> dict[str, Any]:
    made = entry.factory(client) if entry.takes_client else entry.factory()
    if inspect.isawaitable(made):
        made = await made
    if not isinstance(made, Mapping):
        raise ProgramError(
            f'program = "{spec.program}" returned a {type(made).__name__}; a factory returns a dict of '
            "Worker() keyword arguments"
        )
    refuse_foreign(made, f'program = "{spec.program}"')
    return dict(made)
