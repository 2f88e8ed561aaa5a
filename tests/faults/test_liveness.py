"""Entities that live and do no work, found from outside; and a Cluster that is away, which is nobody's fault.

A blocked event loop is in tests/system/test_restart.py, SIGSTOP in test_stopped.py.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle

from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.faults.conftest import Gates
from tests.faults.observing import pids, renewed
from tests.fleet import PROGRAMS, FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import eventually

LIMIT = 5.0
"""The shortest that a pool may have."""
OUTAGE = float(os.environ.get("OUTAGE", 2 * LIMIT))
"""Seconds that the Cluster is away: `OUTAGE=60` for a whole minute."""
LIVENESS = f'liveness = {{ polling = "{LIMIT:g}s", activation = "{LIMIT:g}s", activity = "{LIMIT:g}s" }}'
IN_TIME = 90.0
"""For what else would take an hour."""


async def do(
    client: Client, queue: str, activity: str, argument: str, seconds: float = 3600.0
) -> WorkflowHandle[object, str]:
    return await client.start_workflow(
        "Doing",
        args=[activity, argument, seconds],
        id=f"{queue}-{activity}-{Path(argument).name}",
        task_queue=queue,
        result_type=str,
    )


async def told(fleet: FleetUnderTest, event: str) -> None:
    await eventually(lambda: event in fleet.log_text(), within=60, what=event)


def stacks(fleet: FleetUnderTest) -> str:
    """What the log has of them."""
    return "\n".join(line for line in fleet.log_text().splitlines() if "File" in line)


def has_stacks_of(fleet: FleetUnderTest, entity: str) -> bool:
    lines = fleet.log_text().splitlines()
    return any("stacks of a hung entity" in line and entity in line for line in lines)


async def test_who_does_no_work_is_replaced_and_what_it_does_well_goes_on(
    make: MakeFleet, dev_server: DevServer, task_queue: str, gates: Gates, tmp_path: Path
) -> None:
    """Four pools: one whose workflow code never yields, one whose last slot is lost, one that does not poll
    any more, and one whose GIL is held, which stops its heart."""
    pool = f'path = "{PROGRAMS}"\n{LIVENESS}\nprogram = "standstills'
    small = f'{pool}"\ntask_queue = "{task_queue}-small"\nworker = {{ max_concurrent_activities = 1 }}'
    held = f'{pool}"\ntask_queue = "{task_queue}-held"\nhang = "2s"'
    deaf = f'{pool}:without_slots"\ntask_queue = "{task_queue}-deaf"'
    fleet = make(
        program="standstills",
        pool=f'{LIVENESS}\ndrain = "6s"',
        more=f"[pools.small]\n{small}\n[pools.held]\n{held}\n[pools.deaf]\n{deaf}",
    ).start()
    fleet.wait_running()
    client = await Client.connect(dev_server.address)
    gates.close("first", "slots")
    (tmp_path / "unyielding").touch()
    well = await do(client, task_queue, "wait_at", str(gates.folder / "first"))
    gil = await do(client, f"{task_queue}-held", "hold_the_gil", "")
    overrun = await do(client, f"{task_queue}-small", "overrun", "", 1.0)
    for number in (1, 2):
        # The SDK has one slot in reserve when the next is refused.
        last = await do(client, f"{task_queue}-deaf", "wait_at", str(gates.folder / f"open-{number}"))
        assert await asyncio.wait_for(last.result(), IN_TIME) == "attempt 1"
    await eventually(lambda: fleet.entity("orders-1").inflight_activities == 1, what="it has work")
    unyielding = await client.start_workflow(
        "Unyielding",
        str(tmp_path / "unyielding"),
        id=f"{task_queue}-unyielding",
        task_queue=task_queue,
        result_type=str,
    )
    assert await asyncio.wait_for(gil.result(), IN_TIME) == "attempt 2"
    hung = fleet.entity("held-1").last_exit
    assert hung is not None
    assert hung.cause == "hung: killed by SIGKILL"

    await told(fleet, "drains: stuck: 1 workflow activation not ended, the longest for ")
    gates.open("first")
    assert await asyncio.wait_for(well.result(), IN_TIME) == "attempt 1", "it was not left in peace"

    await told(fleet, "not polling: no activity_task poller for ")
    # Its replacement gets no slot either: it does not become ready, and so the old one stays.
    assert fleet.entity("deaf-1").state == "ready"
    await eventually(lambda: has_stacks_of(fleet, "deaf-1"), what="its stacks are in the log")
    gates.open("slots")
    await asyncio.to_thread(fleet.wait, renewed(2, "deaf-1"), IN_TIME, "deaf-1 is replaced")

    assert await asyncio.wait_for(overrun.result(), IN_TIME) == "attempt 2"
    killed = fleet.entity("small-1").last_exit
    assert killed is not None
    assert killed.cause.startswith("stuck: 1 activity beyond the attempt's time, the longest by ")
    assert killed.cause.endswith("; no slot is left: killed by SIGKILL")
    assert await asyncio.wait_for(unyielding.result(), IN_TIME) == "went on"
    for name in ("never_yield", "overrun", "hold_the_gil"):
        assert name in stacks(fleet)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A dev server to be stopped at will: its address and PID."""
    port = free_port()
    server = start_dev_server(port, tmp_path / "own-server.log")
    yield f"127.0.0.1:{port}", server.pid
    os.kill(server.pid, signal.SIGCONT)
    end_process(server)


@pytest.mark.timeout(120 + 2 * OUTAGE)
async def test_a_cluster_that_is_away_costs_no_entity_and_no_result(
    own_server: tuple[str, int], make: MakeFleet, task_queue: str, gates: Gates
) -> None:
    address, server = own_server
    where = f'[cluster]\naddress = "{address}"'
    fleet = make(entities=3, program="standstills", pool=LIVENESS, cluster=where).start()
    before = fleet.wait_running()
    client = await Client.connect(address)
    gates.close("first")
    handle = await do(client, task_queue, "wait_at", str(gates.folder / "first"), 3.0)
    await eventually(lambda: sum(e.inflight_activities for e in fleet.status().entities) == 1, what="it runs")
    os.kill(server, signal.SIGSTOP)
    gone = time.monotonic()
    # It ends in time, and cannot say so until long after its time-out.
    gates.open("first")
    fleet.wait(lambda s: s.fleet.state == "degraded", what="the fleet says that the Cluster is away")
    await eventually(lambda: time.monotonic() - gone > OUTAGE, within=2 * OUTAGE, what="the outage")
    os.kill(server, signal.SIGCONT)
    assert (await asyncio.wait_for(handle.result(), IN_TIME)).startswith("attempt ")
    back = time.monotonic()
    await eventually(lambda: time.monotonic() - back > LIMIT + 1, what="longer than the limit")
    after = fleet.wait_running()
    assert pids(after) == pids(before), [entity.last_exit for entity in after.entities]
    assert all(entity.last_exit is None and not entity.reason for entity in after.entities)
