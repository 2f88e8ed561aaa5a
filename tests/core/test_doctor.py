"""What `doctor` makes of what it saw: values in, findings out."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest

from temporal_fleet.protocol.examination import Examination, ListedWorker, QueueLook
from temporal_fleet.protocol.report import (
    ChangeReport,
    ClusterReport,
    EntityReport,
    FleetReport,
    PoolReport,
    RecoveryReport,
    StatusReport,
)
from temporal_fleet.supervisor.core.cluster_health import cluster_findings
from temporal_fleet.supervisor.core.findings import Finding, Level, ok, problem, warning, worst_first
from temporal_fleet.supervisor.core.fleet_health import Leftover, fleet_findings, leftover_findings
from temporal_fleet.supervisor.core.host_health import (
    Demand,
    Disk,
    Group,
    Host,
    Limit,
    OpenFiles,
    Unseen,
    Versions,
    host_findings,
)

GIB = 1 << 30
OWN = "the control group shop"

HOST = Host(
    versions=Versions(
        python="3.12.1", installed="1.0", sdk="1.35.2", sdk_wanted="<1.36,>=1.35", sdk_suits=True
    ),
    processors=4,
    memory=16 * GIB,
    memory_available=8 * GIB,
    overcommit=0,
    open_files=1024,
    tasks=None,
    tasks_used=100,
    group=Group("the control group shop"),
)
DEMAND = Demand(entities=10, blackbox=70_000)
DISK = Disk("run_dir", "/run/shop", "tmpfs", free=GIB, total=2 * GIB, free_files=10_000, writable=True)

LOOK = Examination(
    address="cluster:7233",
    namespace="shop",
    server_version="1.32.0",
    namespace_state="registered",
    clock_ahead_s=0.002,
    clock_within_s=0.01,
)


def of_host(host: Host, demand: Demand | None = DEMAND) -> list[Finding]:
    return list(host_findings(host, demand, clock_is_told=False))


def bad(findings: Iterable[Finding]) -> list[tuple[Level, str]]:
    """All that is not well; each of it says what to do."""
    found = [each for each in findings if each.level is not Level.OK]
    assert all(each.remedy for each in found)
    return [(each.level, each.what) for each in found]


def test_a_host_that_has_enough_is_well() -> None:
    assert bad(of_host(replace(HOST, disks=(DISK,), clock_synchronised=True))) == []


@pytest.mark.parametrize(
    ("host", "demand", "expected"),
    [
        (
            replace(HOST, versions=replace(HOST.versions, sdk="1.36.0", sdk_suits=False)),
            DEMAND,
            (Level.PROBLEM, "temporalio"),
        ),
        (
            replace(HOST, versions=replace(HOST.versions, sdk=None, sdk_suits=False)),
            DEMAND,
            (Level.PROBLEM, "temporalio"),
        ),
        (
            replace(HOST, versions=replace(HOST.versions, running="0.9")),
            DEMAND,
            (Level.WARNING, "temporal-fleet"),
        ),
        (HOST, replace(DEMAND, entities=600), (Level.PROBLEM, "open files")),
        (HOST, replace(DEMAND, entities=400), (Level.WARNING, "open files")),
        (
            replace(HOST, processes=(OpenFiles("supervisor", 40, 1024), OpenFiles("orders-1", 1020, 1024))),
            DEMAND,
            (Level.WARNING, "open files"),
        ),
        (replace(HOST, tasks=150), DEMAND, (Level.PROBLEM, "processes of this user")),
        (
            replace(HOST, group=Group("the control group shop", pids=Limit(OWN, 110, 50))),
            DEMAND,
            (Level.PROBLEM, "processes in the control group shop"),
        ),
        (
            replace(HOST, group=Group("the control group shop", memory=Limit(OWN, GIB, GIB - 1))),
            DEMAND,
            (Level.WARNING, "memory of the control group shop"),
        ),
        (replace(HOST, group=Group("g", oom_kills=2)), DEMAND, (Level.WARNING, "out of memory")),
        (
            replace(HOST, group=Group("g", dies_as_one="g")),
            DEMAND,
            (Level.WARNING, "out of memory together"),
        ),
        (
            HOST,
            replace(DEMAND, memory=17 * GIB, memory_by="[fleet] memory_budget"),
            (Level.PROBLEM, "memory limits"),
        ),
        (
            replace(HOST, group=Group("g", memory_max=4 * GIB)),
            replace(DEMAND, memory=5 * GIB, memory_by="[fleet] memory_budget"),
            (Level.PROBLEM, "memory limits"),
        ),
        (
            HOST,
            replace(DEMAND, memory=9 * GIB, memory_by="[fleet] memory_budget"),
            (Level.WARNING, "memory limits"),
        ),
        (replace(HOST, memory_available=GIB // 2), DEMAND, (Level.WARNING, "memory")),
        (replace(HOST, overcommit=2), DEMAND, (Level.WARNING, "overcommit")),
        (replace(HOST, disks=(replace(DISK, free=500_000),)), DEMAND, (Level.PROBLEM, "run_dir")),
        (replace(HOST, disks=(replace(DISK, free=50 << 20),)), DEMAND, (Level.WARNING, "run_dir")),
        (replace(HOST, disks=(replace(DISK, free_files=3),)), DEMAND, (Level.PROBLEM, "run_dir")),
        (replace(HOST, disks=(replace(DISK, writable=False),)), DEMAND, (Level.PROBLEM, "run_dir")),
        (replace(HOST, disks=(replace(DISK, filesystem="ext4"),)), DEMAND, (Level.WARNING, "run_dir")),
        (
            replace(HOST, disks=(replace(DISK, purpose="log_dir", filesystem="ext4"),)),
            replace(DEMAND, logs=2 * GIB),
            (Level.PROBLEM, "log_dir"),
        ),
        (replace(HOST, clock_synchronised=False), DEMAND, (Level.WARNING, "clock of the host")),
    ],
)
def test_what_a_host_lacks(host: Host, demand: Demand, expected: tuple[Level, str]) -> None:
    assert bad(of_host(host, demand)) == [expected]


def test_the_limit_of_a_group_above_is_told_by_its_name_and_raised_there() -> None:
    above = "the control group shops.slice"
    group = Group(OWN, memory=Limit(above, GIB, GIB - 1), pids=Limit(above, 110, 109))
    found = [each for each in of_host(replace(HOST, group=group)) if each.level is not Level.OK]
    assert [(each.what, each.remedy) for each in found] == [
        (f"processes in {above}", f"raise the limit: TasksMax= of {above}"),
        (f"memory of {above}", f"raise MemoryMax= of {above}, or run fewer entities"),
    ]


def test_what_runs_already_has_its_processes_and_its_black_boxes() -> None:
    host = replace(HOST, tasks=150, disks=(replace(DISK, free=500_000, total=600_000),))
    assert bad(of_host(host, replace(DEMAND, running=10))) == []
    assert len(bad(of_host(host, DEMAND))) == 2


def test_a_supervisor_that_runs_is_judged_by_what_it_has_open() -> None:
    few = replace(HOST, open_files=60, processes=(OpenFiles("supervisor", 23, 60),))
    assert bad(of_host(few, replace(DEMAND, entities=2, running=2))) == []
    assert bad(of_host(few, replace(DEMAND, entities=40, running=2))) == [(Level.PROBLEM, "open files")]
    unseen = replace(few, processes=())
    assert bad(of_host(unseen, replace(DEMAND, entities=2, running=2))) == [(Level.PROBLEM, "open files")]


def test_a_clock_that_was_compared_with_the_clusters_needs_nobody_to_keep_it() -> None:
    host = replace(HOST, clock_synchronised=False)
    assert bad(host_findings(host, DEMAND, clock_is_told=True)) == []


def test_what_is_for_another_user_to_write_is_not_judged_and_what_cannot_be_seen_is_told() -> None:
    host = replace(HOST, disks=(replace(DISK, writable=None),))
    assert bad(of_host(host)) == []
    host = replace(host, unseen=(Unseen("state_dir", "Permission denied: /var/lib/shop"),))
    assert bad(of_host(host)) == [(Level.WARNING, "state_dir")]


def test_a_host_without_a_fleet_is_looked_at_too() -> None:
    assert bad(of_host(HOST, None)) == []


def pool(name: str = "orders", *, desired: int = 1, ready: int = 1, drained: bool = False) -> PoolReport:
    return PoolReport(
        name=name,
        program="shop",
        task_queue=name,
        desired=desired,
        ready=ready,
        reason="",
        drained=drained,
    )


def queue(kind: str = "activity", **figures: float) -> QueueLook:
    return msgspec.convert({"task_queue": "orders", "kind": kind, **figures}, QueueLook)


@pytest.mark.parametrize(
    ("look", "pools", "expected"),
    [
        (queue(pollers=2), [pool()], []),
        (queue(pollers=2, backlog=5, add_rate=3.0, dispatch_rate=3.0, backlog_age_s=1.0), [pool()], []),
        (queue(), None, []),
        (queue(), [pool()], [(Level.WARNING, "task queue orders")]),
        (queue(backlog=5), [pool()], [(Level.PROBLEM, "task queue orders")]),
        (queue(backlog=5), None, [(Level.PROBLEM, "task queue orders")]),
        (
            queue(pollers=1, backlog=5, add_rate=3.0, dispatch_rate=1.0),
            [pool()],
            [(Level.WARNING, "task queue orders")],
        ),
        (
            queue(pollers=1, backlog=1, backlog_age_s=90.0),
            [pool()],
            [(Level.WARNING, "task queue orders")],
        ),
        (msgspec.structs.replace(queue(), problem="no"), [pool()], [(Level.WARNING, "task queue orders")]),
    ],
)
def test_task_queues(
    look: QueueLook, pools: list[PoolReport] | None, expected: list[tuple[Level, str]]
) -> None:
    found = msgspec.structs.replace(LOOK, queues=[look])
    assert bad(cluster_findings(found, None if pools is None else {"orders": pools})) == expected


def test_a_backlog_of_one_kind_is_told_though_another_kind_is_polled() -> None:
    found = msgspec.structs.replace(LOOK, queues=[queue("workflow", pollers=2), queue("nexus", backlog=1)])
    (told,) = [each for each in cluster_findings(found, {"orders": [pool()]}) if each.level is Level.PROBLEM]
    assert told.figure == "1 nexus task waits, the oldest for 0 s, and nobody polls"


@pytest.mark.parametrize(
    ("pools", "remedy"),
    [
        ([pool(drained=True)], "temporal-fleet resume orders"),
        ([pool(desired=0, ready=0)], "temporal-fleet scale orders=N"),
        (None, "start the fleet: temporal-fleet up"),
    ],
)
def test_the_remedy_for_a_queue_that_nobody_polls(pools: list[PoolReport] | None, remedy: str) -> None:
    found = msgspec.structs.replace(LOOK, queues=[queue(backlog=1)])
    told = cluster_findings(found, None if pools is None else {"orders": pools})
    assert [each.remedy for each in told if each.level is Level.PROBLEM] == [remedy]


@pytest.mark.parametrize(
    ("ahead", "within", "level"),
    [
        (0.5, 0.01, Level.OK),
        (-1.5, 0.01, Level.WARNING),
        (1.5, 1.0, Level.OK),
        (20.0, 0.1, Level.PROBLEM),
        (None, 0.0, Level.WARNING),
    ],
)
def test_clocks(ahead: float | None, within: float, level: Level) -> None:
    look = msgspec.structs.replace(LOOK, clock_ahead_s=ahead, clock_within_s=within)
    (clock,) = [each for each in cluster_findings(look, None) if "clock" in each.what]
    assert clock.level is level
    if ahead is not None:
        assert ("behind" if ahead > 0 else "ahead") in clock.figure


def test_a_cluster_that_is_away_is_all_there_is_to_say_of_it() -> None:
    away = Examination(address="cluster:7233", namespace="shop", problem="nobody answers; start it")
    assert list(cluster_findings(away, {"orders": [pool()]})) == [
        problem("Cluster", "cluster:7233, namespace shop", "nobody answers; start it")
    ]


def test_dead_workers_queues_that_were_left_out_and_a_namespace_that_goes() -> None:
    dead = ListedWorker(identity="shop/orders-1.4@here:77", task_queue="orders")
    look = msgspec.structs.replace(
        LOOK, dead_workers=[dead], dead_workers_total=8, namespace_state="deprecated"
    )
    found = list(cluster_findings(look, {"orders": [pool()]}))
    assert bad(found) == [
        (Level.PROBLEM, "namespace"),
        (Level.WARNING, "task queues"),
        (Level.WARNING, "workers listed as running"),
    ]
    assert "shop/orders-1.4@here:77 and 3 more" in found[-1].figure


def report(*entities: EntityReport, pools: Iterable[PoolReport] = (), **fleet: object) -> StatusReport:
    about = {
        "name": "shop",
        "pid": 1,
        "state": "running",
        "generation": 1,
        "uptime_s": 60.0,
        "run_dir": "/run/shop",
        "config": None,
        "reason": "",
        "rss_bytes": 1,
        "dropped_messages": 0,
    }
    return StatusReport(
        fleet=msgspec.convert({**about, **fleet}, FleetReport),
        cluster=ClusterReport(address="c:1", namespace="d", reachable=True, reason="", ui=None),
        pools=list(pools),
        entities=list(entities),
    )


def entity(state: str = "ready", **figures: object) -> EntityReport:
    about = {
        "id": "orders-1",
        "pool": "orders",
        "pid": 77 if state in ("ready", "quiet", "draining", "starting") else None,
        "state": state,
        "incarnation": 1,
        "restarts": 0,
        "rss_bytes": 1,
        "pss_bytes": 1,
        **dict.fromkeys(("cached_executions", "blocked_executions", "evictions", "resurrections"), 0),
        "inflight_activities": 0,
        "uptime_s": 60.0,
        "last_exit": None,
        "reason": "",
        "pollers": 5,
        "heartbeat_age_s": 0.5,
    }
    return msgspec.convert({**about, **figures}, EntityReport)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (report(entity(), pools=[pool()]), []),
        (report(state="degraded", reason="why"), [(Level.PROBLEM, "fleet")]),
        (report(state="reloading"), [(Level.WARNING, "fleet")]),
        (report(pools=[pool(ready=0)]), [(Level.PROBLEM, "pool orders")]),
        (report(pools=[pool(desired=2)]), [(Level.WARNING, "pool orders")]),
        (
            report(pools=[pool(ready=0)], state="starting"),
            [(Level.WARNING, "fleet"), (Level.WARNING, "pool orders")],
        ),
        (report(pools=[pool(desired=0, ready=0, drained=True)]), [(Level.WARNING, "pool orders")]),
        (report(entity("failed", reason="crash loop")), [(Level.PROBLEM, "orders-1")]),
        (report(entity("backoff", reason="killed")), [(Level.WARNING, "orders-1")]),
        (report(entity(heartbeat_age_s=7.0)), [(Level.WARNING, "heartbeats")]),
        (report(entity(pollers=0)), [(Level.WARNING, "polling")]),
        (report(entity(pollers=0, uptime_s=1.0)), []),
        (
            report(entity(pollers=0, activity_slots={"used": 5, "free": 0})),
            [(Level.WARNING, "slots")],
        ),
        (
            report(entity(pollers=0, activity_slots={"used": 4, "free": 1})),
            [(Level.WARNING, "polling")],
        ),
        (report(entity(unrecorded=3)), [(Level.WARNING, "black boxes")]),
        (report(entity("quiet", pollers=0)), [(Level.WARNING, "quiet")]),
        (report(dropped_messages=4), [(Level.WARNING, "messages")]),
        (report(http_reason="port taken"), [(Level.PROBLEM, "web server")]),
    ],
)
def test_what_is_wrong_with_a_fleet(status: StatusReport, expected: list[tuple[Level, str]]) -> None:
    assert bad(fleet_findings(status)) == expected


def test_that_nobody_polls_is_no_news_while_the_cluster_is_away() -> None:
    status = report(entity(pollers=0))
    away = msgspec.structs.replace(status.cluster, reachable=False, reason="no answer")
    assert bad(fleet_findings(msgspec.structs.replace(status, cluster=away))) == []


def test_recoveries_suspects_and_a_change_that_failed() -> None:
    change = ChangeReport(
        id=4, command="reload", state="failed", message="no import", asked_at=0.0, seconds=1.0
    )
    recovery = RecoveryReport(entity="orders-1", incarnation=3, since_s=12.0, reason="the Cluster is away")
    status = msgspec.structs.replace(
        report(), last_change=change, recoveries=[recovery], recoveries_total=1, suspects_total=2
    )
    found = list(fleet_findings(status))
    assert [what for _, what in bad(found)] == ["recoveries", "poison", "last change"]
    assert "for 12 s at most: the Cluster is away" in found[1].figure


def test_what_a_dead_supervisor_left() -> None:
    living = Leftover("orders-1.3", 77, alive=True, held=2)
    dead = Leftover("orders-2.1", 78, alive=False, held=5)
    start = "systemctl start temporal-fleet@shop"
    found = list(leftover_findings([living, dead], supervised=False, start=start))
    assert bad(found) == [(Level.PROBLEM, "supervisor"), (Level.WARNING, "black boxes")]
    assert all(each.remedy.endswith(f": {start}") for each in found)
    (stray,) = leftover_findings([living, dead], supervised=True, start=start)
    assert (stray.level, stray.what) == (Level.PROBLEM, "strays")
    assert "kill 77" in stray.remedy


def test_the_worst_comes_first_and_the_rest_stays_in_order() -> None:
    found = [ok("a", ""), warning("b", "", "x"), problem("c", "", "x"), warning("d", "", "x")]
    assert [each.what for each in worst_first(found)] == ["c", "b", "d", "a"]
