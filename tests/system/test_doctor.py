"""`doctor` at a real fleet and its real Cluster: well, with a queue that nobody polls, with no fleet."""

import json
import os
import socket
import subprocess
from typing import Any

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import RecordWorkerHeartbeatRequest
from temporalio.client import Client

from tests.conftest import DevServer, temporal_command
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until

Told = dict[str, dict[str, str]]


def told(fleet: FleetUnderTest) -> tuple[Told, int]:
    """The findings by what they are about (of several, the worst), and the exit status."""
    done = fleet.command("doctor", "--json")
    findings: list[Any] = json.loads(done.stdout)["findings"]
    return {each["what"]: each for each in reversed(findings)}, done.returncode


async def test_doctor(make_fleet: MakeFleet, dev_server: DevServer, task_queue: str) -> None:
    fleet = make_fleet(entities=1)
    # Of the same name on the same host it would take the entities of other tests for its own, and for dead.
    fleet.edit('name = "test"', f'name = "{task_queue}"')
    queue = f"task queue {task_queue}"
    with fleet.start():
        fleet.wait_running()
        well, status = told(fleet)
        assert status == 0, well
        assert (well["fleet"]["level"], well["fleet"]["figure"]) == ("ok", f"running, PID {fleet.pid}")
        assert (well[queue]["level"], well["temporalio"]["level"]) == ("ok", "ok")
        assert "1 workflow, 1 activity; 0 tasks wait" in well[queue]["figure"]
        # Both are clocks of this machine.
        clock = well["clock against the Cluster's"]
        assert clock["level"] == "ok", clock
        assert well["open files"]["level"] == "ok"

        assert fleet.command("drain", "orders").returncode == 0
        start = (temporal_command(), "workflow", "start", "--address", dev_server.address)
        what = ("--task-queue", task_queue, "--type", "Order", "--input", "1")
        subprocess.run([*start, *what], check=True, capture_output=True, timeout=30)

        def unserved() -> Told | None:
            found, status = told(fleet)
            return found if status == 1 else None

        ill = wait_until(unserved, within=15, what="the backlog is told of")
        assert ill[queue]["figure"].startswith("1 workflow task waits"), ill
        assert ill[queue]["remedy"] == "temporal-fleet resume orders"
        assert ill["pool orders"]["level"] == "warning"
        await _list_a_worker_that_is_dead(dev_server, task_queue)
        assert fleet.stop() == 0
    alone, status = told(fleet)
    assert status == 1
    assert "none runs" in alone["fleet"]["figure"]
    assert alone[queue]["remedy"] == "start the fleet: temporal-fleet up"
    assert "1 dead" in alone["workers listed as running"]["figure"], alone


async def _list_a_worker_that_is_dead(dev_server: DevServer, fleet: str) -> None:
    """All that a Worker leaves there that was killed before it could say that it goes."""
    client = await Client.connect(dev_server.address)
    identity = f"{fleet}/orders-7.1@{socket.gethostname()}:{os.getpid()}"
    await client.workflow_service.record_worker_heartbeat(
        RecordWorkerHeartbeatRequest(
            namespace="default",
            identity=identity,
            worker_heartbeat=[
                WorkerHeartbeat(
                    worker_instance_key=identity,
                    worker_identity=identity,
                    task_queue="orders",
                    status=WorkerStatus.WORKER_STATUS_RUNNING,
                )
            ],
        )
    )
