"""The memory of real processes, as the core is told of it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psutil
import pytest

from temporal_fleet.protocol.messages import Heartbeat
from temporal_fleet.supervisor.core.events import Reading
from temporal_fleet.supervisor.core.fleet import MemoryLimits, Pool, RecyclePolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.measuring import ALLOWANCE, INTERVAL, NEAR_ALLOWANCE, Measuring
from temporal_fleet.supervisor.shell.vitals import resident_bytes
from tests.shell.places import ORDERS, fleet_of, place
from tests.shell.processes import SLEEP, ended_after, shell, wait_for_zombie
from tests.waiting import wait_until

LIMITED = replace(ORDERS, memory=MemoryLimits(evict_above=1))
GIBIBYTE = 1 << 30
NEVER = float("inf")


def heartbeat(incarnation: int = 3, **figures: Any) -> Heartbeat:
    counts: dict[str, Any] = {
        "cached_executions": 0,
        "blocked_executions": 0,
        "evictions": 0,
        "resurrections": 0,
        **figures,
    }
    return Heartbeat(entity="orders-1", incarnation=incarnation, inflight_activities=0, pollers=2, **counts)


@pytest.mark.parametrize(
    ("pool", "budget", "wanted"),
    [
        (ORDERS, None, False),
        (LIMITED, None, True),
        (replace(ORDERS, recycle=RecyclePolicy(max_tasks=5)), None, True),
        (ORDERS, GIBIBYTE, True),
    ],
)
def test_it_measures_only_where_a_limit_asks_for_it(pool: Pool, budget: int | None, wanted: bool) -> None:
    fleet = fleet_of(place(1), pool=pool, budget=budget)
    assert (Measuring(Heartbeats()).due(fleet) < NEVER) is wanted


def test_it_measures_once_in_an_interval() -> None:
    measuring = Measuring(Heartbeats())
    fleet = fleet_of(place(1, pid=os.getpid()), pool=LIMITED)
    assert measuring.due(fleet) <= 50.0
    measuring.measure(fleet, 50.0)
    assert measuring.due(fleet) == 50.0 + INTERVAL


def test_a_reading_has_the_memory_of_the_process_and_what_it_told_last() -> None:
    heartbeats = Heartbeats()
    entity = place(1, pid=os.getpid())
    heartbeats.hear(entity, heartbeat(cached_executions=7, blocked_executions=5, tasks=90), 1.0)
    (reading,) = Measuring(heartbeats).measure(fleet_of(entity, pool=LIMITED), 1.0).readings
    assert 1 << 20 < reading.rss < GIBIBYTE
    assert reading == Reading("orders-1", 3, reading.rss, None, cached=7, blocked=5, tasks=90)


def test_what_a_former_life_told_is_not_taken_for_the_present_ones() -> None:
    heartbeats = Heartbeats()
    entity = place(1, pid=os.getpid())
    heartbeats.hear(entity, heartbeat(incarnation=2, cached_executions=7), 1.0)
    (reading,) = Measuring(heartbeats).measure(fleet_of(entity, pool=LIMITED), 1.0).readings
    assert reading.cached == 0


def test_only_who_has_a_process_is_measured() -> None:
    gone, zombie = shell("exit 0"), shell(SLEEP)
    os.waitpid(gone, 0)
    with ended_after(zombie):
        os.kill(zombie, 9)
        wait_for_zombie(zombie)
        places = [
            place(1, pid=gone),
            place(2, pid=zombie),
            place(3, State.STARTING),
            place(4, State.BACKOFF, pid=os.getpid()),
            place(5, State.DRAINING, pid=os.getpid()),
        ]
        measured = Measuring(Heartbeats()).measure(fleet_of(*places, pool=LIMITED), 1.0)
    assert [reading.entity for reading in measured.readings] == ["orders-5"]


def test_pss_is_read_only_near_the_budget() -> None:
    entity = place(1, pid=os.getpid())
    far = Measuring(Heartbeats()).measure(fleet_of(entity, budget=64 * GIBIBYTE), 1.0)
    assert far.readings[0].pss is None
    near = Measuring(Heartbeats()).measure(fleet_of(entity, budget=1 << 20), 1.0)
    assert near.readings[0].pss is not None
    assert 0 < near.readings[0].pss <= near.readings[0].rss


FAMILY = """
import os, sys, signal
ballast = os.urandom(1 << 20) * 64
forks = []
for _ in range(4):
    if not (fork := os.fork()):
        signal.pause()
    forks.append(fork)
print(*forks, flush=True)
sys.stdin.read()
for fork in forks:
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)
"""


def test_shared_memory_counts_once() -> None:
    """Forks share their pages: all RSS together are far over the budget, all PSS far below it."""
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as family:
        assert family.stdout is not None
        forks = [int(pid) for pid in family.stdout.readline().split()]
        places = [place(number, pid=pid) for number, pid in enumerate(forks, 1)]
        budget = 200 << 20
        measuring = Measuring(Heartbeats())
        for second in range(3):
            measured = measuring.measure(fleet_of(*places, budget=budget), float(second))
            assert sum(reading.rss for reading in measured.readings) > budget
            assert 0 < sum(reading.pss or budget for reading in measured.readings) < budget
        family.communicate()


class SlowReadings:
    """PSS of a quarter of each RSS, read in `cost` seconds of its own clock."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.now = 0.0
        self.read: list[int] = []

    def __call__(self, pid: int) -> int | None:
        self.now += self.cost
        self.read.append(pid)
        rss = resident_bytes(pid)
        return rss // 4 if rss is not None else None

    def clock(self) -> float:
        return self.now

    def taken(self) -> list[int]:
        read, self.read = self.read, []
        return read


def sleeps(pid: int) -> bool:
    """Until it does, it is as large as what it was forked from."""
    process = psutil.Process(pid)
    return process.name() == "sleep" and process.status() == psutil.STATUS_SLEEPING


def test_however_near_the_budget_a_round_reads_for_so_long_and_the_oldest_first() -> None:
    pids = [shell(SLEEP) for _ in range(4)]
    places = [place(number, pid=pid) for number, pid in enumerate(pids, 1)]
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(ended_after(pid))
        wait_until(lambda: all(sleeps(pid) for pid in pids), what="all of them sleep")
        slow = SlowReadings(NEAR_ALLOWANCE / 1.5)
        measuring = Measuring(Heartbeats(), slow, slow.clock)
        read = []
        for second in range(4):
            measured = measuring.measure(fleet_of(*places, budget=1), float(second))
            read.append(slow.taken())
            # Those that were not read yet share as much as those that were.
            for reading in measured.readings:
                assert reading.pss == pytest.approx(reading.rss / 4, rel=0.01)
        assert [len(each) for each in read] == [2, 2, 2, 2]
        assert set(read[0] + read[1]) == set(pids)
        assert read[2] == read[0]


def test_far_from_the_budget_a_round_reads_less() -> None:
    pids = [shell(SLEEP) for _ in range(2)]
    places = [place(number, pid=pid) for number, pid in enumerate(pids, 1)]
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(ended_after(pid))
        wait_until(lambda: all(sleeps(pid) for pid in pids), what="all of them sleep")
        budget = sum(rss for pid in pids if (rss := resident_bytes(pid)))
        slow = SlowReadings(ALLOWANCE)
        measuring = Measuring(Heartbeats(), slow, slow.clock)
        read = []
        for second in range(3):
            measuring.measure(fleet_of(*places, budget=budget), float(second))
            read.append(slow.taken())
        assert [len(each) for each in read] == [2, 1, 1]
        assert read[1] != read[2]
