"""Orders to evict: which executions they mean, and what a real Worker does of them."""

import asyncio
import os
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.client import Client

from temporal_fleet.entity import evictor
from temporal_fleet.entity.evictor import Evictor, choose
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.memory import own_memory
from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.holdings import ExecutionState
from temporal_fleet.protocol.messages import Evict, Evicted
from temporal_fleet.protocol.process import own_identity
from tests.conftest import DevServer
from tests.entity.caches import running_cache
from tests.entity.conftest import Cluster, Fork
from tests.entity.lives import Bus
from tests.waiting import eventually

NOW = 1000.0
KIB = 1024


def order(**conditions: object) -> Evict:
    return Evict(entity="orders-1", incarnation=1, request="r", **conditions)  # type: ignore[arg-type]


@pytest.fixture
def executions(tmp_path: Path) -> Executions:
    """Of runs a to f: a was active 60 s ago, b 50 s ago, … f 10 s ago; d is running, e is closed."""
    executions = Executions(BlackBoxWriter(tmp_path / "box", "orders-1", 1, own_identity()))
    for number, run_id in enumerate("fbdeca"):
        activation = WorkflowActivation(run_id=run_id)
        start = activation.jobs.add().initialize_workflow
        start.workflow_id, start.workflow_type = f"order-{number}", "Order"
        executions.taken(activation)
        if run_id != "d":
            executions.given_back(run_id)
        execution = executions.find(run_id)
        assert execution is not None
        execution.last_activity = NOW - 60 + 10 * "abcdef".index(run_id)
        execution.closed = run_id == "e"
    return executions


@pytest.mark.parametrize(
    ("conditions", "chosen", "passed_over"),
    [
        ({}, "eabcf", 0),
        ({"at_most": 2}, "ea", 0),
        ({"at_most": 0}, "", 0),
        ({"idle": 40.0}, "abc", 0),
        ({"idle": 1000.0}, "", 0),
        ({"keep": 2}, "abc", 0),
        ({"keep": 6}, "", 0),
        ({"keep": 100}, "", 0),
        ({"idle": 40.0, "keep": 5, "at_most": 3}, "a", 0),
        ({"run_ids": ["c", "f"]}, "cfeab", 0),
        ({"run_ids": ["c", "f"], "at_most": 1}, "c", 0),
        ({"run_ids": ["c", "f"], "only_these": True}, "cf", 0),
        ({"run_ids": ["f"], "only_these": True, "idle": 1000.0}, "f", 0),
        ({"run_ids": ["f"], "idle": 55.0}, "fa", 0),
        ({"run_ids": ["f", "a"], "only_these": True, "keep": 1}, "a", 0),
        ({"run_ids": ["d", "a", "elsewhere"], "only_these": True}, "a", 1),
        ({"only_these": True}, "", 0),
    ],
)
def test_what_an_order_means(
    executions: Executions, conditions: dict[str, object], chosen: str, passed_over: int
) -> None:
    choice = choose(executions, order(**conditions), NOW)
    assert "".join(one.run_id for one in choice.executions) == chosen
    assert choice.passed_over == passed_over


def test_a_clock_that_was_set_back_keeps_nobody(executions: Executions) -> None:
    an_hour_ago = NOW - 3600
    assert "".join(one.run_id for one in choose(executions, order(), an_hour_ago).executions) == "eabcf"
    assert choose(executions, order(idle=1.0), an_hour_ago).executions == []


@pytest.fixture
async def client(dev_server: DevServer) -> Client:
    identity = f"caches@{os.getpid()}"
    return await Client.connect(dev_server.address, namespace=dev_server.namespace, identity=identity)


