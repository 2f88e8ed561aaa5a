"""One life of one entity, forked by a real fork server, against the real dev server and a real ROUTER."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError

from temporal_fleet.protocol.codec import encode
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.messages import Drain, Draining, Hello, Ready, Welcome
from temporal_fleet.protocol.process import is_alive, start_time
from temporal_fleet.protocol.signals import DUMP_STACKS
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import free_port
from tests.entity.conftest import Cluster, Fork
from tests.entity.lives import Bus, Life
from tests.entity.servers import silent_server
from tests.identities import plain
from tests.waiting import wait_until

Started = Callable[[str], Path]
ForkProgram = Callable[[str], Life]


@pytest.fixture
def other_supervisor() -> Iterator[subprocess.Popen[bytes]]:
    """A process to be watched as the supervisor, and killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_an_entity_says_hello_becomes_ready_works_and_drains(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    assert bus.wait_for(Hello, life).pid == life.pid
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"
    bus.drain(life)
    assert "the supervisor told it to" in life.expect(ExitCode.STOPPED)


def test_the_black_box_says_whose_it_is(fork: Fork, bus: Bus) -> None:
    life = fork()
    bus.ready(life)
    box = life.blackbox()
    assert (box.entity, box.incarnation, box.process.pid) == (
        life.spec.entity,
        life.spec.incarnation,
        life.pid,
    )
    assert is_alive(box.process)
    assert plain(box.identity) == f"shop/orders-1.{life.spec.incarnation}@{os.uname().nodename}:{life.pid}"
    life.end()
    assert not is_alive(life.blackbox().process)


def test_the_cluster_sees_the_identity(fork: Fork, bus: Bus, cluster: Cluster, task_queue: str) -> None:
    life = fork()
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
    cluster.run(handle.result())
    history = cluster.run(handle.fetch_history())
    identities = {
        event.activity_task_started_event_attributes.identity
        for event in history.events
        if event.HasField("activity_task_started_event_attributes")
    }
    assert identities == {life.blackbox().identity}


def test_heartbeats_carry_what_the_sdk_measures(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started
) -> None:
    life = fork(program={"worker": {"max_cached_workflows": 2}})
    bus.ready(life)
    assert bus.wait_for_heartbeat(life, cached_executions=0).pollers >= 2
    orders = [cluster.start("Order", f"{task_queue}-{n}", task_queue) for n in range(2)]
    bus.wait_for_heartbeat(life, cached_executions=2, blocked_executions=2, evictions=0, resurrections=0)
    third = cluster.start("Order", f"{task_queue}-third", task_queue)
    bus.wait_for_heartbeat(life, cached_executions=2, evictions=1)
    for handle in [*orders, third]:
        cluster.run(handle.signal("pay"))
        assert cluster.run(handle.result()) == "paid"
    activity = cluster.start("Run", f"{task_queue}-run", task_queue, "wait_for_file", str(tmp_path / "go"))
    go = started("go")
    running = bus.wait_for_heartbeat(life, inflight_activities=1)
    assert running.resurrections >= 1
    go.touch()
    cluster.run(activity.result())
    bus.wait_for_heartbeat(life, inflight_activities=0, cached_executions=0, blocked_executions=0)


@pytest.mark.parametrize("kind", ["wait_for_file", "wait_for_file_in_thread"])
def test_draining_lets_running_activities_finish(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started, kind: str
) -> None:
    life = fork()
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, kind, str(tmp_path / "go"))
    go = started("go")
    bus.drain(life)
    # It no longer polls, and waits for the activity.
    bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
    bus.drain(life)
    go.touch()
    life.expect(ExitCode.STOPPED)
    # The workflow goes on elsewhere with the result that was delivered.
    second = fork()
    bus.ready(second)
    assert str(life.pid) in cluster.run(handle.result())


