"""What a fault test looks at and does: the lives in the black boxes, the helpers, the work of a fleet."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import psutil
from temporalio.client import Client

from temporal_fleet.protocol.blackbox import read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.process import is_alive
from temporal_fleet.protocol.report import StatusReport
from tests.conftest import DevServer
from tests.fleet import FleetUnderTest, is_agent, is_fork
from tests.waiting import wait_until

_INTERVAL = 0.005


def lives(fleet: FleetUnderTest) -> dict[str, list[int]]:
    """The PIDs of the living processes of each entity id, as their black boxes tell."""
    found: dict[str, list[int]] = {}
    for path in fleet.run_dir.entities.glob("*.blackbox"):
        try:
            box = read_blackbox(path)
        except (FileNotFoundError, PeerRubbish):
            continue
        if is_alive(box.process):
            found.setdefault(box.entity, []).append(box.process.pid)
    return found


@contextmanager
def never_two_lives(fleet: FleetUnderTest) -> Iterator[None]:
    """Look all the while: no entity id ever has two living processes, whoever supervises."""
    over = threading.Event()
    twice: list[dict[str, list[int]]] = []

    def look() -> None:
        while not over.wait(_INTERVAL):
            now = lives(fleet)
            if any(len(pids) > 1 for pids in now.values()):
                twice.append(now)

    observer = threading.Thread(target=look)
    observer.start()
    try:
        yield
    finally:
        over.set()
        observer.join()
    assert not twice, f"two lives of one entity: {twice[0]}"


def fork_server(fleet: FleetUnderTest) -> psutil.Process:
    """The only one that there is, once every entity has its black box, and each fork is an entity."""

    def only_one() -> psutil.Process | None:
        entities = {pid for found in lives(fleet).values() for pid in found}
        there = [p for p in fleet.remember_all() if is_fork(p) and p.pid not in entities]
        return there[0] if len(there) == 1 else None

    return wait_until(only_one, what="one fork server, and nobody on the way to be an entity")


def agent(fleet: FleetUnderTest) -> psutil.Process:
    (found,) = [process for process in fleet.remember_all() if is_agent(process)]
    return found


def assert_no_stray(fleet: FleetUnderTest, report: StatusReport) -> None:
    """Every fork of the fork server is an entity that the supervisor knows."""
    forks = {process.pid for process in fleet.remember_all() if is_fork(process)}
    known = {entity.pid for entity in report.entities}
    assert known <= forks
    assert len(forks - known) == 1


def pids(report: StatusReport) -> list[int]:
    """Of the entities, all of which live."""
    found = [entity.pid for entity in report.entities]
    assert None not in found
    return [pid for pid in found if pid is not None]


def pid(fleet: FleetUnderTest, name: str) -> int:
    found = fleet.entity(name).pid
    assert found is not None
    return found


def kill(numbers: Iterable[int]) -> None:
    for number in numbers:
        os.kill(number, signal.SIGKILL)


def renewed(incarnation: int, name: str | None = None) -> Callable[[StatusReport], bool]:
    """That the fleet runs, and all (or one) of its entities are at least in this incarnation."""

    def condition(report: StatusReport) -> bool:
        meant = [e for e in report.entities if name in {None, e.id}]
        return report.fleet.state == "running" and all(e.incarnation >= incarnation for e in meant)

    return condition


def start_errand(dev_server: DevServer, task_queue: str, activity: str) -> None:
    """Have the fleet run one activity."""

    async def start() -> None:
        client = await Client.connect(dev_server.address)
        await client.start_workflow("Errand", args=[activity, 0.0], id=task_queue, task_queue=task_queue)

    asyncio.run(start())


def run_errand(dev_server: DevServer, task_queue: str, activity: str) -> str:
    """Have the fleet run one activity to its end; its result."""

    async def run() -> str:
        client = await Client.connect(dev_server.address)
        result: str = await client.execute_workflow(
            "Errand", args=[activity, 0.0], id=task_queue, task_queue=task_queue, result_type=str
        )
        return result

    return asyncio.run(run())


class Order:
    """One order of the fleet's own work: placed at once, done when it is paid."""

    def __init__(self, address: str, task_queue: str) -> None:
        self._address = address
        self._id = f"{task_queue}-order"

        async def place() -> None:
            client = await Client.connect(address)
            await client.start_workflow("Order", 0.0, id=self._id, task_queue=task_queue)

        asyncio.run(place())

    def pay(self) -> None:
        """And wait until it is done."""

        async def pay() -> None:
            client = await Client.connect(self._address)
            order = client.get_workflow_handle(self._id)
            await order.signal("pay")
            assert await order.result() == "done"

        asyncio.run(pay())
