"""The status of a fleet as the core would have it."""

import time
from dataclasses import replace

import msgspec

from temporal_fleet.protocol.codec import encode
from temporal_fleet.protocol.control import StatusReply
from temporal_fleet.protocol.report import StatusReport
from temporal_fleet.supervisor.core.estate import (
    ActivityKey,
    Life,
    Recovery,
    RecoveryState,
    Suspect,
    SuspectKey,
)
from temporal_fleet.supervisor.core.fleet import Fleet, MemoryLimits
from temporal_fleet.supervisor.core.poison import WINDOW
from temporal_fleet.supervisor.shell import reports
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.journal import JournalPlace
from temporal_fleet.supervisor.shell.vitals import Vitals
from tests.shell.places import fleet_of

SURROUNDINGS = reports.Surroundings(
    log_dir="/var/log/shop",
    journal=JournalPlace("shop.service"),
    name="shop",
    pid=1,
    config=None,
    run_dir="/run/shop",
    address="127.0.0.1:7233",
    namespace="default",
    ui=None,
    started=0.0,
    dropped=0,
)


def status(fleet: Fleet) -> StatusReport:
    return reports.status(fleet, SURROUNDINGS, Heartbeats(), Vitals(), time.monotonic(), pss=False)


def test_a_pool_tells_the_limits_of_an_entity() -> None:
    fleet = fleet_of()
    (name, pool), *_ = fleet.pools.items()
    program = msgspec.structs.replace(pool.program, worker={"max_cached_workflows": 500})
    limited = replace(pool, memory=MemoryLimits(evict_above=3, kill_above=7), program=program)
    told = status(Fleet(embedded=False, pools={name: limited})).pools[0]
    assert (told.memory_limit_bytes, told.max_cached_executions) == (7, 500)
    told = status(fleet).pools[0]
    assert (told.memory_limit_bytes, told.max_cached_executions) == (None, None)


def test_what_many_deaths_leave_fits_a_frame_and_the_rest_is_counted() -> None:
    fleet = fleet_of()
    suspects: dict[SuspectKey, Suspect] = {}
    for number in range(1000):
        key = ActivityKey(f"{number}".ljust(1000, "w"), "r" * 36, "a" * 1000)
        # Every second one was at no more than one death.
        suspects[key] = Suspect(key, "t" * 1000, 1 + number % 2, last=time.time())
    lives = [Life(f"orders-{number}", 1) for number in range(200)]
    recoveries = {
        life: Recovery(life, RecoveryState.WAITING, since=0.0, due=60.0, signal=None, cause="")
        for life in lives
    }
    fleet = Fleet(embedded=False, pools=fleet.pools, suspects=suspects, recoveries=recoveries)
    told = status(fleet)
    encode(StatusReply(id="q", report=told))
    assert (told.suspects_total, told.recoveries_total) == (500, 200)
    assert len(told.suspects) == len(told.recoveries) == reports.LOSSES_LIMIT
    assert {suspect.deaths for suspect in told.suspects} == {2}
    assert told.suspects[-1].workflow_id.startswith("999")
    assert told.recoveries[0].entity == "orders-0"


def test_a_suspect_of_long_ago_is_none() -> None:
    old, new = (ActivityKey(name, "r", "1") for name in ("old", "new"))
    now = time.time()
    suspects: dict[SuspectKey, Suspect] = {
        old: Suspect(old, "Pay", 2, last=now - WINDOW - 60),
        new: Suspect(new, "Pay", 2, last=now - WINDOW + 60),
    }
    told = status(Fleet(embedded=False, pools={}, suspects=suspects))
    assert [suspect.workflow_id for suspect in told.suspects] == ["new"]
    assert told.suspects_total == 1
