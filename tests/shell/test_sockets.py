"""The bus and the operators' sockets under peers of every kind: real ZeroMQ, real garbage."""

import os
import random
import socket

import pytest
import zmq

from temporal_fleet.protocol.codec import HEADER, REPLY_LIMIT, SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.control import Accepted, ControlReply, Event, GetStatus, Rejected
from temporal_fleet.protocol.messages import Evicted, Heartbeat, Hello, SupervisorMessage, Welcome
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from temporal_fleet.supervisor.shell.bus import AT_ONCE, Bus
from temporal_fleet.supervisor.shell.control import Asked, Control
from tests.shell.conftest import Context, Dealer
from tests.waiting import wait_until

HELLO = Hello(entity="orders-1", incarnation=3, pid=17)
STATUS = GetStatus(id="a")
RANDOM = random.Random(7).randbytes


def next_hello(bus: Bus) -> Hello:
    """The next message; what comes before it is dropped, or the test fails."""
    (message,) = wait_until(lambda: list(bus.receive()), what="a message")
    assert isinstance(message, Hello)
    return message


BEYOND_REASON = Heartbeat(
    entity="orders-1",
    incarnation=3,
    cached_executions=2**64 - 1,
    blocked_executions=0,
    evictions=0,
    resurrections=0,
    inflight_activities=0,
    pollers=0,
)
NEGATIVE = Evicted(
    entity="orders-1",
    incarnation=3,
    request="core",
    evicted=0,
    passed_over=0,
    cached=0,
    pss_before=0,
    pss_after=-1,
    rss_before=0,
    rss_after=0,
)
GARBAGE = {
    "a figure beyond reason": [encode(BEYOND_REASON)],
    "a figure below zero": [encode(NEGATIVE)],
    "random": [RANDOM(500)],
    "empty": [b""],
    "nothing but a header": [HEADER],
    "a header and random bytes": [HEADER + RANDOM(100)],
    "another version": [b"TFLT\x63" + encode(HELLO)[5:]],
    "a message of the other side": [encode(Welcome(entity="orders-1", incarnation=3, supervisor_pid=1))],
    "nested beyond reason": [HEADER + b"\x91" * 100_000],
    "two frames": [encode(HELLO), encode(HELLO)],
    "many frames": [b"x"] * 50,
    "in the name of another": [encode(Hello(entity="orders-2", incarnation=3, pid=17))],
    "of another life": [encode(Hello(entity="orders-1", incarnation=2, pid=17))],
}


@pytest.mark.parametrize("frames", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_on_the_bus_is_counted_and_dropped(
    bus: Bus, paths: RunDirectory, dealer: Dealer, frames: list[bytes]
) -> None:
    entity = dealer(paths.bus)
    entity.send_multipart(frames)
    entity.send(encode(HELLO))
    assert next_hello(bus) == HELLO
    assert bus.dropped == 1


@pytest.mark.parametrize("frames", [[], [b""], [RANDOM(500)], [encode(STATUS)] * 2, [encode(HELLO)]])
def test_garbage_of_operators_is_counted_and_dropped(
    control: Control, paths: RunDirectory, dealer: Dealer, frames: list[bytes]
) -> None:
    operator = dealer(paths.control, "me")
    operator.send_multipart(frames or [b"", b"", b""])
    operator.send(encode(STATUS))
    assert wait_until(lambda: list(control.receive()), what="a request") == [Asked(b"me", STATUS)]
    assert control.dropped == 1


def test_a_frame_over_the_limit_costs_its_sender_the_connection_alone(
    bus: Bus, paths: RunDirectory, dealer: Dealer
) -> None:
    entity = dealer(paths.bus)
    entity.send(HEADER + b"x" * SIZE_LIMIT)
    other = dealer(paths.bus, "orders-2.1")
    other.send(encode(Hello(entity="orders-2", incarnation=1, pid=18)))
    assert next_hello(bus).pid == 18
    # Its own connection comes back, and what it says then is heard.
    entity.send(encode(HELLO))
    assert next_hello(bus) == HELLO


@pytest.mark.parametrize("name", ["bus", "control", "events"])
def test_what_is_not_even_zeromq_harms_nobody(
    bus: Bus, control: Control, paths: RunDirectory, dealer: Dealer, name: str
) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(getattr(paths, name)))
            raw.sendall(RANDOM(300))
    entity, operator = dealer(paths.bus), dealer(paths.control, "me")
    entity.send(encode(HELLO))
    operator.send(encode(STATUS))
    assert next_hello(bus) == HELLO
    assert wait_until(lambda: list(control.receive()), what="a request") == [Asked(b"me", STATUS)]


