"""Evictions that an operator or the core asks for, on real sockets: of entities that answer, and do not."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import zmq

from temporal_fleet.protocol.codec import SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.control import (
    ControlReply,
    Event,
    EvictExecutions,
    EvictionReply,
    Progress,
    Rejected,
)
from temporal_fleet.protocol.messages import Evict, Evicted, Heartbeat, Hello, SupervisorMessage
from temporal_fleet.protocol.report import EventReport, EvictionReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.evictions import LIMIT, RATE, RUNS_LIMIT, Evictions
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from tests.shell.conftest import Context, Dealer
from tests.shell.places import fleet_of, place
from tests.waiting import wait_until

NEVER = float("inf")
BOTH = fleet_of(place(1), place(2, State.DRAINING), place(3, State.BACKOFF), place(4, State.STARTING))


@dataclass
class Stage:
    """The supervisor's sockets, two entities that it knows, and an operator."""

    heartbeats: Heartbeats
    evictions: Evictions
    bus: Bus
    control: Control
    entities: dict[str, "zmq.Socket[bytes]"]
    operator: "zmq.Socket[bytes]"
    follower: "zmq.Socket[bytes]"

    def ask(self, fleet: Fleet, request: EvictExecutions, now: float = 0.0) -> None:
        self.operator.send(encode(request))
        (asked,) = wait_until(lambda: list(self.control.receive()), what="the request")
        assert isinstance(asked.request, EvictExecutions)
        self.evictions.ask(fleet, asked.operator, asked.request, now)

    def ordered(self, entity: str) -> Evict:
        """What an entity is told."""
        socket = self.entities[entity]
        assert socket.poll(10_000), f"{entity} is told nothing"
        message = Decoder[SupervisorMessage](SupervisorMessage).decode(socket.recv())
        assert isinstance(message, Evict)
        return message

    def answer(self, entity: str, request: str, evicted: int = 5, incarnation: int = 3) -> list[events.Event]:
        self.entities[entity].send(
            encode(
                Evicted(
                    entity=entity,
                    incarnation=incarnation,
                    request=request,
                    evicted=evicted,
                    passed_over=1,
                    cached=2,
                    pss_before=90 << 20,
                    pss_after=40 << 20,
                    rss_before=100 << 20,
                    rss_after=50 << 20,
                )
            )
        )
        (message,) = wait_until(lambda: list(self.bus.receive()), what="its answer")
        assert isinstance(message, Evicted)
        return self.evictions.answered(message)

    def reply(self) -> ControlReply:
        assert self.operator.poll(10_000), "the operator gets no reply"
        return Decoder[ControlReply](ControlReply).decode(self.operator.recv())

    def event(self) -> EventReport:
        assert self.follower.poll(10_000), "nothing is told"
        return Decoder[Event](Event).decode(self.follower.recv()).report


@pytest.fixture
def stage(
    context: Context, paths: RunDirectory, bus: Bus, control: Control, dealer: Dealer
) -> Iterator[Stage]:
    entities = {f"orders-{number}": dealer(paths.bus, f"orders-{number}.3") for number in (1, 2)}
    for name, socket in entities.items():
        socket.send(encode(Hello(entity=name, incarnation=3, pid=17)))
        wait_until(lambda: list(bus.receive()), what=f"{name} is there")
    announcer = Announcer(control, lambda: 1.0)
    with context.socket(zmq.SUB) as subscriber:
        subscriber.subscribe(b"")
        subscriber.connect(ipc(paths.events))

        def listens() -> bool:
            announcer.announce(actions.Emit("entity.forked", actions.Level.DEBUG, "is anybody there?"))
            return bool(subscriber.poll(10))

        wait_until(listens, what="a subscriber is there")
        announcer.announce(actions.Emit("entity.forked", actions.Level.DEBUG, "the last of these"))
        while b"the last of these" not in subscriber.recv():
            continue
        heartbeats = Heartbeats()
        yield Stage(
            heartbeats,
            Evictions(bus, control, announcer, heartbeats),
            bus,
            control,
            entities,
            dealer(paths.control, "me"),
            subscriber,
        )


