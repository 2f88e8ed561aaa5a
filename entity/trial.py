"""Whether a loaded program would run: found out in the fork server for a plain module, in a throwaway fork
for a plugin or a factory, whose code may start threads and clients that no fork survives.

What a factory or a plugin raises is a refusal: it would raise it in each entity. Not so where the entity may
fare better, by a Cluster that it reaches, by GPUs of its own, by what `after_fork` makes or by a service that
is there again, or where there was no verdict in time: the entity will tell.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import traceback
from dataclasses import replace
from typing import Any, NoReturn

import msgspec
import temporalio.worker
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

from temporal_fleet.entity.code import OwnCode
from temporal_fleet.entity.connection import Endpoint, judge
from temporal_fleet.entity.discovery import (
    Contents,
    activity_name,
    contents_of_configuration,
    service_definition,
    workflow_name,
)
from temporal_fleet.entity.options import OWNED, default_configuration
from temporal_fleet.entity.passing import chain, may_pass
from temporal_fleet.entity.process import leave
from temporal_fleet.entity.program import (
    LoadedProgram,
    ModuleProgram,
    client_plugins,
    worker_arguments,
)
from temporal_fleet.entity.references import ProgramError, summary, trimmed_traceback, users_place
from temporal_fleet.entity.validation import sandbox_failures
from temporal_fleet.protocol.channel import Channel, ChannelClosed
from temporal_fleet.protocol.code import pack, unpack
from temporal_fleet.protocol.lifeline import die_with
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
    files: bytes = b""
    """Of the program's own code, packed; empty: it is known where this was found out."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    reason: str
    detail: str


class Inconclusive(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="inconclusive"):
    cause: str


Finding = Inventory | Refusal | Inconclusive


def tried(loaded: LoadedProgram, spec: ProgramSpec, own: OwnCode) -> tuple[LoadedProgram, Inventory]:
    """The program, marked as validated if it is, and what it would serve if that can be known. What of its
    own code it imports only when it is called is told to `own`.

    Raises ProgramError.
    """
    match loaded.entry:
        case ModuleProgram(contents):
            _refuse_failures(asyncio.run(_failures_of(contents)), spec)
            return replace(loaded, validated=True), inventory_of(contents)
        case _:
            return _tried_apart(loaded, spec, own)


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


def _tried_apart(loaded: LoadedProgram, spec: ProgramSpec, own: OwnCode) -> tuple[LoadedProgram, Inventory]:
    match _finding_of_fork(loaded, spec, own):
        case Inventory() as inventory:
            own.add(unpack(inventory.files))
            return replace(loaded, validated=True), inventory
        case Refusal(reason=reason, detail=detail):
            raise ProgramError(reason, detail)
        case Inconclusive(cause=cause):
            warning = f'program = "{spec.program}" could not be validated before its entities start: {cause}'
            return replace(loaded, warnings=(*loaded.warnings, warning)), Inventory()


def _finding_of_fork(loaded: LoadedProgram, spec: ProgramSpec, own: OwnCode) -> Finding:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fork_server = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with(fork_server)
        _report_and_exit(loaded, spec, own, Channel(theirs, Finding))
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


def _report_and_exit(
    loaded: LoadedProgram, spec: ProgramSpec, own: OwnCode, channel: Channel[Any]
) -> NoReturn:
    try:
        # A group of its own, so that whatever the program starts is ended with it.
        os.setsid()
        Runtime.set_default(Runtime(telemetry=TelemetryConfig()))
        finding = _finding(loaded, spec)
        if isinstance(finding, Inventory):
            finding = msgspec.structs.replace(finding, files=pack(own.files()))
        channel.send(finding)
    except BaseException:
        traceback.print_exc()
    leave(0)


def _finding(loaded: LoadedProgram, spec: ProgramSpec) -> Finding:
    try:
        return asyncio.run(_finding_of_call(loaded, spec))
    # A task that the program started may end the loop.
    except BaseException as error:
        return _finding_of_error(error, spec)


async def _finding_of_call(loaded: LoadedProgram, spec: ProgramSpec) -> Finding:
    try:
        return await _inventory(loaded, spec)
    # SystemExit included: the program's code runs here, and asyncio would show what it raises.
    except BaseException as error:
        return _finding_of_error(error, spec)


def _finding_of_error(error: BaseException, spec: ProgramSpec) -> Finding:
    if isinstance(error, ProgramError):
        return Refusal(reason=error.reason, detail=error.detail)
    cause = _one_line(error, spec)
    # Nothing that an entity has more brings a missing module.
    if not isinstance(error, (ImportError, SyntaxError)) and (
        spec.after_fork is not None or spec.gpus or may_pass(error) or _may_be_the_clusters(error)
    ):
        return Inconclusive(cause=f"it {cause}")
    return Refusal(
        reason=f'program = "{spec.program}" {cause}; correct it, set what it needs in the pool\'s `env`, or '
        "make in `after_fork` what only an entity can have",
        detail=trimmed_traceback(error),
    )


def _may_be_the_clusters(error: BaseException) -> bool:
    """Whether it comes of a Cluster that is not reached here: by what the SDK raises then, itself or for the
    program to raise another, or by a time limit of the program's own."""
    return any(judge(each, Endpoint()) is not None for each in chain(error))


def _one_line(error: BaseException, spec: ProgramSpec) -> str:
    place = users_place(error, spec.program.partition(":")[0])
    at = f" ({place})" if place else ""
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        said = f", saying {' '.join(error.code.split())!r}," if isinstance(error.code, str) else ""
        return f"exits with status {status}{said} when it is called{at}"
    return f"fails when it is called: {summary(error)}{at}"


async def _inventory(loaded: LoadedProgram, spec: ProgramSpec) -> Inventory:
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
