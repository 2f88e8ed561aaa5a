"""The fleet does its users' work: real workflows and activities, through deaths, drains and restarts."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowHandle

from tests.conftest import DevServer
from tests.fleet import PROGRAMS, FleetUnderTest
from tests.identities import plain
from tests.system.conftest import MakeFleet
from tests.waiting import eventually


async def place_orders(client: Client, task_queue: str, count: int) -> list[WorkflowHandle[Any, Any]]:
    return [
        await client.start_workflow("Order", 0.0, id=f"{task_queue}-{n}", task_queue=task_queue)
        for n in range(count)
    ]


async def pay(handles: list[WorkflowHandle[Any, Any]]) -> list[str]:
    await asyncio.gather(*(handle.signal("pay") for handle in handles))
    return list(await asyncio.gather(*(handle.result() for handle in handles)))


def kill(fleet: FleetUnderTest, name: str) -> None:
    pid = fleet.entity(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_every_order_completes_although_entities_are_killed(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(entities=3).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    orders = await place_orders(client, task_queue, 30)
    kill(fleet, "orders-1")
    kill(fleet, "orders-2")
    fleet.wait(lambda s: s.fleet.state == "running" and s.entities[1].incarnation == 2, what="both are back")
    assert await pay(orders) == ["done"] * 30
    assert [entity.restarts for entity in fleet.status().entities] == [1, 1, 0]


async def test_the_cluster_knows_an_entity_by_its_identity(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    # One entity: the server describes one partition of a queue, which need not have pollers of each.
    fleet = make_fleet().start()
    report = fleet.wait_running()
    expected = f"test/orders-1.1@{socket.gethostname()}:{report.entities[0].pid}"
    client = await Client.connect(dev_server.address)

    async def known() -> bool:
        """Whether exactly they poll, for workflows and for activities."""
        for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
            described = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace="default", task_queue=TaskQueue(name=task_queue), task_queue_type=kind
                ),
                retry=True,
            )
            if {plain(poller.identity) for poller in described.pollers} != {expected}:
                return False
        return True

    await eventually(known, what=f"pollers {expected}")


async def test_a_drain_lets_a_running_activity_finish(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(pool='drain = "60s"').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    errand = await client.start_workflow(
        "Errand", args=["charge", 10.0], id=f"{task_queue}-errand", task_queue=task_queue
    )
    fleet.wait(lambda s: s.entities[0].inflight_activities == 1, what="the activity runs")
    assert fleet.stop() == 0
    history = await errand.fetch_history()
    completed = [e for e in history.events if e.HasField("activity_task_completed_event_attributes")]
    assert len(completed) == 1


async def test_open_orders_survive_a_stop_of_the_embedded_cluster(
    make_fleet: MakeFleet, task_queue: str, tmp_path: Path
) -> None:
    fleet = make_fleet(cluster='[cluster.embedded]\nport = 0\ndatabase = "dev.db"').start()
    first = fleet.wait_running()
    orders = await place_orders(await Client.connect(first.cluster.address), task_queue, 5)
    assert fleet.stop() == 0
    fleet.start()
    second = fleet.wait_running()
    client = await Client.connect(second.cluster.address)
    again = [client.get_workflow_handle(handle.id) for handle in orders]
    assert await pay(again) == ["done"] * 5
    assert fleet.stop() == 0


async def test_a_program_may_own_our_names_whatever_the_python_path(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for name in ("entity", "protocol", "supervisor"):
        package = source / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"OWNER = 'the user, {name}'\n")
    (source / "program.py").write_text(
        "import entity, protocol, supervisor\n"
        "from temporalio import activity, workflow\n"
        "from datetime import timedelta\n"
        "@activity.defn\n"
        "async def owners() -> list[str]:\n"
        "    return [entity.OWNER, protocol.OWNER, supervisor.OWNER]\n"
        "@workflow.defn\n"
        "class Owners:\n"
        "    @workflow.run\n"
        "    async def run(self) -> list[str]:\n"
        "        return await workflow.execute_activity(\n"
        "            'owners', start_to_close_timeout=timedelta(seconds=30), result_type=list[str])\n"
    )
    fleet = make_fleet(program="program", environment={"PYTHONPATH": str(source)})
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{source}"')
    fleet.start().wait_running()
    client = await Client.connect(dev_server.address)
    owners = await client.execute_workflow(
        "Owners", id=f"{task_queue}-owners", task_queue=task_queue, result_type=list[str]
    )
    assert owners == [f"the user, {name}" for name in ("entity", "protocol", "supervisor")]


def test_the_json_of_status_has_the_fields_that_scripts_hold_to(make_fleet: MakeFleet) -> None:
    fleet = make_fleet().start()
    fleet.wait_running()
    shown = fleet.command("status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert {"name", "pid", "state", "generation", "uptime_s"} <= status["fleet"].keys()
    assert {"address", "namespace", "reachable"} <= status["cluster"].keys()
    assert {"name", "task_queue", "desired", "ready"} <= status["pools"][0].keys()
    (entity,) = status["entities"]
    assert entity["id"] == "orders-1"
    assert entity["last_exit"] is None
    assert entity["rss_bytes"] > entity["pss_bytes"] > 1_000_000
    counts = ("cached_executions", "blocked_executions", "evictions", "resurrections", "inflight_activities")
    assert [entity[name] for name in counts] == [0] * len(counts)
