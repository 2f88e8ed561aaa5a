"""What of the heartbeats is told as an event."""

from temporal_fleet.protocol.messages import Heartbeat
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from tests.shell.places import place

HERE = place(1)


def beat(evictions: int, resurrections: int, incarnation: int = 3) -> Heartbeat:
    return Heartbeat(
        entity="orders-1",
        incarnation=incarnation,
        cached_executions=95,
        blocked_executions=90,
        evictions=evictions,
        resurrections=resurrections,
        inflight_activities=0,
        pollers=2,
    )


def test_executions_that_came_and_went_are_told() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.hear(HERE, beat(0, 0), 1.0) is None
    told = heartbeats.hear(HERE, beat(5, 3), 2.0)
    assert told is not None
    assert (told.kind, told.level) == ("executions.changed", Level.DEBUG)
    assert (told.pool, told.entity, told.incarnation) == ("orders", "orders-1", 3)
    assert told.message == "evicted 5, resurrected 3; 95 cached, 90 blocked"
    assert heartbeats.hear(HERE, beat(5, 3), 3.0) is None
    later = heartbeats.hear(HERE, beat(5, 4), 4.0)
    assert later is not None
    assert later.message == "resurrected 1; 95 cached, 90 blocked"


def test_an_entity_that_beats_too_often_is_told_of_once_a_second() -> None:
    heartbeats = Heartbeats()
    told = [heartbeats.hear(HERE, beat(count, 0), 1.0 + count / 64) for count in range(1, 193)]
    messages = [event.message.split(";")[0] for event in told if event is not None]
    assert len(messages) == 3
    assert sum(int(message.removeprefix("evicted ")) for message in messages) == 129


def test_a_new_life_counts_anew() -> None:
    heartbeats = Heartbeats()
    heartbeats.hear(HERE, beat(50, 50), 1.0)
    told = heartbeats.hear(HERE, beat(2, 0, incarnation=4), 1.5)
    assert told is not None
    assert told.message.startswith("evicted 2;")


def test_only_the_present_life_of_a_place_has_one() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.of(HERE) is None
    heartbeats.hear(HERE, beat(1, 1), 1.0)
    assert heartbeats.of(HERE) == beat(1, 1)
    assert heartbeats.of(place(1, State.BACKOFF)) is None
    heartbeats.hear(HERE, beat(1, 1, incarnation=2), 1.0)
    assert heartbeats.of(HERE) is None
