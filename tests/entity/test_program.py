"""What a program may be, what is found in it, what Worker() is called with, and what is refused."""

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_fleet.entity.discovery import service_definition
from temporal_fleet.entity.program import (
    FactoryProgram,
    LoadedProgram,
    ModuleProgram,
    PluginProgram,
    ProgramError,
    client_plugins,
    load,
    worker_arguments,
)
from temporal_fleet.entity.validation import PreparedSandbox
from temporal_fleet.protocol.spec import ProgramSpec
from tests.conftest import DevServer

Write = Callable[..., ProgramSpec]

_numbers = itertools.count(1)

WORKFLOW = """
from temporalio import workflow

@workflow.defn
class Hello:
    @workflow.run
    async def run(self) -> str:
        return "hello"
"""

ACTIVITY = """
from temporalio import activity

@activity.defn
def greet(name: str) -> str:
    return name
"""

NEXUS = """
import nexusrpc
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

@nexusrpc.service
class Till:
    charge: nexusrpc.Operation[int, int]

@service_handler(service=Till)
class TillHandler:
    @sync_operation
    async def charge(self, ctx: StartOperationContext, amount: int) -> int:
        return amount
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a program's source; gives the spec of a pool that runs it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write_program(source: str, *, attribute: str = "", **settings: Any) -> ProgramSpec:
        module = f"program_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        program = f"{module}:{attribute}" if attribute else module
        return ProgramSpec(program=program, path=str(tmp_path), task_queue="orders", **settings)

    yield write_program
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def arguments_of(spec: ProgramSpec, dev_server: DevServer, *, validated: bool = False) -> dict[str, Any]:
    """The configuration of the Worker that an entity makes, by the SDK's own account."""

    async def make() -> dict[str, Any]:
        loaded = replace(load(spec), validated=validated)
        client = await Client.connect(dev_server.address, plugins=client_plugins(loaded))
        arguments = await worker_arguments(loaded, spec, client)
        worker = Worker(client, task_queue=spec.task_queue, **arguments)
        return dict(worker.config(active_config=True))

    return asyncio.run(make())


def contents(spec: ProgramSpec) -> tuple[list[str], list[str], list[str]]:
    loaded = load(spec)
    assert isinstance(loaded.entry, ModuleProgram)
    found = loaded.entry.contents
    return (
        [workflow.__name__ for workflow in found.workflows],
        [getattr(activity, "__name__", type(activity).__name__) for activity in found.activities],
        [service.name for handler in found.nexus if (service := service_definition(handler)) is not None],
    )


def refusal(spec: ProgramSpec) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        load(spec)
    assert "\n" not in caught.value.reason
    return caught.value


def test_module_with_all_kinds(write: Write) -> None:
    assert contents(write(WORKFLOW + ACTIVITY + NEXUS)) == (["Hello"], ["greet"], ["Till"])


def test_names_imported_from_elsewhere_count_once(write: Write) -> None:
    elsewhere = write(WORKFLOW + ACTIVITY).program
    spec = write(f"from {elsewhere} import Hello, greet\nfrom {elsewhere} import greet as salute\n")
    assert contents(spec) == (["Hello"], ["greet"], [])


def test_methods_of_instances_at_module_level_are_activities(write: Write) -> None:
    source = """
from temporalio import activity

class Base:
    @activity.defn
    async def refund(self) -> str:
        return self.card

    @activity.defn
    async def overridden(self) -> None: ...

class Payments(Base):
    def __init__(self, card):
        self.card = card

    @activity.defn
    async def charge(self) -> str:
        return self.card

    async def overridden(self) -> None:
        "No activity any more."

    @property
    def unsafe(self):
        raise AssertionError("looked at")

class Callable_:
    @activity.defn(name="callable")
    async def __call__(self) -> None: ...

payments = Payments("visa")
also_payments = payments
refund = payments.refund
called = Callable_()
"""
    loaded = load(write(source))
    assert isinstance(loaded.entry, ModuleProgram)
    activities = loaded.entry.contents.activities
    assert sorted(getattr(a, "__name__", "-") for a in activities) == ["__call__", "charge", "refund"]
    charge = next(a for a in activities if a.__name__ == "charge")
    assert asyncio.run(charge()) == "visa"