@pytest.mark.parametrize("kind", ["wait_for_file", "wait_for_file_in_thread"])
def test_activities_that_outlast_the_drain_are_cancelled(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str, tmp_path: Path, started: Started, kind: str
) -> None:
    life = fork(drain=0.2)
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, kind, str(tmp_path / "go"))
    started("go")
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    second = fork()
    bus.ready(second)
    with pytest.raises(WorkflowFailureError):
        cluster.run(handle.result())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sent_to_the_entity_drains_it(fork: Fork, bus: Bus, number: int) -> None:
    life = fork()
    bus.ready(life)
    life.send_signal(number)
    assert bus_message_before_the_end(bus, life) == "signal"
    assert "signal" in life.expect(ExitCode.STOPPED)


def bus_message_before_the_end(bus: Bus, life: Life) -> str:
    """The cause it gave. It may well be dead when the message is read."""
    life.exit_code()

    def said() -> str | None:
        bus.pump()
        causes = [m.cause for m in bus.messages if isinstance(m, Draining) and m.entity == life.spec.entity]
        return causes[0] if causes else None

    return wait_until(said, what="Draining")


def test_a_signal_before_it_is_ready_ends_it_at_once(fork: Fork) -> None:
    # Nobody answers there, and connecting would take its time.
    with silent_server() as address:
        life = fork(ClusterSpec(address=address))
        wait_until(life.identity, what="the entity's own boot")
        life.send_signal(signal.SIGTERM)
        life.expect(ExitCode.STOPPED)


def test_rubbish_and_messages_for_another_life_change_nothing(fork: Fork, bus: Bus) -> None:
    life = fork()
    bus.ready(life)
    entity, incarnation = life.spec.entity, life.spec.incarnation
    bus.send_bytes(life, b"rubbish")
    bus.send_bytes(life, b"")
    bus.send_bytes(life, b"two", b"frames")
    bus.send_bytes(life, b"x" * 2000)
    bus.send_bytes(life, encode(Hello(entity=entity, incarnation=incarnation, pid=1)))
    bus.send(life, Drain(entity=entity, incarnation=incarnation - 1))
    bus.send(life, Drain(entity="orders-2", incarnation=incarnation))
    bus.send(life, Welcome(entity=entity, incarnation=incarnation, supervisor_pid=-1))
    bus.send(life, Welcome(entity=entity, incarnation=incarnation, supervisor_pid=1 << 70 >> 8))
    beats = 2
    for _ in range(beats):
        bus.wait_for_heartbeat(life)
    assert not [m for m in bus.messages if isinstance(m, Draining)]
    bus.drain(life)
    life.expect(ExitCode.STOPPED)


