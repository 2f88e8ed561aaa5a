"""The service on a real systemd, as docs/administration.md makes it, and what may happen to it."""

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from tests.conftest import DevServer
from tests.entity.servers import Authority, Front, served
from tests.systemd.administrator import CONFIG, UNIT, Administrator, Service, pids
from tests.systemd.machine import Machine
from tests.waiting import eventually, wait_until

# They share a machine, and a service.
pytestmark = pytest.mark.xdist_group("systemd")

KEY = "a-key-of-the-shop"
QUICK = "WatchdogSec=6\nRestartSec=100ms"
"""Less patient than the unit, so that the tests need not be."""
TO_THE_START = (
    "Install it",
    "Bring your program",
    "Write its file",
    "Hand over its credentials",
    "Start it",
)
SECRETS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@pytest.fixture(scope="session")
def administrator(
    machine: Machine, dev_server: DevServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Administrator]:
    """With a Cluster that takes the right key over TLS, and nothing else."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    context = authority.server_context(authority.issue("temporal.example"))
    front = Front(dev_server.address, context, keys={KEY})
    with served(front.handle) as address:
        port = address.rpartition(":")[2]
        # Who runs some of these tests in another process has a machine of its own, on the same Cluster.
        new = Administrator(machine, f"temporal.example:{port}", f"systemd-{os.getpid()}")
        new.write("/etc/hosts", "127.0.0.1 localhost temporal.example\n")
        new.write("/root/api-key", KEY)
        new.write("/root/ca.pem", authority.root.certificate.read_text())
        yield new


@pytest.fixture(scope="session")
def started(administrator: Administrator) -> Iterator[Service]:
    """As it is when the page has brought it to its start."""
    made = Service(administrator)
    _bring_to_its_start(made)
    # Before anything else happens: `systemctl start` has returned.
    report = made.wait(lambda _: True, "it answers")
    assert all(pool.ready for pool in report.pools), report
    yield made
    made.close()


def _bring_to_its_start(service: Service) -> None:
    service.drop_in(QUICK)
    for heading in TO_THE_START:
        service.administrator.follow(heading)


@pytest.fixture
def service(started: Service) -> Iterator[Service]:
    """Runs, whatever became of it in the test before."""
    # The test that removes it is the last of all, but not of all that a process of the run takes over.
    if not started.machine.path("/etc/systemd/system/temporal-fleet@.service").exists():
        _bring_to_its_start(started)
    started.control("start")
    yield started
    started.drop_in(QUICK)
    started.machine.run("systemctl", "reset-failed", UNIT, check=False)


def test_the_page_is_followed_wholly(administrator: Administrator, service: Service) -> None:
    service.wait_running(2)
    printed = administrator.follow("Look at it")
    assert "active (running)" in printed[f"systemctl status --no-pager {UNIT.removesuffix('.service')}"]
    assert "orders-2" in printed[f"temporal-fleet status -c {CONFIG}"]
    assert '"state": "running"' in printed["temporal-fleet status --fleet shop --json"]
    assert administrator.left_out[:3] == [
        "apt-get update && apt-get install -y python3 python3-venv",
        "python3 -m venv /opt/temporal-fleet",
        "/opt/temporal-fleet/bin/pip install temporal-fleet",
    ]
    ready = "2/2 entities ready in 1 pool; 0 executions cached"
    wait_until(lambda: service.show("StatusText") == ready, what="systemd has heard of it")


def test_the_unit_is_sound_and_hardened(service: Service) -> None:
    assert service.machine.run("systemd-analyze", "verify", UNIT).stdout == ""
    rated = service.machine.run("systemd-analyze", "security", "--no-pager", "--threshold=25", UNIT)
    assert "Overall exposure level" in rated.stdout
    assert (service.show("OOMPolicy"), service.show("KillMode")) == ("continue", "process")
    assert service.show("TimeoutStopUSec") == "1min 5s"


def test_nobody_inherits_what_is_meant_for_the_supervisor(service: Service) -> None:
    others = [pid for pid in service.processes() if pid != service.main()]
    assert len(others) >= 4
    for pid in others:
        environment = service.machine.path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        names = {entry.partition(b"=")[0].decode() for entry in environment}
        assert not names & set(SECRETS)
        assert KEY.encode() not in b"".join(environment)
        assert "CREDENTIALS_DIRECTORY" in names


def test_the_file_is_checked_against_its_unit(service: Service) -> None:
    service.administrator.edit(CONFIG, 'drain = "30s"', 'drain = "10m"')
    refused = service.machine.run("temporal-fleet", "check", "-c", CONFIG, check=False)
    service.administrator.edit(CONFIG, 'drain = "10m"', 'drain = "30s"')
    assert refused.returncode == 1
    assert "TimeoutStopSec=65 is less than its longest drain and what comes after it: 635" in refused.stdout
    assert f"temporal-fleet systemd install -c {CONFIG}" in refused.stdout


def test_a_good_reload_and_bad_ones(service: Service) -> None:
    before = pids(service.wait_running(2))
    service.administrator.follow("Change it")
    after = pids(service.wait_running(3))
    assert before.items() <= after.items()
    assert service.show("ActiveState") == "active"

    service.administrator.edit(CONFIG, "entities = 3", "entities = many")
    status, _ = service.control("reload", check=False)
    service.administrator.edit(CONFIG, "entities = many", "entities = 2")
    assert status == 1
    service.administrator.edit("/srv/shop/shop.py", "import asyncio", "import asyncoi")
    status, _ = service.control("reload", check=False)
    service.administrator.edit("/srv/shop/shop.py", "import asyncoi", "import asyncio")
    assert status == 1
    assert pids(service.wait_running(3)) == after
    assert service.show("ActiveState") == "active"
    service.control("reload")
    service.wait_running(2)


def test_an_entity_that_runs_out_of_memory_stops_nobody_else(service: Service) -> None:
    before = service.wait_running(2)
    main = service.main()
    victim = before.entities[0]
    assert victim.pid is not None
    service.run_out_of_memory(victim.pid)
    after = service.wait(
        lambda s: s.fleet.state == "running" and s.entities[0].incarnation > victim.incarnation,
        "another entity has its place",
    )
    last = after.entities[0].last_exit
    assert last is not None
    assert last.signal == "SIGKILL"
    assert pids(after)["orders-2"] == pids(before)["orders-2"]
    assert (service.main(), service.show("ActiveState")) == (main, "active")


@pytest.mark.parametrize("how", ["KILL", "STOP"])
def test_a_supervisor_that_fails_is_followed_by_one_that_adopts_its_entities(
    service: Service, how: str
) -> None:
    before = service.wait_running(2)
    main = service.main()
    service.kill(main, how)
    wait_until(lambda: service.main() not in (0, main), within=20, what="another supervisor")
    wait_until(lambda: service.show("ActiveState") == "active", what="it is ready")
    after = service.wait_running(2)
    assert pids(after) == pids(before)
    assert [e.incarnation for e in after.entities] == [e.incarnation for e in before.entities]


async def test_a_stop_waits_for_what_drains(service: Service, dev_server: DevServer) -> None:
    client = await Client.connect(dev_server.address)
    # Less than the activity takes: the supervisor asks for more.
    service.drop_in(f"{QUICK}\nTimeoutStopSec=3")
    queue = service.administrator.queue
    order = await client.start_workflow("Order", 8.0, id=f"{queue}-drains", task_queue=queue)
    await asyncio.to_thread(
        service.wait, lambda s: any(e.inflight_activities for e in s.entities), "an activity runs"
    )
    await asyncio.to_thread(service.control, "stop")
    assert (service.show("Result"), service.processes()) == ("success", [])
    await asyncio.to_thread(service.control, "start")
    assert await order.result() == "shipped"
    history = await order.fetch_history()
    assert [
        e.activity_task_started_event_attributes.attempt
        for e in history.events
        if e.HasField("activity_task_started_event_attributes")
    ] == [1]


async def test_what_a_supervisor_leaves_that_is_killed_at_a_stop(
    service: Service, dev_server: DevServer
) -> None:
    order = await _killed_in_its_stop(service, dev_server, seconds=8.0)
    assert (service.show("Result"), service.processes()) == ("signal", [])
    await _start_again(service)
    assert await order.result() == "shipped"


async def test_what_was_in_hand_when_a_stop_ran_out_of_time_goes_on_at_the_next_start(
    service: Service, dev_server: DevServer
) -> None:
    service.drop_in(f"{QUICK}\nTimeoutStopSec=6")
    # Longer than what is left has to end. Whatever is lost goes on after five minutes.
    order = await _killed_in_its_stop(service, dev_server, seconds=10.0)
    assert service.processes() == []
    await _start_again(service)

    async def again() -> bool:
        (running,) = (await order.describe()).raw_description.pending_activities
        failure = running.last_failure.application_failure_info.type
        return (running.attempt, failure) == (2, "WorkerEntityDied")

    await eventually(again, what="its activity was recovered")
    await order.terminate()


async def _killed_in_its_stop(
    service: Service, dev_server: DevServer, *, seconds: float
) -> WorkflowHandle[Any, Any]:
    """The supervisor, while an activity of so many seconds drains. The order that has it."""
    client = await Client.connect(dev_server.address)
    queue, main = service.administrator.queue, service.main()
    order = await client.start_workflow("Order", seconds, id=f"{queue}-{uuid.uuid4()}", task_queue=queue)
    await asyncio.to_thread(
        service.wait, lambda s: any(e.inflight_activities for e in s.entities), "an activity runs"
    )
    stopping = asyncio.create_task(asyncio.to_thread(service.control, "stop"))
    await asyncio.to_thread(service.wait, lambda s: s.fleet.state == "draining", "it drains")
    service.kill(main, "KILL")
    await stopping
    return order


async def _start_again(service: Service) -> None:
    service.machine.run("systemctl", "reset-failed", UNIT)
    await asyncio.to_thread(service.control, "start")


def test_logs_reads_the_journal(service: Service) -> None:
    service.wait_running(2)

    def told() -> list[dict[str, object]]:
        command = ("temporal-fleet", "logs", "-c", CONFIG, "orders-1", "--json", "-n", "20")
        return [json.loads(line) for line in service.machine.run(*command).stdout.splitlines()]

    lines = wait_until(told, what="the journal has lines of orders-1")
    assert {line["entity"] for line in lines} == {"orders-1"}
    assert any("ready" in str(line["event"]) for line in lines)


def test_the_page_to_its_end(administrator: Administrator, service: Service) -> None:
    before = service.wait_running(2)
    main = service.main()
    administrator.follow("Update it")
    assert pids(service.wait_running(2)) == pids(before)
    assert (service.main(), service.show("ActiveState")) == (main, "active")
    wait_until(lambda: service.show("StatusText").startswith("2/2 "), what="it goes on telling systemd")
    administrator.follow("Remove it")
    assert service.processes() == []
    assert not service.machine.path("/run/temporal-fleet/shop").exists()
    followed = {*TO_THE_START, "Look at it", "Change it", "Update it", "Remove it"}
    assert set(administrator.headings()) - followed == {"What happens when something fails"}


def test_the_page_stands_where_it_is_looked_for() -> None:
    assert "(docs/administration.md)" in (Path(__file__).parents[2] / "README.md").read_text()