async def test_the_least_recently_active_go_and_the_others_stay(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        handles = [await cache.blocked("Patient", name=str(number)) for number in range(5)]
        await handles[0].signal("tell")
        await eventually(lambda: cache.executions.everything()[0].history_events > 4, what="it was told")
        answer = await cache.evict(at_most=2)
        assert (answer.evicted, answer.passed_over, answer.cached) == (2, 0, 3)
        assert {one.workflow_id for one in cache.recorded().values()} == {
            handles[number].id for number in (0, 3, 4)
        }
        answer = await cache.evict(keep=1)
        assert (answer.evicted, answer.cached) == (2, 1)
        assert [one.workflow_id for one in cache.recorded().values()] == [handles[0].id]
        assert (await cache.evict(idle=3600.0)).evicted == 0
        run_id = handles[0].first_execution_run_id
        answer = await cache.evict(run_ids=[run_id, "elsewhere"], only_these=True, idle=3600.0)
        assert (answer.evicted, answer.passed_over, answer.cached) == (1, 0, 0)
        # Nothing of it is lost.
        for handle in handles:
            await handle.signal("finish")
        assert [await handle.result() for handle in handles] == [1, 0, 0, 0, 0]


async def test_the_memory_of_the_evicted_returns_to_the_system(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    number, size = 150, 512 * KIB
    async with running_cache(client, task_queue, tmp_path) as cache:
        await cache.blocked("Patient", 0, name="warm-up")
        await cache.evict()
        before = own_memory()
        for index in range(number):
            await cache.start("Patient", size, name=str(index))
        await eventually(lambda: cache.executions.blocked == number, what=f"{number} are blocked")
        answer = await cache.evict()
        assert (answer.evicted, answer.cached) == (number, 0)
        assert answer.pss_before - before.pss > number * size
        assert answer.rss_before - before.rss > number * size
        # The test's own client and what the first so many executions leave behind have their share.
        assert answer.pss_before - answer.pss_after > 0.9 * number * size
        assert answer.rss_before - answer.rss_after > 0.9 * number * size


async def test_a_running_one_is_passed_over_and_stays(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def at_home() -> str:
        begun.set()
        await go.wait()
        return "at home"

    async with running_cache(client, task_queue, tmp_path, activities=[at_home]) as cache:
        waiting = await cache.blocked("Patient", name="waiting")
        busy = await cache.start("AtHome", name="busy")
        await asyncio.wait_for(begun.wait(), 20)
        run_ids = [busy.first_execution_run_id, waiting.first_execution_run_id]
        answer = await cache.order(run_ids=run_ids)
        assert (answer.evicted, answer.passed_over, answer.cached) == (1, 1, 1)
        (found,) = cache.recorded().values()
        assert (found.workflow_id, found.state) == (busy.id, ExecutionState.RUNNING)
        go.set()
        await busy.signal("finish")
        assert await busy.result() == "at home"


async def test_orders_at_once_are_done_one_after_the_other(
    client: Client, task_queue: str, tmp_path: Path
) -> None:
    async with running_cache(client, task_queue, tmp_path) as cache:
        for number in range(10):
            await cache.blocked("Patient", name=str(number))
        answers = await asyncio.gather(*(cache.order(at_most=4) for _ in range(4)))
        assert [answer.evicted for answer in answers] == [4, 4, 2, 0]
        assert [answer.cached for answer in answers] == [6, 2, 0, 0]


async def test_whoever_does_not_go_is_not_waited_for_long(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictor, "_PATIENCE", 0.05)
    asked: list[str] = []
    answer = await Evictor(executions, asked.append).evict(order())
    # Nobody listens: all stay.
    assert asked == list("eabcf")
    assert (answer.evicted, answer.passed_over, answer.cached) == (0, 5, 6)
    assert answer.pss_before == answer.pss_after


async def test_evictions_by_a_full_cache_are_tidied_up_after(
    client: Client, task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictor, "_TURNOVER", 3)
    tidied: list[int] = []
    monkeypatch.setattr(evictor, "give_back", lambda: tidied.append(1))
    async with running_cache(client, task_queue, tmp_path, max_cached_workflows=1) as cache:
        for number in range(6):
            await cache.blocked("Patient", name=str(number))
            cache.evictor.tidy()
        assert cache.executions.evictions == 5

        def done() -> bool:
            cache.evictor.tidy()
            return bool(tidied)

        await eventually(done, what="the memory is seen to")
        # Not again so soon, nor without further evictions.
        for _ in range(20):
            cache.evictor.tidy()
            await asyncio.sleep(0)
        assert tidied == [1]


def test_an_entity_does_as_the_supervisor_orders(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    entity, incarnation = life.spec.entity, life.spec.incarnation
    bus.ready(life)
    bus.send(life, Evict(entity=entity, incarnation=incarnation, request="early"))
    assert bus.wait_for(Evicted, life).evicted == 0
    handles = [cluster.start("Order", f"{task_queue}-{number}", task_queue) for number in range(3)]
    bus.wait_for_heartbeat(life, cached_executions=3, blocked_executions=3)
    bus.send(life, Evict(entity=entity, incarnation=incarnation, request="all", keep=1))
    answer = bus.wait_for(Evicted, life, count=2)
    assert (answer.request, answer.evicted, answer.passed_over, answer.cached) == ("all", 2, 0, 1)
    assert min(answer.pss_before, answer.pss_after, answer.rss_before, answer.rss_after) > 0
    assert len(life.blackbox().holdings.executions) == 1
    bus.wait_for_heartbeat(life, cached_executions=1, blocked_executions=1, evictions=2, resurrections=0)
    for handle in handles:
        cluster.run(handle.signal("pay"))
        assert cluster.run(handle.result()) == "paid"
    bus.wait_for_heartbeat(life, cached_executions=0, evictions=2, resurrections=2)
    # Three started, three signalled.
    assert bus.wait_for_heartbeat(life).tasks == 6
