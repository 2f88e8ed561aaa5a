"""Real entities killed by SIGKILL, and a real agent that sets free what they held, on the real dev server.

All time-outs of the Cluster are minutes here: what is not recovered does not go on within a test.
"""

import asyncio
import json
import os
import resource
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    ListWorkersRequest,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.exceptions import ActivityError, ApplicationError

from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.helpers import (
    ActivityVerdict,
    ClosedFound,
    FindClosed,
    Recovered,
    RecoverEntity,
    RecoveryDelayed,
)
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState, HeldActivity
from temporal_fleet.protocol.messages import Ready
from temporal_fleet.protocol.process import own_identity
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.entity.agents import AgentProcess
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec
from tests.waiting import eventually, wait_until

Handle = WorkflowHandle[Any, Any]

_STICKY_QUEUE_LENGTH = 2762
"""Where it stands in a black box."""
_OPTIONS = {"sticky_queue_schedule_to_start_timeout": 300.0}
_TASK_TIMEOUT = timedelta(seconds=110)


class Site:
    """Where entities die and are recovered."""

    def __init__(
        self, nursery: Nursery, bus: Bus, agent: AgentProcess, client: Client, run_dir: Path
    ) -> None:
        self.client = client
        self.agent = agent
        self.queue = nursery.program.task_queue
        self._nursery = nursery
        self._bus = bus
        self._run_dir = run_dir
        self._where = ClusterSpec(address=client.service_client.config.target_host)

    async def fork(self) -> Life:
        life = await asyncio.to_thread(
            self._nursery.fork, entity_spec(self._run_dir, self._nursery.program, self._where)
        )
        await asyncio.to_thread(self._bus.wait_for, Ready, life)
        await eventually(lambda: life.blackbox().sticky_queue, what="the sticky queue's name")
        return life

    def box(self, life: Life) -> Path:
        return RunDirectory(self._run_dir).blackbox(life.spec.entity, life.spec.incarnation)

    async def start(self, workflow: str, *arguments: Any, name: str = "1", **options: Any) -> Handle:
        return await self.client.start_workflow(
            workflow, args=arguments, id=f"{self.queue}-{name}", task_queue=self.queue, **options
        )

    async def cached(self, life: Life, number: int, goal: int) -> list[Handle]:
        """Executions at rest in the cache of this entity, none of which ever had a sticky task."""
        handles = [await self.start("Counting", goal, name=str(index)) for index in range(number)]

        def rest() -> bool:
            held = life.blackbox().holdings.executions
            return len([one for one in held if one.state is ExecutionState.BLOCKED]) == number

        await eventually(rest, what=f"{number} executions rest; the entity's log:\n{life.log()}")
        return handles

    def unname(self, life: Life) -> None:
        """As if it had died before it knew its sticky queue's name."""
        with self.box(life).open("r+b") as file:
            file.seek(_STICKY_QUEUE_LENGTH)
            file.write(bytes(2))
        assert life.blackbox().sticky_queue == ""

    async def kill(self, life: Life) -> None:
        os.kill(life.pid, signal.SIGKILL)
        assert await asyncio.to_thread(life.exit_code) == -signal.SIGKILL

    async def killed(self, number: int, goal: int, *, told: bool = True) -> tuple[Life, list[Handle]]:
        """An entity that died with so many executions in its cache, and another that lives."""
        dead = await self.fork()
        handles = await self.cached(dead, number, goal)
        if told:
            for handle in handles:
                await handle.signal("tell")
            for handle in handles:
                await eventually(partial(_told_once, handle), what=f"{handle.id} was told")
        await self.fork()
        await self.kill(dead)
        return dead, handles

    def order(self, life: Life, verdicts: list[ActivityVerdict] | None = None) -> None:
        self.agent.tell(
            RecoverEntity(
                entity=life.spec.entity,
                incarnation=life.spec.incarnation,
                blackbox=str(self.box(life)),
                signal="SIGKILL",
                cause="killed by SIGKILL",
                died_at=time.time(),
                verdicts=verdicts or [],
            )
        )

    async def recovered(self, life: Life, within: float = 30.0) -> Recovered:
        report = await asyncio.to_thread(self.agent.next, Recovered, within)
        assert (report.entity, report.incarnation) == (life.spec.entity, life.spec.incarnation)
        assert report.problem == "", self.agent.log()
        return report

    async def recover(self, life: Life, verdicts: list[ActivityVerdict] | None = None) -> Recovered:
        self.order(life, verdicts)
        return await self.recovered(life)