def test_looking_wakes_up_nothing(write: Write) -> None:
    source = """
from unittest.mock import MagicMock

class Lazy:
    @property
    def __class__(self):
        raise AssertionError("woken up")

    def __getattr__(self, name):
        raise AssertionError(f"asked for {name}")

    def __eq__(self, other):
        raise AssertionError("compared")

lazy = Lazy()
mock = MagicMock()
"""
    assert contents(write(ACTIVITY + source)) == ([], ["greet"], [])


def test_a_class_whose_instance_is_missing_is_a_warning(write: Write) -> None:
    source = """
class Payments:
    @activity.defn
    async def charge(self) -> None: ...
"""
    (warning,) = load(write(ACTIVITY + source)).warnings
    assert "class Payments" in warning
    assert "make one at module level" in warning


def test_workers_choose_among_what_there_is(write: Write) -> None:
    source = WORKFLOW + ACTIVITY + NEXUS
    assert contents(write(source, workers=("activity",))) == ([], ["greet"], [])
    # Its workflows may run them as local ones.
    assert contents(write(source, workers=("workflow", "nexus"))) == (["Hello"], ["greet"], ["Till"])
    assert contents(write(source, workers=("nexus",))) == ([], [], ["Till"])


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        ("x = 1", {}, "has nothing to run"),
        (ACTIVITY, {"workers": ("workflow", "nexus")}, "has activity work, of which `workers`"),
        (ACTIVITY + "\nsalute = activity.defn(name='greet')(lambda: None)", {}, '"greet" is used 2 times'),
        ("import nowhere_at_all", {}, "No module named 'nowhere_at_all' ("),
        ("def f():\n    import json\n    json.loads('{')\nf()", {}, ".py:3)"),
        ("x = = 1", {}, "SyntaxError: invalid syntax ("),
        ("raise SystemExit(3)", {}, 'put what runs it under `if __name__ == "__main__":`'),
        ("class Odd(BaseException): ...\nraise Odd('so')", {}, "Odd: so ("),
        (ACTIVITY, {"attribute": "greeet"}, "has no `greeet`; correct the name"),
        (ACTIVITY, {"attribute": "greet"}, "name its module alone"),
        (WORKFLOW, {"attribute": "Hello"}, "name its module alone"),
        ("x = 1", {"attribute": "x"}, "is a int; name a temporalio.worker.Plugin"),
        ("def make(a, b): ...", {"attribute": "make"}, "make(a, b) takes more"),
        (ACTIVITY, {"after_fork": "nothing_here:reconnect"}, "there is no module `nothing_here`"),
        (ACTIVITY, {"after_fork": "json"}, 'is not of the form "module:attribute"'),
        (ACTIVITY, {"after_fork": "json:__name__"}, "is not callable"),
        (ACTIVITY, {"data_converter": "json:dumpz"}, "has no `dumpz`"),
        (ACTIVITY, {"data_converter": "json:__name__"}, "is a str; name a"),
        (ACTIVITY, {"worker": {"max_polls": 3}}, "Worker() has no argument `max_polls`"),
        (ACTIVITY, {"worker": {"task_queue": "x"}}, "set the pool's `task_queue`"),
    ],
)
def test_refusals_say_what_and_where(
    write: Write, source: str, settings: dict[str, Any], expected: str
) -> None:
    spec = write(source, **settings)
    error = refusal(spec)
    assert expected in error.reason
    assert error.detail


def test_the_traceback_is_the_users_alone(write: Write) -> None:
    error = refusal(write("def f():\n    raise ValueError('no price')\nf()"))
    assert error.detail.splitlines()[0] == "Traceback (most recent call last):"
    assert "importlib" not in error.detail
    assert "references.py" not in error.detail
    assert error.detail.splitlines()[-1] == "ValueError: no price"


def test_a_missing_program_is_told_from_a_program_that_misses_something(tmp_path: Path) -> None:
    (tmp_path / "holder").mkdir()
    sys.path.insert(0, str(tmp_path))
    try:
        error = refusal(ProgramSpec(program="holder.absent", path=str(tmp_path), task_queue="q"))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("holder", None)
    assert "there is no module `holder.absent`" in error.reason
    assert str(tmp_path) in error.reason


