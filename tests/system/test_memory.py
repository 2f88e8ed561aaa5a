"""Caches of a real fleet against its limits: an operator evicts, memory presses, lives grow old."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq
from temporalio.client import Client

from temporal_fleet.protocol.codec import Decoder
from temporal_fleet.protocol.control import Event
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.protocol.rundir import ipc
from tests.conftest import DevServer
from tests.fleet import FleetUnderTest
from tests.ledgers import balance, close_all, enter_everywhere, open_ledgers
from tests.system.conftest import MakeFleet
from tests.waiting import eventually


class Follower:
    """What `events` would print."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._decoder = Decoder[Event](Event)
        self._heard: list[EventReport] = []

    def of(self, kind: str) -> list[EventReport]:
        while self._socket.poll(0):
            self._heard.append(self._decoder.decode(self._socket.recv()).report)
        return [report for report in self._heard if report.kind == kind]


@contextmanager
def follow(fleet: FleetUnderTest) -> Iterator[Follower]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.subscribe(b"")
        with socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            socket.connect(ipc(fleet.run_dir.events))
            assert monitor.poll(10_000), "nobody tells of events"
            socket.disable_monitor()
        yield Follower(socket)


def changed(events: Follower, how: str) -> set[str | None]:
    """The entities that told of executions that were evicted, or resurrected."""
    return {report.entity for report in events.of("executions.changed") if how in report.message}


async def test_what_an_operator_evicts_is_told_and_resurrects(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(entities=2, program="ledger").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    ledgers = await open_ledgers(client, task_queue, 40)
    with follow(fleet) as events:
        done = fleet.command("evict", "orders", "--all", "--json")
        assert done.returncode == 0, done.stderr
        reports = json.loads(done.stdout)["entities"]
        assert [report["entity"] for report in reports] == ["orders-1", "orders-2"]
        assert sum(report["evicted"] for report in reports) >= 40
        assert [report["cached"] for report in reports] == [0, 0]
        await eventually(
            lambda: {each.entity for each in events.of("executions.evicted")} == {"orders-1", "orders-2"},
            what="both batches are told",
        )
        await eventually(lambda: len(changed(events, "evicted")) == 2, what="heartbeats of both tell of it")
        await enter_everywhere(ledgers, random.Random(task_queue))
        await eventually(lambda: len(changed(events, "resurrected")) == 2, what="and of resurrections")
    status = fleet.wait(lambda s: sum(e.resurrections for e in s.entities) >= 40, what="all are counted")
    assert sum(entity.evictions for entity in status.entities) >= 40
    assert all(entity.tasks > 0 for entity in status.entities)
    await close_all(ledgers)


@pytest.mark.timeout(180)
async def test_above_its_limit_an_entity_evicts_and_nothing_is_lost(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    limit = 80 << 20
    fleet = make_fleet(program="ledger", pool='memory = { evict_above = "80MiB" }').start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    with follow(fleet) as events:
        ledgers = await open_ledgers(client, task_queue, 250)
        await eventually(lambda: events.of("memory.evicted"), within=60, what="it evicted by itself")
    assert (await balance(ledgers[0])) == 0
    # The next eviction waits for up to a minute after one that brought next to nothing.
    status = fleet.wait(
        lambda s: (s.entities[0].rss_bytes or limit) < limit, within=90, what="it is below its limit"
    )
    assert status.entities[0].incarnation == 1
    await enter_everywhere(ledgers, random.Random(task_queue))
    await close_all(ledgers)


async def test_a_life_that_did_its_share_of_tasks_is_replaced(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(program="ledger", pool="recycle = { max_tasks = 100 }").start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    ledgers = await open_ledgers(client, task_queue, 30)
    chance = random.Random(task_queue)

    async def replaced() -> bool:
        await enter_everywhere(ledgers, chance)
        return fleet.entity("orders-1").incarnation > 1

    await eventually(replaced, within=60, what="another life in its place")
    status = fleet.wait_running()
    ended = status.entities[0].last_exit
    assert ended is not None
    assert (ended.code, ended.signal) == (0, None)
    assert status.entities[0].restarts == 0
    await close_all(ledgers)