async def _told_once(handle: Handle) -> bool:
    """By its history: a query would be a sticky task of its own."""
    events = [event.event_type async for event in handle.fetch_history_events()]
    return events.count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED) == 2


async def results(handles: list[Handle]) -> list[Any]:
    async with asyncio.timeout(30):
        return list(await asyncio.gather(*(handle.result() for handle in handles)))


async def events_of(handle: Handle) -> list[str]:
    return [
        EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
        async for event in handle.fetch_history_events()
    ]


@pytest.fixture
async def site(
    subreaper: None, dev_server: DevServer, run_dir: Path, bus: Bus, task_queue: str, tmp_path: Path
) -> AsyncIterator[Site]:
    client = await Client.connect(dev_server.address)
    program = program_spec(task_queue, program="recovery_program", worker=_OPTIONS)
    nursery = await asyncio.to_thread(Nursery, program, tmp_path / "log")
    agent = AgentProcess(ClusterSpec(address=dev_server.address), tmp_path / "agent", {})
    await asyncio.to_thread(agent.next_reachable)
    yield Site(nursery, bus, agent, client, run_dir)
    agent.close()
    end_process(agent.process)
    nursery.end()


async def test_what_waits_in_the_sticky_queue_goes_on_elsewhere(site: Site) -> None:
    dead, handles = await site.killed(20, goal=2)
    for handle in handles:
        await handle.signal("tell")
    site.order(dead)
    assert await results(handles) == [2] * 20
    report = await site.recovered(dead)
    assert report.executions == 20
    # The others were on their way when the queue was released, and went to the normal one.
    assert 0 < report.tasks_freed <= 20


async def test_what_comes_after_the_recovery_does_not_go_to_the_dead(site: Site) -> None:
    dead, handles = await site.killed(4, goal=2)
    # One waits, so that the agent polls the queue, and thereby revives it.
    await handles[0].signal("tell")
    await site.recover(dead)
    for handle in handles[1:]:
        await handle.signal("tell")
    assert await results(handles) == [2] * 4


async def test_an_update_that_waits_is_answered(site: Site) -> None:
    dead, handles = await site.killed(2, goal=3)
    updates = [asyncio.create_task(handle.execute_update("tell_and_ask")) for handle in handles]
    await handles[0].signal("tell")
    await asyncio.sleep(0.1)
    site.order(dead)
    async with asyncio.timeout(30):
        assert sorted(await asyncio.gather(*updates)) in ([2, 2], [2, 3])


async def test_queries_that_wait_are_answered_and_strand_no_task(site: Site) -> None:
    """A query waits, then a signal comes: had the queue been released at once, nobody could poll its task."""
    dead, handles = await site.killed(6, goal=2)
    queries = [asyncio.create_task(handle.query("told")) for handle in handles]
    refused = asyncio.create_task(handles[0].query("refuses"))
    # They reach the Cluster one after the other, over one connection.
    await site.client.count_workflows()
    for handle in handles:
        await handle.signal("tell")
    site.order(dead)
    async with asyncio.timeout(30):
        assert set(await asyncio.gather(*queries)) <= {1, 2}
        with pytest.raises(WorkflowQueryFailedError, match="no answer to this"):
            await refused
    assert await results(handles) == [2] * 6


async def test_a_sticky_queue_whose_name_is_not_known_is_found(site: Site) -> None:
    dead, handles = await site.killed(5, goal=1, told=False)
    site.unname(dead)
    # Its first sticky task is one that it never gets.
    await handles[0].signal("tell")
    report = await site.recover(dead)
    assert report.tasks_freed == 1
    for handle in handles[1:]:
        await handle.signal("tell")
    assert await results(handles) == [1] * 5


async def test_a_sticky_queue_that_nobody_can_name_is_forgotten(site: Site) -> None:
    dead, handles = await site.killed(3, goal=1, told=False)
    site.unname(dead)
    await site.recover(dead)
    for handle in handles:
        await handle.signal("tell")
    assert await results(handles) == [1] * 3