def test_sync_activities_get_a_pool_of_threads_of_the_right_size(write: Write, dev_server: DevServer) -> None:
    executor = arguments_of(write(ACTIVITY), dev_server)["activity_executor"]
    assert isinstance(executor, ThreadPoolExecutor)
    assert executor._max_workers == 100
    executor = arguments_of(write(ACTIVITY, worker={"max_concurrent_activities": 7}), dev_server)[
        "activity_executor"
    ]
    assert executor._max_workers == 7


def test_async_activities_get_none(write: Write, dev_server: DevServer) -> None:
    source = ACTIVITY.replace("def greet", "async def greet")
    assert arguments_of(write(source), dev_server)["activity_executor"] is None


def test_sync_nexus_operations_get_threads(write: Write, dev_server: DevServer) -> None:
    assert arguments_of(write(NEXUS), dev_server)["nexus_task_executor"] is None
    source = """
import nexusrpc
from nexusrpc.handler import OperationHandler, StartOperationResultSync, operation_handler, service_handler

class Charge(OperationHandler[int, int]):
    def start(self, ctx, input):
        return StartOperationResultSync(input)

    def cancel(self, ctx, token): ...

@service_handler
class Till:
    @operation_handler
    def charge(self) -> OperationHandler[int, int]:
        return Charge()
"""
    executor = arguments_of(write(source, worker={"max_concurrent_nexus_tasks": 3}), dev_server)[
        "nexus_task_executor"
    ]
    assert executor._max_workers == 3


def test_durations_of_the_config_become_the_sdks(write: Write, dev_server: DevServer) -> None:
    options = {"sticky_queue_schedule_to_start_timeout": 2.5, "nonsticky_to_sticky_poll_ratio": 0.5}
    configuration = arguments_of(write(WORKFLOW, worker=options), dev_server)
    assert configuration["sticky_queue_schedule_to_start_timeout"] == timedelta(seconds=2.5)
    assert configuration["nonsticky_to_sticky_poll_ratio"] == 0.5


def test_only_a_validated_program_skips_validation(write: Write, dev_server: DevServer) -> None:
    before = arguments_of(write(WORKFLOW), dev_server)["workflow_runner"]
    after = arguments_of(write(WORKFLOW), dev_server, validated=True)["workflow_runner"]
    assert type(before) is SandboxedWorkflowRunner
    assert isinstance(after, PreparedSandbox)
    restrictions = after.restrictions.with_passthrough_modules("shop")
    assert isinstance(replace(after, restrictions=restrictions), PreparedSandbox)


FACTORY = """
from concurrent.futures import ThreadPoolExecutor
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

pool = ThreadPoolExecutor(3)
runner = SandboxedWorkflowRunner(SandboxRestrictions.default.with_passthrough_modules("shop"))
clients = []

def make(client):
    clients.append(client)
    return {"workflows": [Hello], "activities": [greet], "activity_executor": pool, "workflow_runner": runner,
            "max_concurrent_activities": 3, "max_cached_workflows": 5}

async def make_alone(option=None):
    return {"activities": [greet]}

def make_owned():
    return {"activities": [greet], "identity": "me", "task_queue": "mine"}

def make_unknown():
    return {"activities": [greet], "actvities": [greet]}

def make_unlike():
    return {"activities": [greet], "colour": "red"}

def make_list():
    return [greet]

def make_undecorated():
    return {"activities": [make_list]}

class Maker:
    def __call__(self):
        return {"workflows": [Hello]}

maker = Maker()
"""


def test_factory_with_the_client(write: Write, dev_server: DevServer) -> None:
    spec = write(WORKFLOW + ACTIVITY + FACTORY, attribute="make", worker={"max_cached_workflows": 9})
    configuration = arguments_of(spec, dev_server, validated=True)
    module = sys.modules[spec.program.partition(":")[0]]
    assert configuration["client"] is module.clients[0]
    assert configuration["activity_executor"] is module.pool
    assert configuration["max_cached_workflows"] == 9, "the config wins"
    runner = configuration["workflow_runner"]
    assert isinstance(runner, PreparedSandbox)
    assert runner.restrictions == module.runner.restrictions


