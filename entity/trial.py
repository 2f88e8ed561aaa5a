"""Whether a loaded program would run: found out in the fork server for a plain module, in a throwaway fork
for a plugin or a factory, whose code may start threads and clients that no fork survives.

A refusal is certain. What cannot be known before an entity exists (a Cluster or a database that must be
reachable, something that only `after_fork` makes) is no refusal: the entity will tell.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import traceback
from dataclasses import replace
from typing import Any, NoReturn

import msgspec
import temporalio.worker
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from temporal_fleet.entity.discovery import (
    Contents,
    activity_name,
    contents_of_configuration,
    service_definition,
    workflow_name,
)
from temporal_fleet.entity.options import OWNED, default_configuration
from temporal_fleet.entity.process import die_with_parent, leave
from temporal_fleet.entity.program import (
    LoadedProgram,
    ModuleProgram,
    client_plugins,
    worker_arguments,
)
from temporal_fleet.entity.references import ProgramError, summary, trimmed_traceback, users_place
from temporal_fleet.entity.validation import sandbox_failures
from temporal_fleet.protocol.channel import Channel, ChannelClosed
from temporal_fleet.protocol.spec import ProgramSpec

TRIAL_SECONDS = 10.0
"""How long a plugin or factory may take before its trial is given up, without a verdict."""

# Nothing listens on this port: what needs a Cluster fails at once, and never talks to a real one.
_NO_CLUSTER = "127.0.0.1:1"


class Inventory(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="inventory"):
    """The names of what a program would serve."""

    workflows: list[str] = []
    activities: list[str] = []
    nexus_services: list[str] = []


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    reason: str
    detail: str


class Inconclusive(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="inconclusive"):
    cause: str


Finding = Inventory | Refusal | Inconclusive


def tried(loaded: LoadedProgram, spec: ProgramSpec) -> tuple[LoadedProgram, Inventory]:
    """The program, marked as validated if it is, and what it would serve if that can be known.

    Raises ProgramError.
    """
    match loaded.entry:
        case ModuleProgram(contents):
            _refuse_failures(asyncio.run(_failures_of(contents)), spec)
            return replace(loaded, validated=True), inventory_of(contents)
        case _:
            return _tried_apart(loaded, spec)


async def _failures_of(contents: Contents) -> list[str]:
    return sandbox_failures(contents.workflows)


def _refuse_failures(failures: list[str], spec: ProgramSpec) -> None:
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ProgramError(f'program = "{spec.program}": {failures[0]}{more}', "\n".join(failures))


def inventory_of(contents: Contents) -> Inventory:
    services = [service_definition(handler) for handler in contents.nexus]
    return Inventory(
        workflows=[workflow_name(workflow) for workflow in contents.workflows],
        activities=[activity_name(activity) for activity in contents.activities],
        nexus_services=[service.name for service in services if service is not None],
    )


def _tried_apart(loaded: LoadedProgram, spec: ProgramSpec) -> tuple[LoadedProgram, Inventory]:
    match _finding_of_fork(loaded, spec):
        case Inventory() as inventory:
            return replace(loaded, validated=True), inventory
        case Refusal(reason=reason, detail=detail):
            raise ProgramError(reason, detail)
        case Inconclusive(cause=cause):
            warning = f'program = "{spec.program}" could not be validated before its entities start: {cause}'
            return replace(loaded, warnings=(*loaded.warnings, warning)), Inventory()


def _finding_of_fork(loaded: LoadedProgram, spec: ProgramSpec) -> Finding:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _report_and_exit(loaded, spec, Channel(theirs, Finding))
    theirs.close()
    with ours:
        try:
            # The fork's own children may hold its end, so its death alone does not close it.
            if not select.select([ours], [], [], TRIAL_SECONDS)[0]:
                return Inconclusive(cause=f"it was not done after {TRIAL_SECONDS:g} s")
            finding: Finding = Channel[Finding](ours, Finding).receive()
            return finding
        except ChannelClosed:
            return Inconclusive(cause="the process that tried it died")
        finally:
            # Unreaped, so the number is still its own, and that of its process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _report_and_exit(loaded: LoadedProgram, spec: ProgramSpec, channel: Channel[Any]) -> NoReturn:
    try:
        # A group of its own, so that whatever the program starts is ended with it.
        os.setsid()
        die_with_parent()
        channel.send(asyncio.run(_finding(loaded, spec)))
    except BaseException:
        traceback.print_exc()
    leave(0)


async def _finding(loaded: LoadedProgram, spec: ProgramSpec) -> Finding:
    try:
        return await _inventory(loaded, spec)
    except ProgramError as refused:
        return Refusal(reason=refused.reason, detail=refused.detail)
    except (ImportError, SyntaxError) as error:
        # No Cluster and no after_fork brings a missing module.
        return Refusal(
            reason=f'program = "{spec.program}" fails: {_one_line(error, spec)}',
            detail=trimmed_traceback(error),
        )
    except Exception as error:
        return Inconclusive(cause=_one_line(error, spec))


def _one_line(error: BaseException, spec: ProgramSpec) -> str:
    place = users_place(error, spec.program.partition(":")[0])
    return f"{summary(error)} ({place})" if place else summary(error)


async def _inventory(loaded: LoadedProgram, spec: ProgramSpec) -> Inventory:
    Runtime.set_default(Runtime(telemetry=TelemetryConfig()))
    client = await Client.connect(_NO_CLUSTER, lazy=True, plugins=client_plugins(loaded))
    arguments = await worker_arguments(loaded, spec, client)
    ours = {
        "client": client,
        "task_queue": spec.task_queue,
        "identity": "temporal-fleet",
        "graceful_shutdown_timeout": default_configuration()["graceful_shutdown_timeout"],
    }
    configuration: Any = {**default_configuration(), **ours, **arguments}
    plugins = [p for p in client.config()["plugins"] if isinstance(p, temporalio.worker.Plugin)]
    for plugin in [*plugins, *configuration["plugins"]]:
        configuration = plugin.configure_worker(configuration)
    for name, value in ours.items():
        if configuration.get(name) != value:
            raise ProgramError(f'program = "{spec.program}" sets `{name}`, the fleet\'s own; {OWNED[name]}')
    contents = contents_of_configuration(configuration)
    _refuse_failures(
        sandbox_failures(
            contents.workflows,
            configuration["workflow_runner"],
            configuration["unsandboxed_workflow_runner"],
        ),
        spec,
    )
    return inventory_of(contents)


def report_warnings(loaded: LoadedProgram) -> None:
    for warning in loaded.warnings:
        print(f"temporal-fleet: {warning}", file=sys.stderr, flush=True)
