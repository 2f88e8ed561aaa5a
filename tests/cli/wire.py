"""A stand-in for the supervisor on the real wire: a ROUTER and a PUB on the real sockets of a run directory,
the real lock, and answers that the test writes. No fleet is behind it; those tests are in tests/system.

It runs in a process of its own, since the command watches the life of the process it talks to.
"""

import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from temporal_fleet.protocol import codec
from temporal_fleet.protocol.control import ControlReply, ControlRequest, Event, GetStatus, StatusReply
from temporal_fleet.protocol.report import (
    ClusterReport,
    EntityReport,
    EventReport,
    FleetReport,
    PoolReport,
    StatusReport,
)
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from tests.waiting import wait_until

Answer = Callable[[ControlRequest], Iterable[ControlReply]]


class End(Exception):
    """Raised by an answer: the stand-in ends here, as a supervisor that stops or dies does."""


@contextmanager
def stand_in(run_dir: Path, answer: Answer, events: Iterable[EventReport] = ()) -> Iterator[int]:
    """Its PID, once it listens. `events` go out to the first who subscribes, then it ends."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (run_dir / "listening").unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            _serve(RunDirectory(run_dir), answer, list(events))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    try:
        wait_until((run_dir / "listening").exists, what="the stand-in listens")
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(run: RunDirectory, answer: Answer, events: list[EventReport]) -> None:
    lock = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    run.pid.write_text(f"{os.getpid()}\n")
    decoder: codec.Decoder[ControlRequest] = codec.Decoder(ControlRequest)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as control, context.socket(zmq.XPUB) as out:
        control.bind(ipc(run.control))
        out.bind(ipc(run.events))
        (run.path / "listening").touch()
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(out, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if out in ready:
                out.recv()
                for event in events:
                    out.send(codec.encode(Event(report=event)))
                return
            operator, frame = control.recv_multipart()
            try:
                for reply in answer(decoder.decode(frame)):
                    control.send_multipart([operator, codec.encode(reply)])
            except End:
                return


def report(
    *,
    state: str = "running",
    config: Path | None = None,
    pools: Iterable[PoolReport] = (),
    entities: Iterable[EntityReport] = (),
    reason: str = "",
) -> StatusReport:
    return StatusReport(
        fleet=FleetReport(
            name="shop",
            pid=os.getpid(),
            state=state,
            generation=3,
            uptime_s=3723.0,
            run_dir="/run/shop",
            config=None if config is None else str(config),
            reason=reason,
            rss_bytes=40 << 20,
            dropped_messages=0,
        ),
        cluster=ClusterReport(
            address="127.0.0.1:7233",
            namespace="default",
            reachable=True,
            reason="",
            ui="http://127.0.0.1:8233",
        ),
        pools=list(pools),
        entities=list(entities),
    )


def pool(name: str = "orders", *, desired: int = 1, ready: int = 1, reason: str = "") -> PoolReport:
    return PoolReport(
        name=name, program=f"shop.{name}", task_queue=name, desired=desired, ready=ready, reason=reason
    )


def entity(name: str = "orders-1", *, state: str = "ready", reason: str = "") -> EntityReport:
    return EntityReport(
        id=name,
        pool=name.rpartition("-")[0],
        pid=4711 if state not in ("failed", "backoff", "stopped") else None,
        state=state,
        incarnation=2,
        restarts=1,
        rss_bytes=60 << 20,
        pss_bytes=(9 << 20) + 400_000,
        cached_executions=7,
        blocked_executions=5,
        evictions=3,
        resurrections=2,
        inflight_activities=1,
        uptime_s=65.0,
        last_exit=None,
        reason=reason,
    )


def answers(status: StatusReport, *others: Callable[[ControlRequest], ControlReply | None]) -> Answer:
    """Answers GetStatus with a report, anything else by the first of `others` that does not return None."""

    def answer(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, GetStatus):
            yield StatusReply(id=request.id, report=status)
            return
        for other in others:
            reply = other(request)
            if reply is not None:
                yield reply
                return

    return answer
