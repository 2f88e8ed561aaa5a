"""The table of executions on a real Worker: what it counts, what stands in the black box, and that workflow
code sees nothing of it."""

import asyncio
import dataclasses
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import temporalio.bridge.worker
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError
from temporalio.worker import (
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.tracking import TrackedInstance, tracked
from temporal_fleet.entity.validation import PreparedSandbox, prepared
from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.holdings import ExecutionState
from temporal_fleet.protocol.process import own_identity
from tests.conftest import DevServer
from tests.entity import cached_workflows
from tests.entity.caches import WORKFLOWS, Cache, running_cache
from tests.waiting import eventually

KINDS = ["Patient", "Unboxed"]
"""Sandboxed, and not."""


@pytest.fixture
async def client(dev_server: DevServer) -> Client:
    identity = f"caches@{os.getpid()}"
    return await Client.connect(dev_server.address, namespace=dev_server.namespace, identity=identity)


@pytest.fixture
def executions(tmp_path: Path) -> Executions:
    return Executions(BlackBoxWriter(tmp_path / "box", "orders-1", 1, own_identity()))


async def events(handle: Any) -> list[Any]:
    return [event async for event in handle.fetch_history_events()]


def counts(cache: Cache) -> dict[str, int]:
    executions = cache.executions
    return {
        "cached": executions.cached,
        "blocked": executions.blocked,
        "evictions": executions.evictions,
        "resurrections": executions.resurrections,
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_an_execution_is_cached_from_its_first_task_until_it_closes(
    client: Client, task_queue: str, tmp_path: Path, kind: str
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.blocked(kind)
        found = await cache.rests(handle)
        assert (found.workflow_id, found.run_id, found.workflow_type) == (
            handle.id,
            handle.first_execution_run_id,
            kind,
        )
        assert (found.closed, found.replayed_events) == (False, 0)
        assert found.since <= found.last_activity
        assert counts(cache) == {"cached": 1, "blocked": 1, "evictions": 0, "resurrections": 0}
        await handle.signal("tell")
        await eventually(lambda: cache.recorded()[found.run_id].history_events > found.history_events)
        assert (await cache.rests(handle)).last_activity > found.last_activity
        await handle.signal("finish")
        assert await handle.result() == 1
        await cache.holds(0)
        # It left by itself.
        assert counts(cache) == {"cached": 0, "blocked": 0, "evictions": 0, "resurrections": 0}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_evicted_execution_that_comes_back_is_a_resurrection_with_its_events(
    client: Client, task_queue: str, tmp_path: Path, kind: str
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.blocked(kind)
        await handle.signal("tell")
        assert await handle.execute_update("tell_and_ask") == 2
        await cache.rests(handle)
        before = len(await events(handle))
        assert handle.first_execution_run_id is not None
        cache.worker.request_eviction(handle.first_execution_run_id)
        await cache.holds(0)
        assert counts(cache)["evictions"] == 1
        assert await handle.execute_update("tell_and_ask") == 3
        found = await cache.rests(handle)
        # Up to the last task that is in the history; what followed from it is counted with what is new.
        assert 0.5 * before < found.replayed_events <= before
        assert found.history_events > before
        assert counts(cache) == {"cached": 1, "blocked": 1, "evictions": 1, "resurrections": 1}
        await handle.signal("finish")
        assert await handle.result() == 3
        await cache.holds(0)
        assert counts(cache)["evictions"] == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_queries_resurrect_once_and_are_answered_from_the_cache_then(
    client: Client, task_queue: str, tmp_path: Path, kind: str
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.blocked(kind)
        await handle.signal("tell")
        assert await handle.query("told") == 1
        assert counts(cache)["resurrections"] == 0
        await cache.evict()
        assert counts(cache) == {"cached": 0, "blocked": 0, "evictions": 1, "resurrections": 0}
        for _ in range(3):
            assert await handle.query("told") == 1
        found = await cache.rests(handle)
        assert counts(cache) == {"cached": 1, "blocked": 1, "evictions": 1, "resurrections": 1}
        assert found.replayed_events == found.history_events == len(await events(handle))


async def test_a_full_cache_evicts_by_itself(client: Client, task_queue: str, tmp_path: Path) -> None:
    async with running_cache(client, task_queue, tmp_path, max_cached_workflows=2) as cache:
        handles = [await cache.blocked("Patient", name=str(number)) for number in range(4)]
        await cache.holds(2)
        assert counts(cache) == {"cached": 2, "blocked": 2, "evictions": 2, "resurrections": 0}
        assert {one.workflow_id for one in cache.recorded().values()} == {one.id for one in handles[2:]}
        for handle in handles:
            await handle.signal("finish")
            assert await handle.result() == 0
        await cache.holds(0)
        assert counts(cache)["resurrections"] >= 2


async def test_one_with_a_local_activity_in_flight_is_running(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def at_home() -> str:
        begun.set()
        await go.wait()
        return "at home"

    async with running_cache(client, task_queue, tmp_path, activities=[at_home]) as cache:
        handle = await cache.start("AtHome")
        await asyncio.wait_for(begun.wait(), 20)

        # The SDK's core took the activation's answer before it started the activity, or is about to return.
        def reported() -> bool:
            (found,) = cache.recorded().values()
            return found.history_events > 0

        await eventually(reported, what="the activation is answered")
        (found,) = cache.recorded().values()
        assert found.state is ExecutionState.RUNNING
        assert counts(cache)["blocked"] == 0
        assert (await cache.order()).evicted == 0
        go.set()
        await cache.rests(handle)
        assert counts(cache) == {"cached": 1, "blocked": 1, "evictions": 0, "resurrections": 0}
        await handle.signal("finish")
        assert await handle.result() == "at home"


async def test_each_run_of_a_continued_one_is_an_execution(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.start("Generations", 3)
        # Each run has one task.
        await eventually(lambda: cache.worker.recorder.tasks == 4, what="the last run begins")
        await eventually(lambda: counts(cache)["blocked"] == 1, what="it is at rest")
        await cache.holds(1)
        ((run_id, found),) = cache.recorded().items()
        assert found.workflow_id == handle.id
        assert run_id != handle.first_execution_run_id
        assert counts(cache) == {"cached": 1, "blocked": 1, "evictions": 0, "resurrections": 0}
        await handle.signal("finish")
        assert await handle.result() == run_id


async def test_timers_run_on_in_the_cache(client: Client, task_queue: str, tmp_path: Path) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        assert await (await cache.start("Naps", 5)).result() == 5
        await cache.holds(0)
        assert counts(cache) == {"cached": 0, "blocked": 0, "evictions": 0, "resurrections": 0}


async def test_failed_and_cancelled_executions_leave_closed(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        with pytest.raises(WorkflowFailureError):
            await (await cache.start("Fails", name="fails")).result()
        cancelled = await cache.blocked("Patient", name="cancelled")
        await cancelled.cancel()
        with pytest.raises(WorkflowFailureError):
            await cancelled.result()
        await cache.holds(0)
        assert counts(cache)["evictions"] == 0


async def test_an_unknown_workflow_does_not_stay_in_the_table(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.start("Nobody")

        async def failed() -> bool:
            return any(
                event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
                for event in await events(handle)
            )

        await eventually(failed, what="its Workflow Task fails")
        await handle.terminate()
        await cache.holds(0)


async def test_a_workflow_that_does_not_yield_is_found_out_and_evicted(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    cached_workflows.Sticks.stuck = False
    async with running_cache(client, task_queue, tmp_path) as cache:
        handle = await cache.start("Sticks")
        assert await handle.result() == "free"
        (failure,) = [
            event.workflow_task_failed_event_attributes.failure
            for event in await events(handle)
            if event.HasField("workflow_task_failed_event_attributes")
        ]
        assert "TMPRL1101" in failure.message
        # The SDK asked the instance for its thread: where it was stuck is told.
        assert "while True" in failure.stack_trace or "cached_workflows" in failure.stack_trace
        await cache.holds(0)


@pytest.fixture
def breakpoint_hook() -> Iterator[None]:
    """Debug mode replaces the process's own."""
    hook = sys.breakpointhook
    yield
    sys.breakpointhook = hook


@pytest.mark.parametrize("debug", [False, True])
async def test_the_sandbox_holds(
    client: Client, task_queue: str, tmp_path: Path, breakpoint_hook: None, debug: bool
) -> None:
    async with running_cache(client, task_queue, tmp_path, debug_mode=debug) as cache:
        result = await (await cache.start("Trespasses", name="trespasses")).result()
        assert result == "RestrictedWorkflowAccessError"
        # Debug mode exchanges the runner for a changed copy.
        await cache.blocked("Patient", name="patient")
        assert counts(cache)["blocked"] == 1


async def test_histories_replay_with_the_bare_sdk(client: Client, task_queue: str, tmp_path: Path) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handles = [
            await cache.blocked("Patient", name="patient"),
            await cache.start("Naps", 3, name="naps"),
            await cache.blocked("AtHome", name="at-home"),
        ]
        assert await handles[0].execute_update("tell_and_ask") == 1
        await cache.evict()
        await handles[0].signal("tell")
        for handle in (handles[0], handles[2]):
            await handle.signal("finish")
        for handle in handles:
            await handle.result()
        histories = [await handle.fetch_history() for handle in handles]
    for history in histories:
        await Replayer(workflows=WORKFLOWS).replay_workflow(history)


class Counting(SandboxedWorkflowRunner):
    """A user's own sandbox."""

    created = 0

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        Counting.created += 1
        return super().create_instance(det)


class Delegating(WorkflowRunner):
    """A user's own runner, of no type that the SDK knows."""

    def __init__(self) -> None:
        self.prepared: list[str | None] = []
        self.created: list[str] = []
        self.failure_types: Sequence[type[BaseException]] | None = None
        self._inner = UnsandboxedWorkflowRunner()

    def prepare_workflow(self, defn: Any) -> None:
        self.prepared.append(defn.name)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        self.created.append(det.info.workflow_type)
        return self._inner.create_instance(det)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        self.failure_types = types


async def test_a_runner_of_the_users_own_is_asked(client: Client, task_queue: str, tmp_path: Path) -> None:
    runner = Delegating()
    async with running_cache(
        client,
        task_queue,
        tmp_path,
        workflows=[cached_workflows.Patient],
        workflow_runner=runner,
        workflow_failure_exception_types=[ValueError],
    ) as cache:
        handle = await cache.blocked("Patient")
        assert (runner.prepared, runner.created) == (["Patient"], ["Patient"])
        assert list(runner.failure_types or ()) == [ValueError]
        await cache.evict()
        await handle.signal("finish")
        assert await handle.result() == 0
        assert counts(cache)["resurrections"] == 1


async def test_a_sandbox_of_the_users_own_stays_one(client: Client, task_queue: str, tmp_path: Path) -> None:
    Counting.created = 0
    async with running_cache(
        client,
        task_queue,
        tmp_path,
        workflows=[cached_workflows.Patient],
        workflow_runner=Counting(),
        debug_mode=False,
    ) as cache:
        await cache.blocked("Patient")
        # Once to validate it, once to run it.
        assert Counting.created == 2
        assert counts(cache)["blocked"] == 1


@pytest.mark.parametrize("kind", [SandboxedWorkflowRunner, PreparedSandbox, Counting])
def test_a_sandbox_is_recognised_and_survives_replace(
    kind: type[SandboxedWorkflowRunner], executions: Executions
) -> None:
    original = kind(restrictions=SandboxRestrictions.default.with_passthrough_modules("shop"))
    runner = tracked(original, executions)
    assert isinstance(runner, kind)
    assert type(original) is kind
    assert runner.restrictions == original.restrictions
    changed = dataclasses.replace(runner, restrictions=SandboxRestrictions.default)
    assert type(changed) is type(runner)
    assert type(changed).create_instance is not kind.create_instance
    assert changed.restrictions == SandboxRestrictions.default


def test_the_unsandboxed_runner_is_recognised(executions: Executions) -> None:
    assert isinstance(tracked(UnsandboxedWorkflowRunner(), executions), UnsandboxedWorkflowRunner)


def test_a_prepared_sandbox_stays_prepared(executions: Executions) -> None:
    runner = tracked(prepared(SandboxedWorkflowRunner()), executions)
    # Without an event loop, a validation would fail.
    runner.prepare_workflow(None)  # type: ignore[arg-type]


def test_everything_of_an_instance_passes_through() -> None:
    """Whatever a new version of the SDK asks an instance for, the tracked one has to hand on."""
    asked = {
        name
        for name, value in vars(WorkflowInstance).items()
        if inspect.isfunction(value) and not name.startswith("__")
    }
    assert asked <= vars(TrackedInstance).keys()


async def test_the_sdk_has_the_private_parts_that_entities_use(client: Client, task_queue: str) -> None:
    """What is missing here has moved in the SDK: find its new place before the version range is widened."""
    worker = Worker(client, task_queue=task_queue, workflows=WORKFLOWS)
    assert isinstance(worker._bridge_worker, temporalio.bridge.worker.Worker)
    assert list(inspect.signature(worker._bridge_worker.request_workflow_eviction).parameters) == ["run_id"]
    # Of a run that it never heard of.
    worker._bridge_worker.request_workflow_eviction("00000000-0000-0000-0000-000000000000")
    async with worker:
        handle = await client.start_workflow("Patient", id=task_queue, task_queue=task_queue)

        async def told() -> bool:
            try:
                return bool(await handle.query("told") == 0)
            except RPCError:
                return False

        await eventually(told, what="the workflow answers")
