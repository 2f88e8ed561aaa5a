"""What a dead entity held goes on at once, whatever ended it, and whoever is gone with it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkerStatus
from temporalio.api.workflowservice.v1 import ListWorkersRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError

from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.faults.observing import agent, pid, pids
from tests.fleet import FleetUnderTest
from tests.identities import plain
from tests.system.conftest import MakeFleet
from tests.waiting import eventually, wait_until

LONG_AFTER = 45.0
"""Seconds. Without a recovery everything here would take 30 minutes."""


async def in_hand(fleet: FleetUnderTest, number: int = 1) -> None:
    await eventually(
        lambda: sum(e.inflight_activities for e in fleet.status().entities) == number,
        what=f"{number} activities are in hand",
    )


async def holder(fleet: FleetUnderTest) -> int:
    """The PID of the entity that has the one activity in hand."""
    await in_hand(fleet)
    (found,) = (e.pid for e in fleet.status().entities if e.inflight_activities)
    assert found is not None
    return found


async def start(client: Client, queue: str, name: str, argument: str | int) -> WorkflowHandle[object, str]:
    return await client.start_workflow(
        "Peril", args=[name, argument], id=f"{queue}-{name}", task_queue=queue, result_type=str
    )


async def failure_of_the_first_attempt(handle: WorkflowHandle[object, str]) -> ApplicationError:
    """What the Cluster was told of the attempt before the present one."""
    described = await handle.describe()
    (pending,) = described.raw_description.pending_activities
    converter = handle._client.data_converter
    return await converter.decode_failure(pending.last_failure)  # type: ignore[return-value]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_an_activity_is_tried_again_with_what_it_told_last(
    make: MakeFleet, dev_server: DevServer, task_queue: str, number: signal.Signals
) -> None:
    fleet = make(entities=2, program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await start(client, task_queue, "hold", "it")
    os.kill(await holder(fleet), number)
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"
    events = [event async for event in handle.fetch_history_events()]
    (started,) = (
        event.activity_task_started_event_attributes
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    told = started.last_failure
    assert told.application_failure_info.type == "WorkerEntityDied"
    assert number.name in told.message
    assert "orders-" in told.message
    assert any(b"it held" in payload.data for payload in told.application_failure_info.details.payloads)


async def test_a_standalone_activity_is_tried_again(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=2, program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await client.start_activity(
        "hold",
        "it",
        id=f"{task_queue}-alone",
        task_queue=task_queue,
        start_to_close_timeout=timedelta(minutes=30),
        result_type=str,
    )
    os.kill(await holder(fleet), signal.SIGKILL)
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"


async def test_cached_executions_go_on_without_the_sticky_time_out(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    # Long enough for a slow recovery on a busy machine: what waits it out was lost.
    pool = 'worker = { sticky_queue_schedule_to_start_timeout = "60s" }'
    fleet = make(entities=2, program="perils", pool=pool).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handles = [
        await client.start_workflow("Waiting", id=f"{task_queue}-{n}", task_queue=task_queue, result_type=str)
        for n in range(20)
    ]
    await eventually(
        lambda: sum(e.blocked_executions for e in fleet.status().entities) == 20, what="all are cached"
    )
    for number in pids(fleet.status()):
        os.kill(number, signal.SIGKILL)
    await asyncio.gather(*(handle.signal("go_on") for handle in handles))
    assert await asyncio.gather(*(handle.result() for handle in handles)) == ["went on"] * 20
    for handle in handles:
        kinds = [event.event_type async for event in handle.fetch_history_events()]
        assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in kinds, handle.id


async def test_a_dead_worker_is_not_listed_as_running(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    dead = pid(fleet, "orders-1")

    async def running() -> set[str]:
        query = ListWorkersRequest(namespace="default", query=f'TaskQueue="{task_queue}"', page_size=100)
        found = await client.workflow_service.list_workers(query, retry=True)
        return {
            plain(worker.worker_identity)
            for worker in found.workers
            if worker.status == WorkerStatus.WORKER_STATUS_RUNNING
        }

    async def listed() -> bool:
        return any(name.endswith(f":{dead}") for name in await running())

    await eventually(listed, what="it is listed while it lives")
    os.kill(dead, signal.SIGKILL)

    async def only_the_living() -> bool:
        names = await running()
        return len(names) == 1 and not any(name.endswith(f":{dead}") for name in names)

    await eventually(only_the_living, within=30, what="its replacement is listed, and it is not")


async def test_a_hung_entity_and_one_over_its_memory_are_recovered(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=2, program="perils", pool='hang = "5s"\nmemory = { kill_above = "400MiB" }').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    held = await start(client, task_queue, "hold", "it")
    os.kill(await holder(fleet), signal.SIGSTOP)
    assert await asyncio.wait_for(held.result(), LONG_AFTER) == "it 2 ['it held']"
    eaten = await start(client, task_queue, "eat", 600)
    assert await asyncio.wait_for(eaten.result(), LONG_AFTER) == "frugal"
    exits = [entity.last_exit for entity in fleet.wait_running().entities]
    assert any(ended is not None and "kill_above" in ended.cause for ended in exits)


async def test_stop_at_once_recovers_what_it_kills(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await start(client, task_queue, "hold", "it")
    await in_hand(fleet)
    assert fleet.command("stop", "--now").returncode == 0
    assert fleet.wait_stopped() == 0
    failure = await failure_of_the_first_attempt(handle)
    assert failure.type == "WorkerEntityDied"
    assert not list(fleet.run_dir.entities.glob("*.blackbox"))


async def test_a_drain_that_ends_in_a_kill_is_recovered(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=2, program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await start(client, task_queue, "hold", "it")
    number = await holder(fleet)
    (name,) = (e.id for e in fleet.status().entities if e.pid == number)
    # The command returns when it is restarted.
    restart = asyncio.create_task(asyncio.to_thread(fleet.command, "restart", name))
    await eventually(
        lambda: any(e.state == "draining" for e in fleet.status().entities), what="the entity drains"
    )
    os.kill(number, signal.SIGKILL)
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"
    assert (await restart).returncode == 0


async def test_the_next_supervisor_recovers_what_died_without_one(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=2, program="perils").start()
    client = await Client.connect(dev_server.address)
    before = fleet.wait_running()
    handle = await start(client, task_queue, "hold", "it")
    await in_hand(fleet)
    fleet.kill_supervisor()
    for number in pids(before):
        os.kill(number, signal.SIGKILL)
    fleet.start()
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"
    fleet.wait(lambda s: not s.recoveries, what="everything is recovered")
    wait_until(
        lambda: len(list(fleet.run_dir.entities.glob("*.blackbox"))) == 2, what="the old black boxes are gone"
    )


async def test_a_recovery_outlives_the_agent(make: MakeFleet, dev_server: DevServer, task_queue: str) -> None:
    fleet = make(entities=2, program="perils").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await start(client, task_queue, "hold", "it")
    number = await holder(fleet)
    helper = agent(fleet)
    helper.suspend()
    os.kill(number, signal.SIGKILL)
    fleet.wait(lambda s: s.recoveries, what="it is to be recovered")
    helper.kill()
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"
    fleet.wait(lambda s: not s.recoveries, what="everything is recovered")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A dev server to be stopped at will: its address and PID."""
    port = free_port()
    server = start_dev_server(port, tmp_path / "own-server.log")
    yield f"127.0.0.1:{port}", server.pid
    os.kill(server.pid, signal.SIGCONT)
    end_process(server)