def of_both(**conditions: object) -> EvictExecutions:
    return EvictExecutions(id="q", target="orders", **conditions)  # type: ignore[arg-type]


def test_every_entity_that_can_hold_executions_is_asked(stage: Stage) -> None:
    stage.ask(BOTH, of_both(idle=60.0, keep=7))
    orders = [stage.ordered("orders-1"), stage.ordered("orders-2")]
    assert [(o.entity, o.incarnation) for o in orders] == [("orders-1", 3), ("orders-2", 3)]
    for order in orders:
        assert (order.idle, order.keep, order.at_most) == (60.0, 7, None)
        assert not order.only_these


def test_the_operator_is_told_of_each_and_answered_once_all_are_done(stage: Stage) -> None:
    stage.ask(BOTH, of_both())
    request = stage.ordered("orders-1").request
    # Whoever answers first, they come in the order of the fleet.
    assert stage.answer("orders-2", request) == []
    progress = stage.reply()
    assert isinstance(progress, Progress)
    assert (progress.id, progress.message) == ("q", "orders-2: evicted 5, 2 remain (1 of 2 entities)")
    stage.answer("orders-1", request, evicted=0)
    reports = [
        EvictionReport(
            entity=entity,
            evicted=evicted,
            passed_over=1,
            cached=2,
            freed_bytes=50 << 20,
            pss_bytes=40 << 20,
        )
        for entity, evicted in (("orders-1", 0), ("orders-2", 5))
    ]
    assert stage.reply() == EvictionReply(id="q", entities=reports)
    assert stage.evictions.due == NEVER


def test_an_eviction_is_an_event_with_its_figures(stage: Stage) -> None:
    stage.ask(BOTH, EvictExecutions(id="q", target="orders-1"))
    stage.answer("orders-1", stage.ordered("orders-1").request)
    event = stage.event()
    assert (event.kind, event.level) == ("executions.evicted", "info")
    assert (event.pool, event.entity, event.incarnation) == ("orders", "orders-1", 3)
    assert event.message == "evicted 5 as asked, 1 passed over, 2 remain: 90.0 MiB -> 40.0 MiB PSS"


def test_one_entity_and_certain_runs(stage: Stage) -> None:
    stage.ask(BOTH, EvictExecutions(id="q", target="orders-2", run_ids=["a", "b"]))
    order = stage.ordered("orders-2")
    assert (order.run_ids, order.only_these) == (["a", "b"], True)
    assert not stage.entities["orders-1"].poll(0)
    stage.answer("orders-2", order.request)
    assert isinstance(stage.reply(), EvictionReply)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("order", "no pool or entity 'order'; there are: orders, orders-1, orders-2, orders-3, orders-4"),
        ("orders-3", "orders-3 is backoff: it holds no executions"),
        ("orders-4", "orders-4 is starting: it holds no executions"),
    ],
)
def test_a_target_without_executions_is_refused(stage: Stage, target: str, problem: str) -> None:
    stage.ask(BOTH, EvictExecutions(id="q", target=target))
    assert stage.reply() == Rejected(id="q", problems=[problem])
    assert stage.evictions.due == NEVER


def test_a_pool_of_which_nobody_is_ready_is_refused(stage: Stage) -> None:
    stage.ask(fleet_of(place(1, State.WAITING)), of_both())
    reply = stage.reply()
    assert isinstance(reply, Rejected)
    assert "no entity of pool orders is ready" in reply.problems[0]


