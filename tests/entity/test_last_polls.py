"""A Cluster that ends the polls of who shuts down loses no task to an entity that leaves."""

import asyncio
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.entity.conftest import Cluster, Fork
from tests.entity.handovers import all_cached, two_lives, updates
from tests.entity.lives import Bus
from tests.waiting import wait_until

_DRAINS = 4
_DOUBT = re.compile("may hand it something while its Worker ends: ")
_OF_NO_MACHINE = re.compile(
    "please report this|does not end polls|sticky queue is not known|several partitions|does not list it yet"
)
"""Any other is of a busy one: what was lost is looked for then, which has its own test."""


def _was_lost(event: HistoryEvent) -> bool:
    """Whether it tells of a task that was handed out, and that nobody did."""
    timed_out = event.workflow_task_timed_out_event_attributes.timeout_type
    return (
        timed_out == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
        or event.activity_task_started_event_attributes.attempt > 1
        or event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
    )


@pytest.mark.parametrize("quiet", [False, True], ids=["drain", "quiet"])
async def test_no_task_is_lost_to_who_leaves(
    subreaper: None,
    bus: Bus,
    run_dir: Path,
    dev_server: DevServer,
    task_queue: str,
    tmp_path: Path,
    quiet: bool,
) -> None:
    client = await Client.connect(dev_server.address)
    with two_lives(bus, run_dir, dev_server.address, task_queue, tmp_path / "log") as lives:
        async with updates(client, task_queue) as answered:
            for _ in range(_DRAINS):
                await all_cached(answered)
                await asyncio.to_thread(lives.replace_oldest, quiet=quiet)
        assert not _OF_NO_MACHINE.search(lives.log())
        if not _DOUBT.search(lives.log()):
            # What is looked for and set free afterwards was lost before.
            assert "set free" not in lives.log()
            for handle in answered:
                lost = [event async for event in handle.fetch_history_events() if _was_lost(event)]
                assert not lost, f"{handle.id}: {lost}"


def test_one_that_the_cluster_does_not_know_yet_works_on_until_it_does(
    fork: Fork, bus: Bus, dev_server: DevServer
) -> None:
    life = fork(ClusterSpec(address=dev_server.address), drain=60.0)
    bus.ready(life)
    wait_until(lambda: life.blackbox().sticky_queue, what="it knows its sticky queue")
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    assert not _OF_NO_MACHINE.search(life.log())


@pytest.mark.parametrize("quiet", [False, True], ids=["drain", "quiet"])
def test_who_has_nothing_in_hand_leaves_although_the_cluster_is_away(
    fork: Fork, bus: Bus, tmp_path: Path, quiet: bool
) -> None:
    """The core would wait for it to end the polls."""
    port = free_port()
    server = start_dev_server(port, tmp_path / "server")
    try:
        life = fork(ClusterSpec(address=f"127.0.0.1:{port}"))
        bus.ready(life)
    finally:
        end_process(server)
    if quiet:
        bus.quiet(life)
    bus.drain(life)
    life.expect(ExitCode.STOPPED)


def test_an_activity_in_hand_keeps_it_while_the_cluster_is_away_and_the_polls_are_ended_afterwards(
    fork: Fork, bus: Bus, started: Callable[[str], Path], task_queue: str, tmp_path: Path
) -> None:
    port = free_port()
    server = start_dev_server(port, tmp_path / "server")
    cluster = Cluster(DevServer(f"127.0.0.1:{port}", "default", server.pid, tmp_path / "server"))
    try:
        life = fork(cluster.spec, drain=60.0)
        bus.ready(life)
        handle = cluster.start("Run", task_queue, task_queue, "wait_for_file", str(tmp_path / "go"))
        started("go")
        server.send_signal(signal.SIGSTOP)
        bus.drain(life)
        # Longer than one stays that has nothing in hand.
        for _ in range(5):
            bus.wait_for_heartbeat(life, inflight_activities=1)
        assert life.alive()
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: "has heard by now that it leaves" in life.log(), what="it is heard")
        (tmp_path / "go").touch()
        life.expect(ExitCode.STOPPED)
        bus.ready(fork(cluster.spec))
        assert cluster.run(handle.result()) is not None
    finally:
        cluster.close()
        end_process(server)
