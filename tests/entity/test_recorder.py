"""The recorder: what the SDK has in hand stands in the black box, from its poll to the acknowledgement."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import temporalio.bridge.worker
from temporalio import activity
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import PollNexusTaskQueueResponse
from temporalio.bridge.proto.activity_task import ActivityTask
from temporalio.bridge.proto.nexus import CancelNexusTask, NexusTask, NexusTaskCompletion
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.client import (
    ActivityFailureError,
    ActivityHandle,
    Client,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RetryPolicy
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.worker import Worker

from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.recorder import RecordedBridge, Recorder
from temporal_fleet.protocol.blackbox import ActivityEntry, BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.holdings import ExecutionState, HeldActivity
from temporal_fleet.protocol.process import own_identity
from tests.conftest import DevServer
from tests.entity.recorded import WORKFLOWS, Recorded, new_identity, recorded_worker
from tests.waiting import eventually

ONCE = RetryPolicy(maximum_attempts=1)
MINUTE = timedelta(seconds=60)


class Activities:
    """Activities that stop where a test wants them to, and tell what the SDK told them."""

    def __init__(self) -> None:
        self.infos: list[activity.Info] = []
        self.go = threading.Event()
        self.behave: Callable[[int], Any] = lambda attempt: "done"

    async def _until_let_go(self) -> Any:
        self.infos.append(activity.info())
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        return self.behave(activity.info().attempt)

    @activity.defn
    async def waits(self) -> Any:
        return await self._until_let_go()

    @activity.defn
    def waits_in_thread(self) -> Any:
        self.infos.append(activity.info())
        assert self.go.wait(30)
        return self.behave(activity.info().attempt)

    @activity.defn
    async def beats(self) -> Any:
        self.behave(activity.info().attempt)
        return await self._until_let_go()

    @property
    def all(self) -> Sequence[Any]:
        return (self.waits, self.waits_in_thread, self.beats)


@pytest.fixture
def acts() -> Activities:
    return Activities()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


class Setting:
    """A client with an identity of its own, and what a recorded Worker needs."""

    def __init__(
        self, server: DevServer, task_queue: str, box: Path, acts: Activities, executor: ThreadPoolExecutor
    ) -> None:
        self.server = server
        self.task_queue = task_queue
        self.box = box
        self._arguments: dict[str, Any] = {
            "workflows": WORKFLOWS,
            "activities": acts.all,
            "activity_executor": executor,
        }

    async def client(self, **arguments: Any) -> Client:
        return await Client.connect(
            self.server.address, namespace=self.server.namespace, identity=new_identity(), **arguments
        )

    def worker(self, client: Client, **arguments: Any) -> Any:
        return recorded_worker(client, self.task_queue, self.box, **{**self._arguments, **arguments})

    async def start(self, client: Client, workflow: str, *args: Any) -> WorkflowHandle[Any, Any]:
        return await client.start_workflow(
            workflow, args=args, id=f"w-{self.task_queue}", task_queue=self.task_queue
        )


@pytest.fixture
def setting(
    dev_server: DevServer, task_queue: str, tmp_path: Path, acts: Activities, executor: ThreadPoolExecutor
) -> Setting:
    return Setting(dev_server, task_queue, tmp_path / "box", acts, executor)


async def one_activity(recorded: Recorded) -> HeldActivity:
    [held] = await eventually(lambda: recorded.activities, what="an activity in the black box")
    return held


async def no_activity(recorded: Recorded) -> None:
    await eventually(lambda: not recorded.activities, what="no activity in the black box")
    assert recorded.recorder.inflight_activities == 0


class Codec(PayloadCodec):
    """Takes so many seconds each time, and looks around at its end."""

    def __init__(self, seconds: float = 0, look: Callable[[str], None] = lambda what: None) -> None:
        self._seconds = seconds
        self._look = look

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(self._seconds)
        self._look("encoded")
        return [
            Payload(metadata={"encoding": b"binary/coded"}, data=payload.SerializeToString())
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(self._seconds)
        self._look("decoded")
        return [Payload.FromString(payload.data) for payload in payloads]


async def test_an_activity_is_held_while_a_codec_works_on_either_side(setting: Setting) -> None:
    seen: list[tuple[str, list[str], ExecutionState]] = []

    def look(what: str) -> None:
        holdings = read_blackbox(setting.box).holdings
        [execution] = holdings.executions
        seen.append((what, [held.activity_type for held in holdings.activities], execution.state))

    @activity.defn
    async def greet(name: str) -> str:
        look("ran")
        return f"hello {name}"

    slow = await setting.client(data_converter=DataConverter(payload_codec=Codec(1, look)))
    quick = await setting.client(data_converter=DataConverter(payload_codec=Codec()))
    async with setting.worker(slow, activities=[greet]) as recorded:
        handle = await setting.start(quick, "RunOne", "greet", ["Ada"], 60, 1)
        assert await handle.result() == "hello Ada"
        await no_activity(recorded)
    assert seen == [
        ("decoded", [], ExecutionState.RUNNING),
        ("encoded", [], ExecutionState.RUNNING),
        ("decoded", ["greet"], ExecutionState.BLOCKED),
        ("ran", ["greet"], ExecutionState.BLOCKED),
        ("encoded", ["greet"], ExecutionState.BLOCKED),
        ("decoded", [], ExecutionState.RUNNING),
        ("encoded", [], ExecutionState.RUNNING),
    ]


async def test_a_codec_that_is_slow_is_no_workflow_code_that_does_not_yield(setting: Setting) -> None:
    seen: list[list[float]] = []
    in_hand: list[bool] = []

    def look(_: str) -> None:
        seen.append(recorded.recorder.activations_for(0.5))
        in_hand.append(recorded.recorder.has_in_hand(handle.result_run_id or ""))

    slow = await setting.client(data_converter=DataConverter(payload_codec=Codec(1, look)))
    quick = await setting.client(data_converter=DataConverter(payload_codec=Codec()))
    handle = await setting.start(quick, "RunMany", "greet", 0)
    async with setting.worker(slow) as recorded:
        await handle.result()
    assert (seen[:2], in_hand[:2]) == ([[], []], [True, True])


async def test_an_activity_is_held_until_the_core_has_its_acknowledgement(
    setting: Setting, acts: Activities
) -> None:
    seen: list[list[HeldActivity]] = []

    class Beneath:
        def __init__(self, bridge: Any) -> None:
            self._bridge = bridge

        def __getattr__(self, name: str) -> Any:
            return getattr(self._bridge, name)

        async def complete_activity_task(self, comp: Any) -> None:
            await self._bridge.complete_activity_task(comp)
            seen.append(read_blackbox(setting.box).holdings.activities)

    client = await setting.client()
    async with setting.worker(client, beneath=Beneath) as recorded:
        acts.go.set()
        handle = await setting.start(client, "RunOne", "waits", [], 60, 1)
        assert await handle.result() == "done"
        await no_activity(recorded)
    assert [len(held) for held in seen] == [1]


@pytest.mark.parametrize("name", ["waits", "waits_in_thread"])
@pytest.mark.parametrize(("seconds", "from_its_start"), [(30, True), (300, False)])
async def test_what_is_held_of_an_activity(
    setting: Setting, acts: Activities, name: str, seconds: float, from_its_start: bool
) -> None:
    client = await setting.client()
    async with setting.worker(client) as recorded:
        before = time.time()
        handle = await setting.start(client, "RunOne", name, [], seconds, 1)
        held = await one_activity(recorded)
        [info] = await eventually(lambda: acts.infos, what="the activity runs")
        assert held.workflow_id == info.workflow_id == handle.id
        assert held.run_id == info.workflow_run_id == handle.first_execution_run_id
        assert held.workflow_type == "RunOne"
        assert (held.activity_id, held.activity_type, held.attempt) == (info.activity_id, name, 1)
        assert held.task_token == info.task_token
        assert before <= held.since <= time.time()
        # `RunOne` gives it 45 s in all.
        expires = (
            info.started_time.timestamp() + seconds
            if from_its_start
            else (info.scheduled_time.timestamp() + 45)
        )
        assert held.expires == pytest.approx(expires, abs=0.001)
        assert (held.details, held.details_dropped) == (b"", 0)
        assert recorded.recorder.inflight_activities == 1
        acts.go.set()
        assert await handle.result() == "done"
        await no_activity(recorded)


async def test_a_standalone_activity_is_held_with_its_own_run_id(setting: Setting, acts: Activities) -> None:
    client = await setting.client()
    async with setting.worker(client) as recorded:
        handle: ActivityHandle[Any] = await client.start_activity(
            "waits",
            id=f"a-{setting.task_queue}",
            task_queue=setting.task_queue,
            schedule_to_close_timeout=timedelta(seconds=30),
        )
        held = await one_activity(recorded)
        [info] = await eventually(lambda: acts.infos, what="the activity runs")
        assert (held.workflow_id, held.workflow_type) == ("", "")
        assert held.activity_id == handle.id
        assert held.run_id == handle.run_id == info.activity_run_id
        assert held.task_token == info.task_token
        assert held.expires == pytest.approx(info.scheduled_time.timestamp() + 30, abs=0.001)
        acts.go.set()
        assert await handle.result() == "done"
        await no_activity(recorded)


async def test_the_details_of_the_last_heartbeat_are_held_across_attempts(
    setting: Setting, acts: Activities
) -> None:
    def beat_once(attempt: int) -> None:
        if attempt == 1:
            activity.heartbeat("half", 50)
            raise RuntimeError("the first attempt fails")

    def details_of(held: HeldActivity) -> list[Any]:
        return DataConverter.default.payload_converter.from_payloads(
            list(Payloads.FromString(held.details).payloads)
        )

    client = await setting.client()
    acts.behave = beat_once
    async with setting.worker(client) as recorded:
        handle = await setting.start(client, "RunOne", "beats", [], 60, 2)
        # The second attempt has not beaten yet.
        await eventually(lambda: [info.attempt for info in acts.infos] == [2], what="the second attempt")
        held = await one_activity(recorded)
        assert (held.attempt, details_of(held)) == (2, ["half", 50])
        acts.go.set()
        await handle.result()
        await no_activity(recorded)


async def test_heartbeats_are_held_as_they_come(setting: Setting, acts: Activities) -> None:
    beats: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    @activity.defn
    async def beat() -> None:
        while details := await beats.get():
            activity.heartbeat(*details)

    def expected(*details: Any) -> bytes:
        payloads = DataConverter.default.payload_converter.to_payloads(details)
        return Payloads(payloads=payloads).SerializeToString()

    def holds(details: bytes) -> bool:
        return [held.details for held in recorded.activities] == [details]

    client = await setting.client()
    async with setting.worker(client, activities=[beat]) as recorded:
        handle = await setting.start(client, "RunOne", "beat", [], 60, 1)
        for details in [("a",), ("b", {"c": 1}), ("d",)]:
            beats.put_nowait(details)
            await eventually(
                partial(holds, expected(*details)),
                what=f"the heartbeat {details}",
            )
        large = ("x" * 100_000,)
        beats.put_nowait(large)
        await eventually(lambda: recorded.activities[0].details_dropped, what="details that are too large")
        [held] = recorded.activities
        assert (held.details, held.details_dropped) == (b"", len(expected(*large)))
        beats.put_nowait(())
        await handle.result()
        await no_activity(recorded)


async def test_a_local_activity_is_not_held(setting: Setting) -> None:
    seen: list[list[HeldActivity]] = []

    @activity.defn
    async def look() -> str:
        assert activity.info().is_local
        seen.append(read_blackbox(setting.box).holdings.activities)
        return "looked"

    client = await setting.client()
    async with setting.worker(client, activities=[look]) as recorded:
        handle = await setting.start(client, "RunLocal", "look")
        assert await handle.result() == "looked"
        assert recorded.recorder.tasks == 1
    assert seen == [[]]


async def test_an_activity_that_somebody_else_completes_is_no_longer_held(
    setting: Setting, acts: Activities
) -> None:
    def leave(_: int) -> None:
        activity.raise_complete_async()

    client = await setting.client()
    acts.behave = leave
    async with setting.worker(client) as recorded:
        handle = await setting.start(client, "RunOne", "waits", [], 60, 1)
        held = await one_activity(recorded)
        acts.go.set()
        await no_activity(recorded)
        await client.get_async_activity_handle(task_token=held.task_token).complete("elsewhere")
        assert await handle.result() == "elsewhere"


@pytest.mark.parametrize("name", ["waits", "waits_in_thread"])
async def test_each_attempt_is_held_and_a_failed_one_is_not(
    setting: Setting, acts: Activities, name: str
) -> None:
    def fail(attempt: int) -> None:
        if attempt == 2:
            acts.go.clear()
        raise RuntimeError(f"attempt {attempt}")

    client = await setting.client()
    acts.behave = fail
    async with setting.worker(client) as recorded:
        handle = await setting.start(client, "RunOne", name, [], 60, 3)
        first = await one_activity(recorded)
        acts.go.set()
        third = await eventually(
            lambda: next((held for held in recorded.activities if held.attempt == 3), None),
            what="the third attempt",
        )
        assert (first.attempt, first.activity_id) == (1, third.activity_id)
        assert first.task_token != third.task_token
        assert recorded.activities == [third]
        acts.go.set()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await no_activity(recorded)


async def test_a_cancelled_activity_is_held_until_it_ended(setting: Setting) -> None:
    cancelled, go = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def lingers() -> None:
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            cancelled.set()
            await go.wait()
            raise

    client = await setting.client()
    async with setting.worker(client, activities=[lingers]) as recorded:
        handle: ActivityHandle[Any] = await client.start_activity(
            "lingers",
            id=f"a-{setting.task_queue}",
            task_queue=setting.task_queue,
            start_to_close_timeout=MINUTE,
            heartbeat_timeout=timedelta(seconds=2),
        )
        held = await one_activity(recorded)
        await handle.cancel()
        await asyncio.wait_for(cancelled.wait(), 30)
        assert recorded.activities == [held]
        go.set()
        with pytest.raises(ActivityFailureError):
            await handle.result()
        await no_activity(recorded)


async def test_what_a_killed_worker_had_in_hand_is_read(setting: Setting, tmp_path: Path) -> None:
    client = await setting.client()
    log = tmp_path / "log"
    server, queue = setting.server, setting.task_queue
    with log.open("wb") as output:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.entity.recorded"),
                *(server.address, server.namespace, queue, str(setting.box)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        handle = await setting.start(client, "RunMany", "wait_for_ever", 20)

        def all_held() -> bool:
            assert child.poll() is None, log.read_text()
            # Not there yet, or not wholly.
            with suppress(FileNotFoundError, PeerRubbish):
                return len(read_blackbox(setting.box).holdings.activities) >= 20
            return False

        await eventually(all_held, within=60, what="20 activities in the black box")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        contents = read_blackbox(setting.box)
        described = await handle.describe()
        pending = {one.activity_id: one for one in described.raw_description.pending_activities}
        held = {one.activity_id: one for one in contents.holdings.activities}
        assert held.keys() == pending.keys() == {f"a-{index}" for index in range(20)}
        for one in held.values():
            assert (one.workflow_id, one.run_id) == (handle.id, handle.first_execution_run_id)
            assert (one.activity_type, one.attempt) == ("wait_for_ever", 1)
            assert pending[one.activity_id].last_worker_identity.startswith("recorded-")
            await client.get_async_activity_handle(task_token=one.task_token).heartbeat()
        assert contents.process.pid == child.pid
    finally:
        child.kill()
        child.wait()
        await handle.terminate()


async def test_tasks_are_counted(setting: Setting, acts: Activities) -> None:
    client = await setting.client()
    acts.go.set()
    async with setting.worker(client) as recorded:
        handle = await setting.start(client, "CountTo", 2)
        await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
        assert recorded.recorder.tasks == 1
        await handle.query("seen")
        assert recorded.recorder.tasks == 2
        recorded.worker._bridge_worker.request_workflow_eviction(handle.first_execution_run_id)
        await eventually(lambda: recorded.executions.cached == 0, what="the eviction")
        await handle.signal("tick")
        # Between the replay and the signal, which are one task in two activations, it is blocked too.
        await eventually(lambda: recorded.recorder.tasks == 3, what="the resurrection")
        assert recorded.executions.resurrections == 1
        await handle.signal("tick")
        assert await handle.result() == 2
        await eventually(lambda: recorded.recorder.tasks == 4, what="the last task")
        assert await client.execute_activity(
            "waits", id=f"a-{handle.id}", task_queue=setting.task_queue, start_to_close_timeout=MINUTE
        )
        assert recorded.recorder.tasks == 5


class BrokenBox(BlackBoxWriter):
    def hold_activity(self, activity: HeldActivity) -> ActivityEntry:
        raise ZeroDivisionError(activity.activity_type)


async def test_a_failure_to_record_costs_no_task_and_is_said_once(
    setting: Setting, acts: Activities, caplog: pytest.LogCaptureFixture
) -> None:
    client = await setting.client()
    acts.go.set()
    broken = BrokenBox(setting.box, "recorded-1", 1, own_identity())
    async with setting.worker(client, box=broken):
        handle = await setting.start(client, "RunMany", "waits", 3)
        await handle.result()
    said = [line for line in caplog.records if line.name == "temporal_fleet.entity.recorder"]
    assert len(said) == 1
    assert "ZeroDivisionError: waits" in caplog.text


@pytest.fixture
async def recorder(setting: Setting) -> Recorder:
    box = BlackBoxWriter(setting.box, "recorded-1", 1, own_identity())
    return Recorder(box, Executions(box))


def started(run_id: str) -> WorkflowActivation:
    activation = WorkflowActivation(run_id=run_id)
    activation.jobs.add().initialize_workflow.workflow_id = "w"
    return activation


def signalled(run_id: str) -> WorkflowActivation:
    activation = WorkflowActivation(run_id=run_id)
    activation.jobs.add().signal_workflow.signal_name = "s"
    return activation


def evicting(run_id: str) -> WorkflowActivation:
    activation = WorkflowActivation(run_id=run_id)
    activation.jobs.add().remove_from_cache.message = "told to"
    return activation


def states(box: Path) -> list[ExecutionState]:
    return [cached.state for cached in read_blackbox(box).holdings.executions]


async def test_the_next_task_may_come_before_the_answer_to_the_last_one_returned(
    recorder: Recorder, setting: Setting
) -> None:
    recorder.activation_taken(started("r"))
    first = recorder.activation_answered("r")
    recorder.activation_taken(signalled("r"))
    recorder.activation_given_back("r", first)
    assert states(setting.box) == [ExecutionState.RUNNING]
    second = recorder.activation_answered("r")
    recorder.activation_given_back("r", second)
    assert states(setting.box) == [ExecutionState.BLOCKED]


async def test_a_run_may_come_back_before_its_eviction_returned(recorder: Recorder, setting: Setting) -> None:
    recorder.activation_taken(started("r"))
    first = recorder.activation_answered("r")
    recorder.activation_taken(evicting("r"))
    eviction = recorder.activation_answered("r")
    assert states(setting.box) == []
    recorder.activation_given_back("r", first)
    recorder.activation_taken(started("r"))
    recorder.activation_given_back("r", eviction)
    assert states(setting.box) == [ExecutionState.RUNNING]


def activity_task(activity_id: str) -> ActivityTask:
    task = ActivityTask(task_token=activity_id.encode())
    task.start.workflow_execution.run_id = "r"
    task.start.activity_id, task.start.attempt = activity_id, 1
    return task


async def test_nexus_tasks_in_hand_are_counted(recorder: Recorder, setting: Setting) -> None:
    class Nexus:
        def __init__(self) -> None:
            self.tasks = [
                NexusTask(task=PollNexusTaskQueueResponse(task_token=b"1")),
                NexusTask(task=PollNexusTaskQueueResponse(task_token=b"2")),
                NexusTask(cancel_task=CancelNexusTask(task_token=b"2")),
            ]

        async def poll_nexus_task(self) -> NexusTask:
            return self.tasks.pop(0)

        async def complete_nexus_task(self, comp: NexusTaskCompletion) -> None:
            pass

    def in_hand() -> int:
        return read_blackbox(setting.box).holdings.nexus_tasks

    bridge = RecordedBridge(Nexus(), recorder)
    assert in_hand() == 0
    for expected in (1, 2, 2):
        await bridge.poll_nexus_task()
        assert in_hand() == expected
    assert recorder.tasks == 2
    for token, expected in ((b"2", 1), (b"2", 1), (b"1", 0)):
        await bridge.complete_nexus_task(NexusTaskCompletion(task_token=token))
        assert in_hand() == expected


async def test_an_attempt_is_known_while_it_is_in_hand_and_for_a_while_then(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.activity_taken(activity_task("1"))
    recorder.activity_given_back(b"1")
    recorder.activity_taken(activity_task("2"))
    assert recorder.took("r", "1", 1)
    monkeypatch.setattr("temporal_fleet.entity.recorder._OF_LATE", 0.0)
    recorder.activity_taken(activity_task("3"))
    assert not recorder.took("r", "1", 1)
    assert recorder.took("r", "2", 1)
    assert not recorder.took("r", "2", 2)


async def test_what_the_core_let_go_at_its_end_is_held_until_it_was_looked_at(
    recorder: Recorder, setting: Setting
) -> None:
    recorder.activation_taken(started("r"))
    recorder.activation_given_back("r", recorder.activation_answered("r"))
    recorder.activations_ended()
    assert [one.run_id for one in recorder.abandoned] == ["r"]
    assert states(setting.box) == [ExecutionState.BLOCKED]
    recorder.abandoned_freed()
    assert states(setting.box) == []


async def test_an_answer_that_the_core_refuses_leaves_nothing_in_hand(
    recorder: Recorder, setting: Setting
) -> None:
    class Refusing:
        async def poll_workflow_activation(self) -> WorkflowActivation:
            return started("r")

        async def complete_workflow_activation(self, comp: Any) -> None:
            raise RuntimeError("refused")

    bridge = RecordedBridge(Refusing(), recorder)
    activation = await bridge.poll_workflow_activation()
    assert states(setting.box) == [ExecutionState.RUNNING]
    with pytest.raises(RuntimeError, match="refused"):
        await bridge.complete_workflow_activation(activation)
    assert states(setting.box) == [ExecutionState.BLOCKED]


MOVED = (
    "the SDK's private surface moved: entity/recorder.py stands around Worker._bridge_worker (written for "
    "temporalio 1.35); read how the SDK's sub-workers poll and complete now, then change both"
)


def test_the_private_surface_of_the_sdk_is_as_it_was() -> None:
    bridge = temporalio.bridge.worker.Worker
    expected = {
        "poll_activity_task": (True, ["self"]),
        "poll_workflow_activation": (True, ["self"]),
        "poll_nexus_task": (True, ["self"]),
        "complete_activity_task": (True, ["self", "comp"]),
        "complete_workflow_activation": (True, ["self", "comp"]),
        "complete_nexus_task": (True, ["self", "comp"]),
        "record_activity_heartbeat": (False, ["self", "comp"]),
        "request_workflow_eviction": (False, ["self", "run_id"]),
    }
    found = {
        name: (inspect.iscoroutinefunction(method), list(inspect.signature(method).parameters))
        for name, method in vars(bridge).items()
        if name in expected
    }
    assert found == expected, MOVED
    # The sub-workers must look the attribute up each time, or the recorder would see nothing.
    assert inspect.getsource(Worker).count("bridge_worker=lambda: self._bridge_worker") == 3, MOVED
