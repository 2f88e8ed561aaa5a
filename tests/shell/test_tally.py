"""What is counted of the decisions of a real core."""

from typing import Any

import pytest

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import Estate, Life
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.shell.tally import CAUSES, Tally
from tests.core.driver import Driver
from tests.core.pools import by_name, make_pool

HELD = Estate(cached=3, connected=True)


class Counted(Driver):
    """A core whose decisions are counted, up and running."""

    def __init__(self, **pool: Any) -> None:
        self.tally = Tally()
        super().__init__(make_pool("orders", 1, **pool))
        self.prepare()
        self.boot()

    def tell(self, event: events.Event) -> tuple[act.Action, ...]:
        before = self.fleet
        actions = super().tell(event)
        self.tally.count(before, event, self.fleet, actions, self.now)
        return actions

    def value(self, name: str, **labels: str) -> float:
        for family in self.tally.families(self.fleet):
            for series in family.series:
                if family.name == f"temporal_fleet_{name}" and series.labels == labels:
                    return series.value
        raise KeyError(name, labels)

    def by_cause(self, name: str) -> dict[str, float]:
        """What is not 0."""
        values = {
            cause: self.value(name, pool="orders", cause=cause) for cause in CAUSES if cause != "ordered"
        }
        return {cause: value for cause, value in values.items() if value}


def die_of_nothing(fleet: Counted) -> None:
    fleet.die("orders-1", signal="SIGSEGV")


def die_of_a_hang(fleet: Counted) -> None:
    fleet.wait(11.0)
    fleet.die("orders-1")


def die_at_boot(fleet: Counted) -> None:
    fleet.die("orders-1", signal="SIGSEGV")
    fleet.wait(70.0)
    fleet.die("orders-1")


def die_of_the_cluster(fleet: Counted) -> None:
    fleet.die("orders-1", code=ExitCode.CLUSTER_UNREACHABLE)


def die_of_the_host(fleet: Counted) -> None:
    fleet.die("orders-1", code=ExitCode.NO_BLACK_BOX)


def lose_every_slot(fleet: Counted) -> None:
    fleet.tell(events.StoodStill("orders-1", 1, activities=(99.0,), activity_slots=1))
    fleet.wait(1.0)
    fleet.die("orders-1")


def lose_one_slot(fleet: Counted) -> None:
    be_replaced(fleet, events.StoodStill("orders-1", 1, activities=(99.0,)))


def not_poll(fleet: Counted) -> None:
    fleet.tell(events.ClusterChanged(reachable=True, refused=False, reason=""))
    fleet.now += 99.0
    fleet.tell(events.Heard("orders-1", 1))
    be_replaced(fleet, events.StoodStill("orders-1", 1, unpolled="no poller", unpolled_for=99.0))


def be_replaced(fleet: Counted, told: events.StoodStill) -> None:
    fleet.tell(told)
    fleet.boot()
    fleet.leave()


@pytest.mark.parametrize(
    ("end", "causes"),
    [
        (die_of_nothing, {"crash": 1}),
        (die_of_a_hang, {"hang": 1}),
        (die_at_boot, {"crash": 1, "boot_timeout": 1}),
        (die_of_the_cluster, {"cluster": 1}),
        (die_of_the_host, {"host": 1}),
        (lose_every_slot, {"stuck": 1}),
        (lose_one_slot, {"stuck": 1}),
        (not_poll, {"not_polling": 1}),
    ],
)
def test_a_restart_is_put_down_to_its_cause(end: object, causes: dict[str, float]) -> None:
    fleet = Counted()
    assert callable(end)
    end(fleet)
    assert fleet.by_cause("entity_restarts") == fleet.by_cause("entity_deaths") == causes


def test_one_that_was_ordered_to_go_is_a_death_and_no_restart() -> None:
    fleet = Counted()
    fleet.tell(events.RestartRequested("a", None))
    fleet.prepare()
    fleet.boot()
    fleet.leave()
    assert fleet.value("entity_deaths", pool="orders", cause="ordered") == 1
    assert fleet.by_cause("entity_restarts") == {}


def test_a_crash_loop_is_a_death_without_a_restart() -> None:
    fleet = Counted(restart=RestartPolicy(max_restarts=0))
    fleet.die("orders-1", code=1)
    assert fleet.by_cause("entity_deaths") == {"crash": 1}
    assert fleet.by_cause("entity_restarts") == {}
    assert fleet.value("events", kind="entity.failed", level="error") == 1


def test_what_is_said_twice_counts_once() -> None:
    fleet = Counted()
    died = events.Died("orders-1", 1, None, "SIGKILL")
    fleet.tell(died)
    fleet.tell(died)
    assert fleet.by_cause("entity_deaths") == {"crash": 1}


def test_a_recovery_counts_what_it_set_free_and_how_long_that_took_since_the_death() -> None:
    fleet = Counted()
    fleet.tell(events.Died("orders-1", 1, None, "SIGKILL", estate=HELD))
    fleet.wait(0.2)
    done = events.Recovered(Life("orders-1", 1), 20, 2, 1, 3, 4, 0.12, "")
    fleet.tell(done)
    fleet.tell(done)
    counted = [
        fleet.value(f"recovered_{what}", pool="orders")
        for what in ("executions", "workflow_tasks", "queries", "activities")
    ]
    assert counted == [20, 2, 1, 3]
    (family,) = [f for f in fleet.tally.families(fleet.fleet) if f.name == "temporal_fleet_recovery_duration"]
    assert (sum(family.series[0].counts), family.unit) == (1, "s")
    assert family.series[0].value == pytest.approx(0.2)


def test_each_change_has_one_outcome() -> None:
    fleet = Counted()
    fleet.tell(events.ReloadRequested("a", by_name(make_pool("orders", 2))))
    fleet.prepare()
    assert fleet.value("changes", outcome="done") == 0
    fleet.boot()
    fleet.tell(events.FileRefused("b", ("it is no TOML",)))
    assert [fleet.value("changes", outcome=end) for end in ("done", "rejected", "failed")] == [1, 1, 0]


def test_what_may_be_counted_stands_at_zero_before() -> None:
    fleet = Counted()
    for cause in CAUSES:
        assert fleet.value("entity_deaths", pool="orders", cause=cause) == 0