@pytest.mark.parametrize(("name", "kind"), [("make_alone", "activities"), ("maker", "workflows")])
def test_factory_without_it(write: Write, dev_server: DevServer, name: str, kind: str) -> None:
    configuration = arguments_of(write(WORKFLOW + ACTIVITY + FACTORY, attribute=name), dev_server)
    assert len(configuration[kind]) == 1


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("make_owned", {}, "`identity` is the fleet's own; the fleet names its entities"),
        ("make_unknown", {}, "Worker() has no argument `actvities`; did you mean `activities`?"),
        ("make_unlike", {}, "Worker() has no argument `colour`; it has activities, activity_executor, "),
        ("make_list", {}, "returned a list"),
        ("make_undecorated", {}, "make_list ("),
        ("maker", {"workers": ("activity",)}, "has workflow work, of which `workers`"),
    ],
)
def test_factories_that_are_refused(
    write: Write, dev_server: DevServer, name: str, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ProgramError) as caught:
        arguments_of(write(WORKFLOW + ACTIVITY + FACTORY, attribute=name, **settings), dev_server)
    assert expected in caught.value.reason


PLUGINS = """
import dataclasses
import temporalio.worker
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin

converter = DataConverter()

def let_through(runner):
    return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules("shop"))

plugin = SimplePlugin(
    "shop", workflows=[Hello], activities=[greet], data_converter=converter, workflow_runner=let_through
)

class Plugin(SimplePlugin):
    def __init__(self):
        super().__init__("shop", activities=[greet])

class WorkerPlugin(temporalio.worker.Plugin):
    def configure_worker(self, config):
        config["activities"] = [greet]
        config["deployment_config"] = temporalio.worker.WorkerDeploymentConfig(
            version=temporalio.common.WorkerDeploymentVersion("shop", "1"), use_worker_versioning=False
        )
        return config

    async def run_worker(self, worker, next):
        await next(worker)

    def configure_replayer(self, config):
        return config

    def run_replayer(self, replayer, histories, next):
        return next(replayer, histories)

worker_plugin = WorkerPlugin()
"""


def test_simple_plugin(write: Write, dev_server: DevServer) -> None:
    spec = write(WORKFLOW + ACTIVITY + PLUGINS, attribute="plugin")
    configuration = arguments_of(spec, dev_server, validated=True)
    module = sys.modules[spec.program.partition(":")[0]]
    assert configuration["workflows"] == [module.Hello]
    assert configuration["activities"] == [module.greet]
    assert isinstance(configuration["activity_executor"], ThreadPoolExecutor)
    assert configuration["client"].data_converter is module.converter
    runner = configuration["workflow_runner"]
    assert isinstance(runner, PreparedSandbox)
    assert "shop" in runner.restrictions.passthrough_modules


@pytest.mark.parametrize("name", ["Plugin", "WorkerPlugin", "worker_plugin"])
def test_other_plugins(write: Write, dev_server: DevServer, name: str) -> None:
    spec = write(WORKFLOW + ACTIVITY + PLUGINS, attribute=name)
    assert isinstance(load(spec).entry, PluginProgram)
    configuration = arguments_of(spec, dev_server)
    assert len(configuration["activities"]) == 1
    assert isinstance(configuration["activity_executor"], ThreadPoolExecutor)


def test_workers_choose_among_what_a_plugin_brings(write: Write, dev_server: DevServer) -> None:
    spec = write(WORKFLOW + ACTIVITY + PLUGINS, attribute="plugin", workers=("workflow",))
    configuration = arguments_of(spec, dev_server)
    assert len(configuration["activities"]) == len(configuration["workflows"]) == 1
    assert configuration["no_remote_activities"]
    spec = write(WORKFLOW + ACTIVITY + PLUGINS, attribute="plugin", workers=("activity",))
    configuration = arguments_of(spec, dev_server)
    assert (configuration["workflows"], configuration["no_remote_activities"]) == ([], False)


def test_a_class_of_plugins_is_made_anew_for_each_entity(write: Write) -> None:
    loaded: LoadedProgram = load(write(WORKFLOW + ACTIVITY + PLUGINS, attribute="Plugin"))
    (first,), (second,) = client_plugins(loaded), client_plugins(loaded)
    assert first is not second


def test_a_factory_is_not_called_by_loading(write: Write) -> None:
    source = "def make():\n    raise AssertionError('called')"
    assert isinstance(load(write(source, attribute="make")).entry, FactoryProgram)