def test_a_supervisor_that_does_not_read_does_not_stop_the_work(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    # Nothing is read from the bus from here on.
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"


def test_an_orphan_works_on_then_drains_by_itself(
    fork: Fork, bus: Bus, other_supervisor: subprocess.Popen[bytes], cluster: Cluster, task_queue: str
) -> None:
    life = fork(supervisor_pid=other_supervisor.pid, orphan=8.0)
    bus.ready(life)
    other_supervisor.kill()
    other_supervisor.wait()
    # It greets again and again, and works.
    bus.wait_for(Hello, life, count=3)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"
    assert bus_message_before_the_end(bus, life) == "orphaned"
    assert "supervisor" in life.expect(ExitCode.ORPHANED)
    # Whoever finds its black box is not to recover what it released itself.
    assert life.blackbox().identity == ""


def test_a_new_supervisor_on_the_same_path_keeps_an_orphan_at_work(
    fork: Fork, bus: Bus, run_dir: Path, other_supervisor: subprocess.Popen[bytes]
) -> None:
    life = fork(supervisor_pid=other_supervisor.pid, orphan=4.0)
    bus.ready(life)
    bus.close()
    other_supervisor.kill()
    other_supervisor.wait()
    (run_dir / "bus.sock").unlink(missing_ok=True)
    successor = Bus(run_dir)
    try:
        successor.welcome(life, os.getpid())
        successor.wait_for(Ready, life)
        # Longer than it would have waited as an orphan.
        for _ in range(6):
            successor.wait_for_heartbeat(life)
        assert not [m for m in successor.messages if isinstance(m, Draining)]
        successor.drain(life)
        life.expect(ExitCode.STOPPED)
    finally:
        successor.close()


def test_an_entity_whose_supervisor_is_dead_at_its_birth_is_an_orphan(
    fork: Fork, bus: Bus, other_supervisor: subprocess.Popen[bytes]
) -> None:
    other_supervisor.kill()
    other_supervisor.wait()
    life = fork(supervisor_pid=other_supervisor.pid, orphan=0.5)
    life.expect(ExitCode.ORPHANED)


def test_an_orphan_whose_activity_never_ends_kills_itself(
    fork: Fork,
    bus: Bus,
    other_supervisor: subprocess.Popen[bytes],
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
) -> None:
    life = fork(supervisor_pid=other_supervisor.pid, orphan=0.2, drain=0.1)
    bus.ready(life)
    cluster.start("Run", f"{task_queue}-1", task_queue, "ignore_cancellation", str(tmp_path / "go"))
    started("go")
    other_supervisor.kill()
    assert life.exit_code() == -signal.SIGKILL
    assert "orphaned" in life.blackbox().last_words


def test_a_cluster_that_is_not_there_is_unreachable(fork: Fork) -> None:
    address = f"127.0.0.1:{free_port()}"
    words = fork(ClusterSpec(address=address)).expect(ExitCode.CLUSTER_UNREACHABLE)
    assert address in words
    assert "onnection refused" in words


def test_a_namespace_that_is_not_there_is_refused(fork: Fork, cluster: Cluster) -> None:
    where = ClusterSpec(address=cluster.spec.address, namespace="absent")
    life = fork(where)
    words = life.expect(ExitCode.CLUSTER_REFUSED)
    assert "'absent'" in words
    assert "namespace create" in words
    assert last_line(life.log())["event"] == words


def test_a_hook_that_fails_is_a_crash_and_its_traceback_is_shown(fork: Fork) -> None:
    life = fork(program={"after_fork": "life_hooks:fails"})
    assert "the database is away" in life.expect(ExitCode.CRASHED)
    assert "life_hooks.py" in life.log()


@pytest.mark.parametrize("hook", ["leaves_a_mark", "leaves_a_mark_later"])
def test_the_hook_runs_in_the_entity_before_it_connects(
    fork: Fork, tmp_path: Path, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    life = fork(ClusterSpec(address=address), program={"after_fork": f"life_hooks:{hook}"})
    life.expect(ExitCode.CLUSTER_UNREACHABLE)
    assert f"hook in {life.pid}" in life.log()


def test_options_that_the_worker_refuses_make_the_program_unusable(fork: Fork) -> None:
    life = fork(program={"worker": {"max_cached_workflows": -5}})
    assert "max_cached_workflows (can't convert negative" in life.expect(ExitCode.PROGRAM_UNUSABLE)


def test_a_worker_that_fails_says_so_and_is_no_fault_of_the_cluster(fork_program: ForkProgram) -> None:
    life = fork_program("life_plugins:fails")
    assert "its Worker failed: OSError: no such queue" in life.expect(ExitCode.WORKER_FAILED)
    assert "life_plugins.py" in life.log()


def test_a_worker_that_ends_by_itself_failed(fork_program: ForkProgram) -> None:
    assert "ended by itself" in fork_program("life_plugins:returns").expect(ExitCode.WORKER_FAILED)


def test_a_service_that_a_plugin_asks_in_vain_is_no_fault_of_the_program_for_good(
    fork_program: Callable[..., Life],
) -> None:
    assert "no settings" in fork_program("life_plugins:refused").expect(ExitCode.CRASHED)


@pytest.mark.parametrize("program", ["life_plugins:works", "life_plugins:factory"])
def test_plugins_and_factories_work(
    fork_program: ForkProgram, bus: Bus, cluster: Cluster, task_queue: str, program: str
) -> None:
    life = fork_program(program)
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"


def test_a_client_of_the_programs_own_works_in_an_entity(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "connect", cluster.spec.address)
    assert cluster.run(handle.result()) == "connected"


def test_the_programs_log_lines_name_the_entity(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    bus.ready(life)
    cluster.run(cluster.start("Run", f"{task_queue}-1", task_queue, "greet", task_queue).result())

    def line() -> dict[str, Any] | None:
        lines = [json.loads(text) for text in life.log().splitlines() if text.startswith("{")]
        return next((one for one in lines if one["event"] == f"greeting {task_queue}"), None)

    found = wait_until(line, what=f"the program's line in the log:\n{life.log()}")
    expected = {
        "fleet": "shop",
        "entity": "orders-1",
        "incarnation": life.spec.incarnation,
        "pid": life.pid,
        "level": "warning",
        "logger": "shop",
    }
    assert expected.items() <= found.items()


def test_console_lines_are_for_people(fork: Fork) -> None:
    address = f"127.0.0.1:{free_port()}"
    life = fork(ClusterSpec(address=address), log_format="console")
    words = life.expect(ExitCode.CLUSTER_UNREACHABLE)
    line = next(text for text in life.log().splitlines() if words in text)
    assert "entity=orders-1" in line


def last_line(log: str) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(log.splitlines()[-1])
    return line


@pytest.mark.parametrize(
    ("activity", "where"),
    [("hang_the_loop", "blocking_call_of_the_program"), ("hold_the_gil", "hold_the_gil")],
)
def test_a_hanging_entity_still_writes_its_stacks(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    started: Started,
    activity: str,
    where: str,
) -> None:
    life = fork()
    bus.ready(life)
    cluster.start("Run", f"{task_queue}-1", task_queue, activity, str(tmp_path / "go"))
    started("go")

    def stacks_there() -> str:
        # Until it has come there.
        life.send_signal(DUMP_STACKS)
        return life.stacks() if where in life.stacks() else ""

    stacks = wait_until(stacks_there, what="the stacks", within=10)
    assert "life_program.py" in stacks
    assert life.alive()


def test_what_was_printed_before_a_kill_is_not_lost(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    bus.ready(life)
    cluster.start("Run", f"{task_queue}-1", task_queue, "print_and_be_killed")
    assert life.exit_code() == -signal.SIGKILL
    assert "the last line" in life.log()


def test_a_child_that_the_program_forks_ends_by_a_signal_and_the_entity_does_not_hear_it(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "give_a_forked_pool_up")
    assert cluster.run(handle.result()) == "given up"
    bus.wait_for_heartbeat(life)
    assert not [m for m in bus.messages if isinstance(m, Draining)]
    bus.drain(life)
    life.expect(ExitCode.STOPPED)


def test_workflows_alone_run_local_activities(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork(program={"workers": ("workflow",)})
    bus.ready(life)
    handle = cluster.start("RunLocally", f"{task_queue}-1", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"
    # Those of anybody else are for another.
    cluster.start("Run", f"{task_queue}-2", task_queue, "greet", "me")
    wait_until(
        lambda: "Run" in {each.workflow_type for each in life.blackbox().holdings.executions},
        what="it has the workflow",
    )
    # By then it would have been handed out.
    handle = cluster.start("RunLocally", f"{task_queue}-3", task_queue, "greet", "again")
    assert cluster.run(handle.result()) == f"hello again from {life.pid}"
    assert "greeting me" not in life.log()


def test_a_task_of_the_program_is_cancelled_and_may_save_what_it_has(fork: Fork, bus: Bus) -> None:
    life = fork(program={"after_fork": "life_hooks:produces"})
    bus.ready(life)
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    assert "what it had is saved" in life.log()


def test_children_of_the_program_and_its_exit_hooks_are_seen_to(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "use_a_process_pool")
    child = int(cluster.run(handle.result()))
    bus.drain(life)
    life.expect(ExitCode.STOPPED)
    assert f"exit hook in {life.pid}" in life.log()
    wait_until(lambda: start_time(child) is None, what="the end of the pool's process")
