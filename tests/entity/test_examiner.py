"""Looks of the agent at a real Cluster, and at what may stand in its place."""

import asyncio
from pathlib import Path

from temporal_fleet.entity.cluster import Cluster
from temporal_fleet.entity.examiner import examine
from temporal_fleet.entity.runtime import client_runtime
from temporal_fleet.protocol.helpers import Examine, WatchCluster
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import DevServer, end_process, free_port, start_dev_server

MORE_THAN_TURNS = 50


def order(*task_queues: str) -> Examine:
    return Examine(request="1", task_queues=[*task_queues], alive=[], resting=[])


async def watched(spec: ClusterSpec) -> Cluster:
    watch = WatchCluster(cluster=spec, fleet="shop", rebuild_task_tokens=True)
    cluster = Cluster(watch, client_runtime(), lambda _: None)
    await cluster.look()
    return cluster


async def test_a_look_waits_for_no_recovery_and_sees_every_queue(
    dev_server: DevServer, task_queue: str
) -> None:
    cluster = await watched(ClusterSpec(address=dev_server.address))
    done = asyncio.Event()
    asked = [
        asyncio.create_task(ask(lambda _: done.wait()))
        for ask in (cluster.ask, cluster.ask_in_search)
        for _ in range(MORE_THAN_TURNS)
    ]
    queues = [f"{task_queue}-{number}" for number in range(40)]
    async with asyncio.timeout(20):
        found = await examine(order(*queues), cluster)
    assert (found.problem, found.namespace_state) == ("", "registered")
    assert found.server_version
    assert found.clock_ahead_s is not None, found.clock_problem
    assert abs(found.clock_ahead_s) <= found.clock_within_s + 0.1
    assert found.workers_problem == ""
    assert [(look.task_queue, look.kind) for look in found.queues] == [
        (queue, kind) for queue in queues for kind in ("workflow", "activity", "nexus")
    ]
    assert {look.problem for look in found.queues} == {""}
    done.set()
    await asyncio.gather(*asked)


async def test_a_cluster_that_has_had_enough_is_asked_again(tmp_path: Path) -> None:
    port = free_port()
    server = start_dev_server(port, tmp_path / "server", settings=["frontend.namespaceRPS=20"])
    try:
        cluster = await watched(ClusterSpec(address=f"127.0.0.1:{port}"))
        async with asyncio.timeout(20):
            found = await examine(order(*(f"queue-{number}" for number in range(20))), cluster)
    finally:
        end_process(server)
    assert (found.problem, found.clock_problem, found.workers_problem) == ("", "", "")
    assert {look.problem for look in found.queues} == {""}


async def test_a_namespace_that_is_not_there_is_told(dev_server: DevServer) -> None:
    cluster = await watched(ClusterSpec(address=dev_server.address, namespace="absent"))
    found = await examine(order("q"), cluster)
    assert "absent" in found.problem
    assert (found.address, found.queues) == (dev_server.address, [])


async def test_a_cluster_that_goes_spoils_no_look(tmp_path: Path) -> None:
    port = free_port()
    server = start_dev_server(port, tmp_path / "server")
    try:
        cluster = await watched(ClusterSpec(address=f"127.0.0.1:{port}"))
    finally:
        end_process(server)
    async with asyncio.timeout(20):
        found = await examine(order("q"), cluster)
    assert found.problem
    assert found.address == f"127.0.0.1:{port}"
