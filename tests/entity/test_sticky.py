"""Learning the sticky queue's name: what stands in the black box is what the Cluster knows the queue by."""

import socket
import threading
from pathlib import Path

from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from temporal_fleet.entity.sticky import sticky_queue_name
from tests.conftest import DevServer
from tests.entity.recorded import WORKFLOWS, CountTo, Recorded, new_identity, recorded_worker
from tests.entity.servers import in_front_of, served
from tests.waiting import eventually


async def sticky_queues(handle: WorkflowHandle[CountTo, int]) -> list[str]:
    """In the order of its history."""
    history = await handle.fetch_history()
    queues = [
        event.workflow_task_scheduled_event_attributes.task_queue
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    ]
    return [queue.name for queue in queues if queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY]


async def start(client: Client, task_queue: str) -> WorkflowHandle[CountTo, int]:
    return await client.start_workflow(CountTo.run, 100, id=f"w-{task_queue}", task_queue=task_queue)


async def tick(handle: WorkflowHandle[CountTo, int], recorded: Recorded) -> None:
    """Signal it, and wait until its Workflow Task is done."""
    before = recorded.recorder.tasks
    await handle.signal(CountTo.tick)
    await eventually(
        lambda: (
            recorded.recorder.tasks > before and recorded.executions.blocked == recorded.executions.cached
        ),
        what="the task of a signal",
    )


async def learnt(recorded: Recorded) -> str:
    return await eventually(lambda: recorded.contents.sticky_queue, what="the sticky queue's name")


async def test_the_name_is_the_one_in_history(dev_server: DevServer, task_queue: str, tmp_path: Path) -> None:
    client = await Client.connect(dev_server.address, identity=new_identity())
    async with recorded_worker(client, task_queue, tmp_path / "box", workflows=WORKFLOWS) as recorded:
        handle = await start(client, task_queue)
        await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
        await handle.query(CountTo.seen)
        assert recorded.contents.sticky_queue == ""
        await tick(handle, recorded)
        name = await learnt(recorded)
        assert [name] == await sticky_queues(handle)
        assert name.startswith(f"{client.identity}-")
        assert not recorded.sticky_queue.wanted
        await handle.terminate()


async def test_an_update_tells_the_name_although_its_task_is_written_late(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    client = await Client.connect(dev_server.address, identity=new_identity())
    async with recorded_worker(client, task_queue, tmp_path / "box", workflows=WORKFLOWS) as recorded:
        handle = await start(client, task_queue)
        await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
        assert await handle.execute_update(CountTo.count) == 1
        assert [await learnt(recorded)] == await sticky_queues(handle)
        await handle.terminate()


async def test_an_earlier_life_under_the_same_identity_is_not_taken_for_this_one(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    identity = new_identity()
    names = []
    for life in ("first", "second"):
        client = await Client.connect(dev_server.address, identity=identity)
        async with recorded_worker(client, task_queue, tmp_path / life, workflows=WORKFLOWS) as recorded:
            if life == "first":
                handle = await start(client, task_queue)
                await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
            else:
                # Its history names the first life's queue.
                await tick(handle, recorded)
                assert recorded.executions.resurrections == 1
                assert recorded.contents.sticky_queue == ""
            await tick(handle, recorded)
            names.append(await learnt(recorded))
    assert names[0] != names[1]
    assert names == list(dict.fromkeys(await sticky_queues(handle)))
    await handle.terminate()


def scheduled(kind: TaskQueueKind.ValueType, name: str) -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
    queue = event.workflow_task_scheduled_event_attributes.task_queue
    queue.name, queue.kind = name, kind
    return event


def test_only_the_latest_task_tells_the_name() -> None:
    ours = scheduled(TaskQueueKind.TASK_QUEUE_KIND_STICKY, "shop/orders-1@host:42-abc")
    normal = scheduled(TaskQueueKind.TASK_QUEUE_KIND_NORMAL, "shop/orders-1@host:42-abc")
    begun = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
    assert sticky_queue_name([begun, ours, normal], "shop/orders-1@host:42") == "shop/orders-1@host:42-abc"
    assert sticky_queue_name([begun, normal, ours], "shop/orders-1@host:42") is None
    assert sticky_queue_name([begun, ours], "shop/orders-1@host:4") is None
    assert sticky_queue_name([begun], "shop/orders-1@host:42") is None


async def test_a_cluster_that_is_away_only_delays_it(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    """The Worker has its Cluster; whoever reads the history finds it away at first."""
    away, turned_away = threading.Event(), threading.Event()
    connections: list[socket.socket] = []
    forward = in_front_of(dev_server.address)

    def gate(connection: socket.socket) -> None:
        if away.is_set():
            turned_away.set()
            return
        connections.append(connection)
        forward(connection)

    client = await Client.connect(dev_server.address, identity=new_identity())
    with served(gate) as address:
        reader = await Client.connect(address, identity=client.identity)
        away.set()
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)
        async with recorded_worker(
            client, task_queue, tmp_path / "box", workflows=WORKFLOWS, reader=reader
        ) as recorded:
            handle = await start(client, task_queue)
            await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
            await tick(handle, recorded)
            await eventually(turned_away.is_set, what="an attempt to read the history")
            away.clear()
            assert [await learnt(recorded)] == await sticky_queues(handle)
            await handle.terminate()