async def test_a_recovery_waits_for_a_cluster_that_is_away(
    own_server: tuple[str, int], make: MakeFleet, task_queue: str
) -> None:
    address, server = own_server
    fleet = make(entities=2, program="perils", cluster=f'[cluster]\naddress = "{address}"').start()
    fleet.wait_running()
    client = await Client.connect(address)
    handle = await start(client, task_queue, "hold", "it")
    number = await holder(fleet)
    os.kill(server, signal.SIGSTOP)
    os.kill(number, signal.SIGKILL)
    fleet.wait(lambda s: s.recoveries and s.recoveries[0].reason, what="the recovery says why it waits")
    os.kill(server, signal.SIGCONT)
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "it 2 ['it held']"
    fleet.wait(lambda s: not s.recoveries, what="everything is recovered")


@pytest.mark.parametrize("how", ["kill", "segfault", "exit 1", "exit 0"])
async def test_a_poison_pill_is_failed_for_good_and_the_innocent_go_on(
    make: MakeFleet, dev_server: DevServer, task_queue: str, how: str
) -> None:
    pool = 'restart = { backoff = "10ms", backoff_max = "50ms" }'
    fleet = make(entities=2, program="perils", pool=pool).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    innocent = await start(client, task_queue, "hold", "it")
    await in_hand(fleet)
    poison = await start(client, task_queue, "die", how)
    with pytest.raises(WorkflowFailureError) as caught:
        await asyncio.wait_for(poison.result(), LONG_AFTER)
    assert isinstance(caught.value.cause, ActivityError)
    cause = caught.value.cause.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == ("PoisonPill", True)
    report = fleet.wait_running()
    deaths = sum(entity.restarts for entity in report.entities)
    # More where the innocent was there as often, so that three deaths do not tell them apart. They are tried
    # again apart, and on a busy machine may meet once more.
    assert 3 <= deaths <= 6
    assert cause.message.startswith(f"{deaths} entities died")
    for number in pids(report):
        os.kill(number, signal.SIGKILL)
    assert (await asyncio.wait_for(innocent.result(), LONG_AFTER)).startswith("it ")


async def test_a_workflow_that_kills_is_a_suspect_and_does_not_use_up_the_restarts(
    make: MakeFleet, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    gate = tmp_path / "deadly"
    gate.touch()
    # The Cluster waits longer from one of the run's attempts to the next: so few deaths as will do.
    pool = 'poison_after = 2\nrestart = { backoff = "10ms", backoff_max = "50ms", max_restarts = 2 }'
    fleet = make(program="perils", pool=pool).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    handle = await client.start_workflow(
        "DeadlyRun",
        str(gate),
        id=f"{task_queue}-deadly",
        task_queue=task_queue,
        result_type=str,
        task_timeout=timedelta(seconds=1),
    )
    report = fleet.wait(
        lambda s: s.suspects and s.entities[0].restarts > 3, within=90, what="it goes on killing"
    )
    (suspect,) = report.suspects
    assert (suspect.kind, suspect.workflow_id, suspect.type) == ("workflow", handle.id, "DeadlyRun")
    assert report.entities[0].state != "failed"
    gate.unlink()
    assert await asyncio.wait_for(handle.result(), LONG_AFTER) == "survived"
