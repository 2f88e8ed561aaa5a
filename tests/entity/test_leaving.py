"""How an entity ends its work: what its activities see, how long they have, what it leaves to others; and how
it is quiet before that."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, CancelledError

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.messages import Draining
from tests.entity.conftest import Cluster
from tests.entity.lives import Bus, Life
from tests.waiting import wait_until

Started = Callable[[str], Path]
ForkProgram = Callable[..., Life]
PROGRAM = "leaving_program"
BOTH_KINDS = pytest.mark.parametrize("thread", ["", "_in_thread"], ids=["async", "sync"])


@pytest.fixture
def leaver(fork_program: ForkProgram) -> Callable[..., Life]:
    """Fork an entity of the program; `drain` is what its activities have."""
    return lambda drain=60.0: fork_program(PROGRAM, drain=drain)


@BOTH_KINDS
def test_activities_hear_that_their_worker_shuts_down(
    leaver: ForkProgram,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
    thread: str,
) -> None:
    life = leaver()
    bus.ready(life)
    handle = cluster.start(
        "Persist", task_queue, task_queue, f"wait_for_shutdown{thread}", str(tmp_path / "it")
    )
    started("it")
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    bus.ready(leaver())
    assert cluster.run(handle.result()) == "heard of it: True, cancelled: False"


@BOTH_KINDS
@pytest.mark.parametrize("quiet", [False, True], ids=["working", "quiet"])
def test_what_runs_on_is_cancelled_at_the_end_and_can_save_its_progress(
    leaver: ForkProgram,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
    thread: str,
    quiet: bool,
) -> None:
    life = leaver(0.2)
    bus.ready(life)
    handle = cluster.start("Persist", task_queue, task_queue, f"save_progress{thread}", str(tmp_path / "it"))
    started("it")
    if quiet:
        bus.quiet(life)
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    bus.ready(leaver())
    # As a failure of its own, not as a cancellation, which would have ended its workflow.
    assert cluster.run(handle.result()) == "attempt 2 after shutdown True"


@BOTH_KINDS
def test_nothing_runs_against_what_a_quiet_entity_has_in_hand(
    leaver: ForkProgram,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
    thread: str,
) -> None:
    life = leaver(0.1)
    bus.ready(life)
    handle = cluster.start("Persist", task_queue, task_queue, f"save_progress{thread}", str(tmp_path / "it"))
    started("it")
    bus.quiet(life)
    # Many times what a drain would have left to it.
    for _ in range(3):
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
    description = cluster.run(handle.describe()).raw_description
    assert [(each.attempt, each.last_failure.message) for each in description.pending_activities] == [(1, "")]
    life.end()


@BOTH_KINDS
def test_what_a_quiet_entity_has_in_hand_hears_of_the_shutdown_when_it_drains(
    leaver: ForkProgram,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
    thread: str,
) -> None:
    life = leaver()
    bus.ready(life)
    handle = cluster.start(
        "Persist", task_queue, task_queue, f"wait_for_shutdown{thread}", str(tmp_path / "it")
    )
    started("it")
    bus.quiet(life)
    bus.quiet(life)
    for _ in range(2):
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
    assert not [message for message in bus.messages if isinstance(message, Draining)]
    bus.drain(life)
    assert "the supervisor told it to" in life.expect(ExitCode.STOPPED)
    bus.ready(leaver())
    assert cluster.run(handle.result()) == "heard of it: True, cancelled: False"


def test_a_quiet_entity_lets_its_executions_go(
    leaver: ForkProgram, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    first = leaver()
    bus.ready(first)
    orders = [cluster.start("Order", f"{task_queue}-{n}", task_queue) for n in range(5)]
    bus.wait_for_heartbeat(first, cached_executions=5)
    bus.quiet(first)
    bus.wait_for_heartbeat(first, pollers=0, cached_executions=0)
    bus.ready(leaver())
    for order in orders:
        cluster.run(order.signal("pay"))
        assert cluster.run(order.result()) == "paid"


def test_a_cancellation_reaches_an_activity_of_a_quiet_entity(
    leaver: ForkProgram, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started
) -> None:
    life = leaver(0.1)
    bus.ready(life)
    handle = cluster.start(
        "Persist", task_queue, task_queue, "heartbeat_until_cancelled", str(tmp_path / "it")
    )
    started("it")
    bus.quiet(life)
    for _ in range(2):
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
    bus.ready(leaver())
    cluster.run(handle.cancel())
    with pytest.raises(WorkflowFailureError) as failure:
        cluster.run(handle.result())
    cause = failure.value.cause
    # It was cancelled as its workflow wished, and not for the end of its Worker.
    assert isinstance(cause, ActivityError | CancelledError)
    # It stays though all that it had has ended.
    for _ in range(2):
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=0)
    assert not [message for message in bus.messages if isinstance(message, Draining)]
    bus.drain(life)
    assert "the supervisor told it to" in life.expect(ExitCode.STOPPED)


def test_a_signal_ends_a_quiet_entity(leaver: ForkProgram, bus: Bus) -> None:
    life = leaver()
    bus.ready(life)
    bus.quiet(life)
    bus.wait_for_heartbeat(life, pollers=0)
    life.send_signal(signal.SIGTERM)
    life.expect(ExitCode.STOPPED)


def test_a_worker_that_fails_gives_what_runs_no_more_time_than_a_drain(
    leaver: ForkProgram, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started
) -> None:
    life = leaver(0.2)
    bus.ready(life)
    handle = cluster.start("Persist", task_queue, task_queue, "save_progress", str(tmp_path / "it"))
    started("it")
    cluster.start("Persist", f"{task_queue}-2", task_queue, "fail_the_worker", "here")
    life.expect(ExitCode.WORKER_FAILED)
    bus.ready(leaver())
    assert cluster.run(handle.result()) == "attempt 2 after shutdown True"


def test_a_nexus_operation_is_cancelled_at_the_end(
    leaver: ForkProgram, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started
) -> None:
    target = EndpointTarget(
        worker=EndpointTarget.Worker(namespace=cluster.client.namespace, task_queue=task_queue)
    )
    spec = EndpointSpec(name=task_queue, target=target)
    cluster.run(cluster.client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec)))
    life = leaver(0.1)
    bus.ready(life)
    cluster.start("Errand", task_queue, task_queue, task_queue, str(tmp_path / "it"))
    path = started("it")
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    assert wait_until(Path(f"{path}.stopped").read_text, what="the operation") == "WORKER_SHUTDOWN"