def test_a_flood_lets_the_loop_turn_to_others(bus: Bus, paths: RunDirectory, dealer: Dealer) -> None:
    entity = dealer(paths.bus)
    entity.sndhwm = 0
    for _ in range(3 * AT_ONCE):
        entity.send(b"garbage")
    turns = 0
    while bus.dropped < 3 * AT_ONCE:
        assert bus.socket.poll(10_000)
        before = bus.dropped
        assert list(bus.receive()) == []
        assert bus.dropped - before <= AT_ONCE
        turns += 1
    assert turns >= 3


def test_one_that_reconnects_is_reached_though_its_old_connection_stands(
    bus: Bus, paths: RunDirectory, dealer: Dealer
) -> None:
    old = dealer(paths.bus)
    old.send(encode(HELLO))
    next_hello(bus)
    new = dealer(paths.bus)
    new.send(encode(HELLO))
    next_hello(bus)
    welcome = Welcome(entity="orders-1", incarnation=3, supervisor_pid=os.getpid())
    bus.send(welcome)
    assert new.poll(10_000)
    assert Decoder[SupervisorMessage](SupervisorMessage).decode(new.recv()) == welcome
    assert not old.poll(0)


def test_a_message_for_nobody_is_lost(bus: Bus) -> None:
    bus.send(Welcome(entity="orders-9", incarnation=1, supervisor_pid=1))
    assert bus.dropped == 0


def test_an_operator_that_reads_nothing_holds_nobody_up(
    control: Control, paths: RunDirectory, dealer: Dealer
) -> None:
    deaf, other = dealer(paths.control, "deaf"), dealer(paths.control, "other")
    deaf.rcvhwm = 1
    for operator in (deaf, other):
        operator.send(encode(STATUS))
    heard: set[bytes] = set()

    def both() -> bool:
        heard.update(asked.operator for asked in control.receive())
        return len(heard) == 2

    wait_until(both, what="both are there")
    reply = Accepted(id="a", message="x" * 10_000, generation=1)
    for _ in range(3000):
        control.reply(b"deaf", reply)
    control.reply(b"other", reply)
    assert other.poll(10_000)
    assert Decoder[ControlReply](ControlReply).decode(other.recv()) == reply


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Accepted(id="a", message="x" * REPLY_LIMIT, generation=1), "over the limit"),
        (Accepted(id="a", message="ok", generation=2**64), "cannot be encoded"),
        (Accepted(id="a", message="/home/\udcff", generation=1), "cannot be encoded"),
    ],
)
def test_an_operator_whose_reply_fits_no_frame_is_told_so(
    control: Control, paths: RunDirectory, dealer: Dealer, reply: Accepted, told: str
) -> None:
    operator = dealer(paths.control, "me")
    operator.send(encode(STATUS))
    wait_until(lambda: list(control.receive()), what="a request")
    control.reply(b"me", reply)
    assert control.dropped == 1
    assert operator.poll(10_000)
    heard = Decoder[ControlReply](ControlReply).decode(operator.recv())
    assert isinstance(heard, Rejected)
    assert heard.id == "a"
    assert told in heard.problems[0]


def test_a_reply_may_be_larger_than_a_request(control: Control, paths: RunDirectory, dealer: Dealer) -> None:
    """As of a thousand entities that failed, each with its reason."""
    operator = dealer(paths.control, "me")
    operator.send(encode(STATUS))
    wait_until(lambda: list(control.receive()), what="a request")
    reply = Accepted(id="a", message="x" * 4 * SIZE_LIMIT, generation=1)
    control.reply(b"me", reply)
    assert operator.poll(10_000)
    assert Decoder[ControlReply](ControlReply, REPLY_LIMIT).decode(operator.recv()) == reply


def test_a_subscriber_that_reads_nothing_holds_nobody_up(
    control: Control, context: Context, paths: RunDirectory
) -> None:
    def subscriber() -> "zmq.Socket[bytes]":
        made = context.socket(zmq.SUB)
        made.rcvhwm = 1
        made.subscribe(b"")
        made.connect(ipc(paths.events))
        return made

    def report(kind: str) -> EventReport:
        return EventReport(time=0.0, kind=kind, level="info", message="x" * 10_000)

    with subscriber() as slow, subscriber() as quick:
        for one in (slow, quick):

            def connected(one: "zmq.Socket[bytes]" = one) -> bool:
                control.publish(report("first"))
                return bool(one.poll(10))

            wait_until(connected, what="a subscriber is there")
        for _ in range(3000):
            control.publish(report("flood"))

        def told() -> bool:
            control.publish(report("last"))
            decoder = Decoder[Event](Event)
            kinds = set()
            while quick.poll(10):
                kinds.add(decoder.decode(quick.recv()).report.kind)
            return "last" in kinds

        wait_until(told, what="the quick one hears the last event")


def test_an_event_that_is_too_large_is_counted(control: Control) -> None:
    control.publish(EventReport(time=0.0, kind="test", level="info", message="x" * SIZE_LIMIT))
    assert control.dropped == 1