def test_more_runs_than_a_frame_can_hold_are_refused(stage: Stage) -> None:
    request = of_both(run_ids=["r" * 256] * 4000)
    assert SIZE_LIMIT - 30_000 < len(encode(request)) < SIZE_LIMIT
    stage.ask(BOTH, request)
    reply = stage.reply()
    assert isinstance(reply, Rejected)
    assert f"at most {RUNS_LIMIT}" in reply.problems[0]
    stage.ask(BOTH, of_both(run_ids=["r" * 256] * RUNS_LIMIT))
    assert len(stage.ordered("orders-1").run_ids) == RUNS_LIMIT


def test_one_that_dies_and_one_that_is_silent_are_told_of(stage: Stage) -> None:
    stage.ask(BOTH, of_both(), now=100.0)
    assert stage.evictions.due == 100.0 + LIMIT
    stage.evictions.died(Life("orders-1", 2))
    stage.evictions.expire(100.0)
    stage.evictions.died(Life("orders-1", 3))
    progress = stage.reply()
    assert isinstance(progress, Progress)
    assert "orders-1: it died before it answered" in progress.message
    stage.evictions.expire(stage.evictions.due)
    reply = stage.reply()
    assert isinstance(reply, EvictionReply)
    assert [(report.entity, report.problem) for report in reply.entities] == [
        ("orders-1", "it died before it answered"),
        ("orders-2", "no answer within 30 s"),
    ]
    assert stage.evictions.due == NEVER
    # Who answers now has nobody to tell.
    stage.answer("orders-2", stage.ordered("orders-2").request)
    assert not stage.operator.poll(100)
    assert not stage.follower.poll(0)


def test_who_has_more_to_evict_gets_more_time(stage: Stage) -> None:
    for number, blocked in ((1, 20_000), (2, 10)):
        told = Heartbeat(
            entity=f"orders-{number}",
            incarnation=3,
            cached_executions=blocked,
            blocked_executions=blocked,
            evictions=0,
            resurrections=0,
            inflight_activities=0,
            pollers=2,
        )
        stage.heartbeats.hear(BOTH.entities[f"orders-{number}"], told, 99.0)
    stage.ask(BOTH, of_both(), now=100.0)
    assert stage.evictions.due == 100.0 + 20_000 / RATE
    stage.evictions.expire(100.0 + LIMIT)
    assert not stage.operator.poll(100)
    stage.evictions.expire(stage.evictions.due)
    assert isinstance(stage.reply(), Progress)
    reply = stage.reply()
    assert isinstance(reply, EvictionReply)
    assert {report.problem for report in reply.entities} == {"no answer within 100 s"}


def test_requests_at_once_are_kept_apart(stage: Stage) -> None:
    one = EvictExecutions(id="one", target="orders-1")
    other = EvictExecutions(id="other", target="orders-1", keep=3)
    stage.ask(BOTH, one)
    stage.ask(BOTH, other)
    orders = [stage.ordered("orders-1"), stage.ordered("orders-1")]
    assert [order.keep for order in orders] == [0, 3]
    for order, request, evicted in ((orders[1], other, 8), (orders[0], one, 9)):
        stage.answer("orders-1", order.request, evicted)
        # Twice is once.
        stage.answer("orders-1", order.request, evicted)
        reply = stage.reply()
        assert isinstance(reply, EvictionReply)
        assert (reply.id, reply.entities[0].evicted) == (request.id, evicted)
    assert not stage.operator.poll(100)


def test_what_the_core_orders_is_answered_to_the_core_alone(stage: Stage) -> None:
    stage.evictions.order(actions.Evict(Life("orders-1", 3), at_most=40, run_ids=("a", "b")))
    order = stage.ordered("orders-1")
    assert (order.at_most, order.run_ids, order.only_these) == (40, ["a", "b"], False)
    assert stage.evictions.due == NEVER
    assert stage.answer("orders-1", order.request) == [
        events.Evicted("orders-1", 3, evicted=5, cached=2, before=100 << 20, after=50 << 20)
    ]
    assert not stage.operator.poll(100)
    assert not stage.follower.poll(0)