async def test_what_a_living_entity_has_in_its_cache_is_left_there(site: Site) -> None:
    dead = await site.fork()
    (handle,) = await site.cached(dead, 1, goal=3)
    await site.kill(dead)
    await site.recover(dead)
    other = await site.fork()
    await handle.signal("tell")
    await eventually(partial(_told_once, handle), what="it was told elsewhere")
    await site.recover(dead)
    await handle.signal("tell")
    queues = [
        event.workflow_task_scheduled_event_attributes.task_queue
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    ]
    assert queues[-1].kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY
    assert queues[-1].name.startswith(other.identity())
    await handle.terminate()


async def in_hand(life: Life, folder: Path) -> None:
    await eventually((folder / str(life.pid)).exists, what=f"the task is in hand; its log:\n{life.log()}")


async def test_a_workflow_task_in_hand_is_done_elsewhere(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    dead = await site.fork()
    handle = await site.start("Busy", str(folder), 1, task_timeout=_TASK_TIMEOUT)
    await in_hand(dead, folder)
    await site.kill(dead)
    other = await site.fork()
    assert (await site.recover(dead)).tasks_freed == 1
    assert await results([handle]) == [other.pid]
    assert "WORKFLOW_TASK_TIMED_OUT" not in await events_of(handle)


async def test_the_second_attempt_of_a_workflow_task_in_hand_is_done_elsewhere(
    site: Site, tmp_path: Path
) -> None:
    """The Cluster writes no event of who has it."""
    folder = tmp_path / "busy"
    folder.mkdir()
    first = await site.fork()
    handle = await site.start("Busy", str(folder), 2, task_timeout=_TASK_TIMEOUT)
    await in_hand(first, folder)
    await site.kill(first)
    second = await site.fork()
    site.order(first)
    # Before the recovery has ended: it holds its task for 1.9 s.
    await in_hand(second, folder)
    await site.kill(second)
    await site.recovered(first)
    third = await site.fork()
    assert (await site.recover(second)).tasks_freed == 1
    assert await results([handle]) == [third.pid]


async def test_no_token_is_made_anew_where_that_is_switched_off(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    dead = await site.fork()
    site.agent.watch(
        ClusterSpec(address=site.client.service_client.config.target_host), rebuild_task_tokens=False
    )
    await asyncio.to_thread(site.agent.next_reachable)
    handle = await site.start("Busy", str(folder), 1, task_timeout=_TASK_TIMEOUT)
    await in_hand(dead, folder)
    await site.kill(dead)
    assert (await site.recover(dead)).tasks_freed == 0
    assert (await events_of(handle))[-1] == "WORKFLOW_TASK_STARTED"
    await handle.terminate()


async def held_activity(life: Life, path: Path) -> HeldActivity:
    await eventually(path.exists, what=f"the activity runs; its log:\n{life.log()}")

    def recorded() -> HeldActivity | None:
        return next((one for one in life.blackbox().holdings.activities if one.details), None)

    return await eventually(recorded, what="its heartbeat stands in the black box")


async def test_an_activity_in_hand_starts_again_elsewhere_from_its_last_heartbeat(
    site: Site, tmp_path: Path
) -> None:
    dead = await site.fork()
    handle = await site.start("Errand", str(tmp_path / "works"))
    await held_activity(dead, tmp_path / "works")
    await site.kill(dead)
    await site.fork()
    assert (await site.recover(dead)).activities_failed == 1
    assert await results([handle]) == ["attempt 2 from ['half way']"]


async def test_an_activity_that_the_dead_worker_never_read_starts_again_elsewhere(site: Site) -> None:
    dead = await site.fork()
    other = f"{site.queue}-other"
    handle = await site.start("Elsewhere", other)

    async def take(identity: str) -> PollActivityTaskQueueResponse:
        """As the SDK's core does, without a word to Python."""
        polled: PollActivityTaskQueueResponse = await site.client.workflow_service.poll_activity_task_queue(
            PollActivityTaskQueueRequest(
                namespace="default", task_queue=TaskQueue(name=other), identity=identity
            ),
            timeout=timedelta(seconds=60),
        )
        return polled

    assert (await take(dead.blackbox().identity)).attempt == 1
    await eventually(lambda: bool(dead.blackbox().holdings.executions), what="it is cached")
    assert not dead.blackbox().holdings.activities
    await site.kill(dead)
    assert (await site.recover(dead)).activities_failed == 1
    again = await take("somebody else")
    assert again.attempt == 2
    # What somebody else has in hand is left to him.
    assert (await site.recover(dead)).activities_failed == 0
    await handle.terminate()


async def test_the_failure_of_an_activity_says_what_killed_its_entity(site: Site, tmp_path: Path) -> None:
    dead = await site.fork()
    handle = await site.start("Errand", str(tmp_path / "works"))
    held = await held_activity(dead, tmp_path / "works")
    await site.kill(dead)
    await site.recover(dead, [ActivityVerdict(task_token=held.task_token, retry_after=300.0)])
    (pending,) = (await handle.describe()).raw_description.pending_activities
    assert pending.attempt == 2
    assert 290 < pending.current_retry_interval.seconds <= 300
    failure = pending.last_failure
    assert failure.application_failure_info.type == "WorkerEntityDied"
    assert not failure.application_failure_info.non_retryable
    death, heartbeat = failure.application_failure_info.details.payloads
    assert json.loads(death.data) == {
        "entity": "orders-1",
        "incarnation": dead.spec.incarnation,
        "signal": "SIGKILL",
        "cause": "killed by SIGKILL",
    }
    assert json.loads(heartbeat.data) == "half way"
    await handle.terminate()


async def test_a_poison_pill_is_failed_for_good(site: Site, tmp_path: Path) -> None:
    dead = await site.fork()
    handle = await site.start("Errand", str(tmp_path / "works"))
    held = await held_activity(dead, tmp_path / "works")
    await site.kill(dead)
    await site.fork()
    verdict = ActivityVerdict(task_token=held.task_token, poison="it killed 3 entities")
    assert (await site.recover(dead, [verdict])).activities_failed == 1
    with pytest.raises(WorkflowFailureError) as failed:
        await results([handle])
    activity = failed.value.cause
    assert isinstance(activity, ActivityError)
    pill = activity.cause
    assert isinstance(pill, ApplicationError)
    assert pill.type == "PoisonPill"
    assert pill.non_retryable
    assert "it killed 3 entities" in str(pill)
    assert pill.details[0]["entity"] == "orders-1"


async def test_a_standalone_activity_starts_again_elsewhere(site: Site, tmp_path: Path) -> None:
    dead = await site.fork()
    handle = await site.client.start_activity(
        "work",
        str(tmp_path / "works"),
        id=site.queue,
        task_queue=site.queue,
        start_to_close_timeout=timedelta(minutes=10),
    )
    held = await held_activity(dead, tmp_path / "works")
    assert held.workflow_id == ""
    await site.kill(dead)
    await site.fork()
    assert (await site.recover(dead)).activities_failed == 1
    async with asyncio.timeout(30):
        assert await handle.result() == "attempt 2 from ['half way']"


async def test_what_ended_meanwhile_is_refused_and_counted(site: Site, tmp_path: Path) -> None:
    dead = await site.fork()
    handle = await site.start("Errand", str(tmp_path / "works"))
    await held_activity(dead, tmp_path / "works")
    await site.kill(dead)
    await handle.terminate()
    report = await site.recover(dead)
    assert report.activities_failed == 0
    assert report.refused == 1
    # As good as the first time, and no harm.
    assert (await site.recover(dead)).refused == 1


async def test_a_dead_worker_is_taken_off_the_list(site: Site) -> None:
    dead = await site.fork()
    await eventually(partial(_listed, site, dead), what="the living Worker is listed")
    await site.kill(dead)
    assert (await site.recover(dead)).worker_reported
    assert not await _listed(site, dead)


async def test_a_worker_that_started_after_the_death_stays_on_the_list(site: Site) -> None:
    life = await site.fork()
    await eventually(partial(_listed, site, life), what="the living Worker is listed")
    site.agent.tell(_order(site.box(life), died_at=time.time() - 3600))
    assert not (await asyncio.to_thread(site.agent.next, Recovered)).worker_reported
    assert await _listed(site, life)


async def _listed(site: Site, life: Life) -> bool:
    request = ListWorkersRequest(namespace="default", query=f'WorkerIdentity="{life.identity()}"')
    answer = await site.client.workflow_service.list_workers(request, retry=True)
    return bool(answer.workers)


async def test_closed_executions_are_found_among_the_blocked(site: Site) -> None:
    life = await site.fork()
    handles = await site.cached(life, 4, goal=1)
    await handles[1].terminate()
    await handles[2].terminate()
    site.agent.tell(FindClosed(entity="orders-1", incarnation=7, blackbox=str(site.box(life)), at_most=10))
    found = await asyncio.to_thread(site.agent.next, ClosedFound)
    assert (found.entity, found.incarnation) == ("orders-1", 7)
    assert set(found.run_ids) == {handles[1].result_run_id, handles[2].result_run_id}


async def test_no_more_executions_are_asked_for_than_told(site: Site) -> None:
    life = await site.fork()
    handles = await site.cached(life, 4, goal=1)
    for handle in handles:
        await handle.terminate()
    site.agent.tell(FindClosed(entity="orders-1", incarnation=7, blackbox=str(site.box(life)), at_most=3))
    found = await asyncio.to_thread(site.agent.next, ClosedFound)
    oldest = sorted(life.blackbox().holdings.executions, key=lambda held: held.last_activity)[:3]
    assert set(found.run_ids) == {held.run_id for held in oldest}


@pytest.fixture
def agent(dev_server: DevServer, tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(ClusterSpec(address=dev_server.address), tmp_path / "agent", {})
    yield agent
    agent.close()
    end_process(agent.process)


def test_more_closed_executions_than_fit_a_message_do_not_stop_what_comes_after(
    agent: AgentProcess, tmp_path: Path
) -> None:
    box = _box(tmp_path / "box")
    for number in range(8000):
        box.hold_execution(_execution(f"w-{number}", ExecutionState.BLOCKED, closed=True))
    order = FindClosed(entity="orders-1", incarnation=3, blackbox=str(tmp_path / "box"), at_most=8000)
    agent.tell(order)
    wait_until(lambda: "a ClosedFound was left out" in agent.log(), what="what does not fit is told of")
    agent.tell(msgspec.structs.replace(order, at_most=3))
    assert len(agent.next(ClosedFound).run_ids) == 3


def test_a_black_box_that_cannot_be_read_is_a_problem_that_is_told(
    agent: AgentProcess, tmp_path: Path
) -> None:
    (tmp_path / "box").write_bytes(b"rubbish")
    for name in ("box", "absent"):
        agent.tell(_order(tmp_path / name))
        assert str(tmp_path / name) in agent.next(Recovered).problem


def test_what_nobody_thought_of_is_a_problem_that_is_told(agent: AgentProcess, tmp_path: Path) -> None:
    agent.tell(_order(tmp_path / "null\0byte"))
    assert "null byte" in agent.next(Recovered).problem


def test_a_black_box_is_read_once_there_are_files_to_be_had(agent: AgentProcess, tmp_path: Path) -> None:
    _box(tmp_path / "box").hold_execution(_execution("w", ExecutionState.BLOCKED))
    agent.next_reachable()
    pid = agent.process.pid
    allowed = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, allowed[1]))
    agent.tell(_order(tmp_path / "box"))
    assert "open files" in agent.next(RecoveryDelayed).reason
    resource.prlimit(pid, resource.RLIMIT_NOFILE, allowed)
    report = agent.next(Recovered)
    assert (report.problem, report.executions) == ("", 1)


def test_an_execution_that_is_gone_is_no_outage_whatever_its_id(agent: AgentProcess, tmp_path: Path) -> None:
    _box(tmp_path / "box").hold_execution(_execution("namespace-7", ExecutionState.RUNNING))
    agent.next_reachable()
    agent.tell(_order(tmp_path / "box"))
    report = agent.next(Recovered)
    assert report.refused > 0
    assert report.problem == ""


@pytest.mark.parametrize("wrong", ["address", "namespace"])
def test_a_recovery_turns_to_the_cluster_that_is_named_later(
    dev_server: DevServer, tmp_path: Path, wrong: str
) -> None:
    _box(tmp_path / "box").hold_execution(_execution("w", ExecutionState.BLOCKED))
    if wrong == "address":
        before = ClusterSpec(address=f"127.0.0.1:{free_port()}")
    else:
        before = ClusterSpec(address=dev_server.address, namespace="absent")
    agent = AgentProcess(before, tmp_path / "agent", {})
    try:
        agent.tell(_order(tmp_path / "box"))
        assert agent.next(RecoveryDelayed).reason
        agent.watch(ClusterSpec(address=dev_server.address))
        report = agent.next(Recovered)
        assert (report.problem, report.executions) == ("", 1)
    finally:
        agent.close()
        end_process(agent.process)


async def test_a_recovery_is_kept_until_the_cluster_is_back(
    subreaper: None, run_dir: Path, bus: Bus, task_queue: str, tmp_path: Path
) -> None:
    port = free_port()
    server = await asyncio.to_thread(start_dev_server, port, tmp_path / "server")
    where = ClusterSpec(address=f"127.0.0.1:{port}")
    nursery = Nursery(program_spec(task_queue, program="recovery_program", worker=_OPTIONS), tmp_path / "log")
    agent = AgentProcess(where, tmp_path / "agent", {})
    try:
        await asyncio.to_thread(agent.next_reachable)
        client = await Client.connect(f"127.0.0.1:{port}")
        site = Site(nursery, bus, agent, client, run_dir)
        dead = await site.fork()
        handle = await site.start("Errand", str(tmp_path / "works"))
        await held_activity(dead, tmp_path / "works")
        server.send_signal(signal.SIGSTOP)
        assert not (await asyncio.to_thread(agent.next_state)).reachable
        await site.kill(dead)
        site.order(dead)
        delayed = await asyncio.to_thread(agent.next, RecoveryDelayed)
        assert delayed.incarnation == dead.spec.incarnation
        assert f"127.0.0.1:{port}" in delayed.reason
        server.send_signal(signal.SIGCONT)
        assert (await site.recovered(dead)).activities_failed == 1
        await site.fork()
        assert await results([handle]) == ["attempt 2 from ['half way']"]
    finally:
        server.send_signal(signal.SIGCONT)
        agent.close()
        end_process(agent.process)
        nursery.end()
        end_process(server)


def test_what_has_become_pointless_is_given_up(tmp_path: Path) -> None:
    box = _box(tmp_path / "box")
    now = time.time()
    box.hold_activity(
        HeldActivity(
            workflow_id="w",
            run_id="r",
            workflow_type="Errand",
            activity_id="1",
            activity_type="work",
            attempt=1,
            task_token=b"token",
            since=now - 60,
            expires=now + 1,
        )
    )
    agent = AgentProcess(ClusterSpec(address=f"127.0.0.1:{free_port()}"), tmp_path / "agent", {})
    try:
        agent.tell(_order(tmp_path / "box", died_at=now - 3600))
        assert agent.next(RecoveryDelayed).reason
        report = agent.next(Recovered)
        assert report.problem.startswith("given up")
        assert report.activities_failed == 0
    finally:
        agent.close()
        end_process(agent.process)


def _order(box: Path, died_at: float | None = None) -> RecoverEntity:
    return RecoverEntity(
        entity="orders-1",
        incarnation=3,
        blackbox=str(box),
        signal="SIGKILL",
        cause="killed by SIGKILL",
        died_at=time.time() if died_at is None else died_at,
    )


def _box(path: Path) -> BlackBoxWriter:
    box = BlackBoxWriter(path, "orders-1", 3, own_identity())
    box.write_identity("shop/orders-1@host:1")
    return box


def _execution(workflow_id: str, state: ExecutionState, *, closed: bool = False) -> CachedExecution:
    """One that the Cluster does not know."""
    return CachedExecution(
        workflow_id=workflow_id,
        run_id=str(uuid.uuid4()),
        workflow_type="Counting",
        since=time.time(),
        state=state,
        closed=closed,
        last_activity=time.time(),
        history_events=4,
        replayed_events=0,
    )
