"""Garbage on every socket of a fleet that works: counted, and nothing else."""

import random
import socket

import zmq

from temporal_fleet.protocol.codec import HEADER, SIZE_LIMIT, encode
from temporal_fleet.protocol.messages import Draining, Heartbeat, Hello, Ready
from temporal_fleet.protocol.rundir import ipc
from tests.conftest import DevServer
from tests.faults.observing import Order, pids
from tests.system.conftest import MakeFleet

RANDOM = random.Random(11).randbytes
FRAMES = [
    [b""],
    [RANDOM(1000)],
    [HEADER + RANDOM(100)],
    [b"x"] * 10,
    [encode(Ready(entity="orders-2", incarnation=1))],
]
TO_NOBODY = [
    Hello(entity="orders-1", incarnation=99, pid=1),
    Ready(entity="orders-99", incarnation=1),
    Draining(entity="nobody", incarnation=1, cause="x" * 1000),
    Heartbeat(
        entity="orders-1",
        incarnation=99,
        cached_executions=10**18,
        blocked_executions=-1,
        evictions=0,
        resurrections=0,
        inflight_activities=0,
        pollers=0,
    ),
]
"""Well-formed, and of no life that there is."""


def test_it_is_counted_and_costs_nobody_anything(
    make: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make(entities=2).start()
    before = fleet.wait_running()
    order = Order(dev_server.address, task_queue)
    paths = fleet.run_dir
    sockets = {paths.bus: zmq.DEALER, paths.control: zmq.DEALER, paths.events: zmq.XSUB}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.linger = 200
    rounds = 50
    try:
        with context.socket(zmq.DEALER) as bus, context.socket(zmq.DEALER) as control:
            bus.connect(ipc(paths.bus))
            control.connect(ipc(paths.control))
            for _ in range(rounds):
                for frames in FRAMES:
                    bus.send_multipart(frames)
                    control.send_multipart(frames)
            for message in TO_NOBODY:
                frame = encode(message)
                with context.socket(zmq.DEALER) as stranger:
                    stranger.routing_id = f"{message.entity}.{message.incarnation}".encode()
                    stranger.connect(ipc(paths.bus))
                    stranger.send(frame)
                    fleet.status()
            for path, kind in sockets.items():
                for _ in range(rounds):
                    with socket.socket(socket.AF_UNIX) as raw:
                        raw.connect(str(path))
                        raw.sendall(RANDOM(2000))
                with context.socket(kind) as long:
                    long.connect(ipc(path))
                    long.send(HEADER + b"\0" * SIZE_LIMIT)
                    fleet.status()
            expected = 2 * rounds * len(FRAMES)
            after = fleet.wait(lambda s: s.fleet.dropped_messages >= expected, what=f"{expected} are counted")
    finally:
        context.destroy(linger=0)
    order.pay()
    assert pids(after) == pids(before)
    assert [entity.state for entity in fleet.status().entities] == ["ready", "ready"]
    assert fleet.stop() == 0
