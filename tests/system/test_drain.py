"""What becomes of the work of an entity that leaves, or is quiet: nothing is lost, and nothing waits for a
time-out. The time-outs are far longer than any of these tests may take."""

import asyncio
from typing import Any

from temporalio.client import Client, WorkflowHandle

from temporal_fleet.protocol.report import StatusReport
from tests.conftest import DevServer
from tests.faults.observing import pid
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet

STICKY_FOR_LONG = 'worker = { sticky_queue_schedule_to_start_timeout = "5m" }'
PATIENCE = 40.0


async def start_errand(client: Client, task_queue: str, activity: str) -> WorkflowHandle[Any, str]:
    return await client.start_workflow(
        "Errand", args=[activity, 0.0], id=f"{task_queue}-{activity}", task_queue=task_queue, result_type=str
    )


async def result(handle: WorkflowHandle[Any, str]) -> str:
    return await asyncio.wait_for(handle.result(), PATIENCE)


def wait_for_activity(fleet: FleetUnderTest) -> None:
    fleet.wait(lambda s: s.entities[0].inflight_activities == 1, what="the activity runs")


def is_state(entity: str, state: str) -> Any:
    """The condition that an entity is in a state."""
    return lambda report: any((e.id, e.state) == (entity, state) for e in report.entities)


def replace(fleet: FleetUnderTest) -> None:
    """Have another entity take the place of the first, without waiting for its end."""
    done = fleet.command("restart", "orders", "--no-wait")
    assert done.returncode == 0, done.stderr


async def identities_at_work(handles: list[WorkflowHandle[Any, Any]]) -> set[str]:
    """Of the entities that did these workflows' tasks."""
    found = set()
    for handle in handles:
        for event in (await handle.fetch_history()).events:
            if event.HasField("workflow_task_completed_event_attributes"):
                found.add(event.workflow_task_completed_event_attributes.identity)
            if event.HasField("activity_task_started_event_attributes"):
                found.add(event.activity_task_started_event_attributes.identity)
    return found


async def test_an_entity_that_drains_takes_nothing_more(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="leaving", pool='drain = "10m"').start()
    leaver = fleet.wait_running().entities[0].pid
    client = await Client.connect(dev_server.address)
    await start_errand(client, task_queue, "enduring")
    wait_for_activity(fleet)
    replace(fleet)
    fleet.wait(is_state("orders-1", "draining"), what="it drains")
    fleet.wait(lambda _: fleet.entity("orders-1").pollers == 0, what="its polls have ended")
    errands = [
        await client.start_workflow(
            "Errand", args=["ship", 0.0], id=f"{task_queue}-{n}", task_queue=task_queue
        )
        for n in range(20)
    ]
    await asyncio.wait_for(asyncio.gather(*(errand.result() for errand in errands)), PATIENCE)
    at_work = await identities_at_work(errands)
    assert not [identity for identity in at_work if identity.endswith(f":{leaver}")]
    assert fleet.entity("orders-1").pid == leaver
    assert fleet.command("stop", "--now").returncode == 0


async def test_activities_hear_of_it_and_may_finish(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="leaving", pool='drain = "10m"').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    errand = await start_errand(client, task_queue, "attentive")
    wait_for_activity(fleet)
    replace(fleet)
    assert await result(errand) == "attempt 1, cancelled: False"


async def test_what_is_not_done_in_time_saves_its_progress_and_goes_on_elsewhere(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="leaving", pool='drain = "100ms"').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    errand = await start_errand(client, task_queue, "careful")
    wait_for_activity(fleet)
    replace(fleet)
    assert await result(errand) == "attempt 2 from half way"
    assert "entity.killed" not in fleet.log_text()


async def test_what_heeds_nothing_is_killed_and_recovered(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="leaving", pool='drain = "100ms"').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    errand = await start_errand(client, task_queue, "stubborn")
    wait_for_activity(fleet)
    replace(fleet)
    assert await result(errand) == "attempt 2"
    assert "entity.killed" in fleet.log_text()


async def cache_orders(client: Client, task_queue: str, count: int) -> list[WorkflowHandle[Any, str]]:
    return [
        await client.start_workflow(
            "Order", 0.0, id=f"{task_queue}-{n}", task_queue=task_queue, result_type=str
        )
        for n in range(count)
    ]


async def pay(orders: list[WorkflowHandle[Any, str]]) -> None:
    async def one(order: WorkflowHandle[Any, str]) -> str:
        await order.signal("pay")
        return await order.result()

    async with asyncio.timeout(PATIENCE):
        assert set(await asyncio.gather(*map(one, orders))) == {"done"}


async def test_no_execution_waits_for_an_entity_that_drained(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(pool=STICKY_FOR_LONG).start()
    fleet.wait_running()
    before = pid(fleet, "orders-1")
    client = await Client.connect(dev_server.address)
    orders = await cache_orders(client, task_queue, 20)
    fleet.wait(lambda s: s.entities[0].cached_executions == 20, what="all are cached")
    # A task over its sticky queue, which binds the execution to it.
    for order in orders:
        assert await order.query("paid") is False
    assert fleet.command("restart", "orders").returncode == 0
    assert fleet.entity("orders-1").pid != before
    await pay(orders)


async def test_no_execution_waits_for_an_entity_that_is_quiet(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="leaving", pool=f'drain = "100ms"\n{STICKY_FOR_LONG}').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    orders = await cache_orders(client, task_queue, 20)
    errand = await start_errand(client, task_queue, "careful")
    wait_for_activity(fleet)
    fleet.wait(lambda s: s.entities[0].cached_executions == 21, what="all are cached")
    assert fleet.command("quiet", "orders-1").returncode == 0
    report = fleet.wait(is_quiet_and_replaced, what="another has its place")
    assert [(e.id, e.state) for e in report.entities] == [("orders-1", "quiet"), ("orders-2", "ready")]
    await pay(orders)
    quiet = fleet.wait(lambda s: s.entities[0].cached_executions == 0, what="it holds none of them")
    # What it had in hand goes on, for many times what a drain would have left to it; until it is told to go.
    assert quiet.entities[0].inflight_activities == 1
    assert fleet.command("restart", "orders-1").returncode == 0
    assert await result(errand) == "attempt 2 from half way"
    fleet.wait(
        lambda s: [e.id for e in s.entities] == ["orders-2"], what="it is gone, and nobody came for it"
    )


def is_quiet_and_replaced(report: StatusReport) -> bool:
    return report.fleet.state == "running" and {e.state for e in report.entities} == {"quiet", "ready"}
