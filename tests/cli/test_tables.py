"""`status` on screens of some widths: what is never cut, what is left out, what is told only once."""

import io

import msgspec
import pytest
from rich.console import Console

from temporal_fleet.protocol.report import (
    ChangeReport,
    ClusterReport,
    ExitReport,
    RecoveryReport,
    StatusReport,
    SuspectReport,
)
from temporal_fleet.supervisor.cli import tables
from tests.cli.wire import entity, pool, report

NOW = 1_000_000.0
KILLED = ExitReport(code=None, signal="SIGKILL", cause="killed by SIGKILL", time=NOW - 43)


def shown(status: StatusReport, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, emoji=False, markup=False)
    console.print(tables.status(status, console.width, NOW))
    return out.getvalue()


def killed_once() -> StatusReport:
    again = msgspec.structs.replace(entity("orders-2"), last_exit=KILLED, pid=1234567, incarnation=12)
    draining = entity("orders-3", state="draining")
    return report(pools=[pool(desired=3, ready=2)], entities=[entity(), again, draining])


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_what_names_an_entity_is_never_cut(width: int) -> None:
    lines = shown(killed_once(), width).splitlines()
    assert not any("…" in line for line in lines), lines
    assert all(len(line) <= width for line in lines), lines
    rows = [line.split()[:4] for line in lines if line.startswith("orders-")][:3]
    assert rows == [
        ["orders-1", "4711", "ready", "2"],
        ["orders-2", "1234567", "ready", "12"],
        ["orders-3", "4711", "draining", "2"],
    ]


@pytest.mark.parametrize(
    ("width", "without"),
    [
        (80, ["evicted", "resurrected", "blocked", "RSS"]),
        (119, ["evicted"]),
        (120, []),
        (200, []),
    ],
)
def test_a_narrow_screen_does_without_the_least_important(width: int, without: list[str]) -> None:
    titles = next(line for line in shown(killed_once(), width).splitlines() if line.startswith("entity"))
    everything = ["evicted", "resurrected", "blocked", "RSS", "activities", "restarts", "PSS", "up"]
    assert [title for title in everything if title not in titles.split()] == without


def test_the_last_exit_has_a_line_below_the_table() -> None:
    assert shown(killed_once(), 80).endswith("\n\norders-2: last exit 43s ago: killed by SIGKILL\n")


def test_a_reason_is_told_once_and_of_whom() -> None:
    failed = [entity(f"orders-{n}", state="failed", reason="no such plugin") for n in (1, 2)]
    status = report(
        state="degraded",
        reason="no such plugin",
        pools=[pool(desired=2, ready=0, reason="no such plugin")],
        entities=failed,
    )
    text = shown(status, 80)
    assert text.count("no such plugin") == 1, text
    assert text.endswith("\norders-1, orders-2: no such plugin\n"), text


def test_the_reason_of_the_cluster_is_told_beside_the_cluster_alone() -> None:
    why = "connection refused"
    waiting = report(
        state="degraded",
        reason=why,
        pools=[pool(ready=0, reason=why)],
        entities=[entity(state="waiting", reason=why)],
    )
    down = ClusterReport(address="a:1", namespace="default", reachable=False, reason=why, ui=None)
    text = shown(msgspec.structs.replace(waiting, cluster=down), 80)
    assert text.count(why) == 1, text
    assert f"unreachable  {why}" in text


def test_a_name_wider_than_the_screen_is_folded() -> None:
    name = f"{'x' * 48}-1"
    text = shown(report(pools=[pool("x" * 48)], entities=[entity(name)]), 40)
    assert "…" not in text
    assert name in "".join(line.split(" ")[0] for line in text.splitlines())
    assert "4711" in text


def suspect(number: int, deaths: int, *, kind: str = "activity") -> SuspectReport:
    return SuspectReport(
        kind=kind,
        workflow_id=f"order-{number}",
        run_id=f"run-{number}",
        activity_id="7" if kind == "activity" else "",
        type="ship" if kind == "activity" else "OrderWorkflow",
        deaths=deaths,
    )


def test_suspects_are_told_those_with_the_most_deaths_first() -> None:
    alone = SuspectReport(
        kind="activity", workflow_id="", run_id="r", activity_id="import", type="load", deaths=2
    )
    suspects = [suspect(1, 2), alone, suspect(2, 3, kind="workflow")]
    text = shown(msgspec.structs.replace(report(pools=[pool()], entities=[entity()]), suspects=suspects), 120)
    assert text.endswith(
        "\n\nsuspect: OrderWorkflow, workflow order-2 (run run-2), in hand at 3 deaths\n"
        "suspect: ship, activity 7 of workflow order-1 (run run-1), in hand at 2 deaths\n"
        "suspect: load, activity import (run r), in hand at 2 deaths\n"
    ), text


def test_a_death_with_many_activities_in_hand_fills_no_screen() -> None:
    suspects = [suspect(number, 2) for number in range(50)]
    status = msgspec.structs.replace(
        report(pools=[pool()], entities=[entity()]), suspects=suspects, suspects_total=100
    )
    text = shown(status, 80)
    assert text.count("suspect:") == 5
    assert text.endswith("\nand 95 more: see `status --json`\n")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_deaths_whose_work_is_not_free_yet() -> None:
    recoveries = [
        RecoveryReport(entity="orders-1", incarnation=6, since_s=12.4, reason="connection refused"),
        RecoveryReport(entity="orders-2", incarnation=1, since_s=0.2, reason=""),
    ]
    status = msgspec.structs.replace(report(pools=[pool()], entities=[entity()]), recoveries=recoveries)
    assert shown(status, 120).endswith(
        "\n\norders-1.6 died 12s ago, and its work is not free yet: connection refused\n"
        "orders-2.1 died 200ms ago, and its work is not free yet\n"
    )


def test_a_black_box_without_room_is_told_once_and_of_whom() -> None:
    full = [msgspec.structs.replace(entity(f"orders-{n}"), unrecorded=3) for n in (1, 2)]
    text = shown(report(pools=[pool()], entities=[*full, entity("orders-3")]), 120)
    assert text.count("had no room") == 1
    assert "\norders-1, orders-2: the black box had no room for 3 activities and executions" in text


@pytest.mark.parametrize(
    ("state", "is_told"), [("rolling", True), ("failed", True), ("rejected", True), ("done", False)]
)
def test_a_change_under_way_and_one_that_came_to_nothing_are_told(state: str, is_told: bool) -> None:
    last = ChangeReport(
        id=7, command="reload", state=state, message="orders-2: no such plugin", asked_at=NOW, seconds=1.0
    )
    told = shown(msgspec.structs.replace(report(pools=[pool()]), last_change=last), 120)
    assert (f"change 7, reload, {state}: orders-2: no such plugin" in told) == is_told
    reloading = report(state="reloading", reason=last.message, pools=[pool()])
    once = shown(msgspec.structs.replace(reloading, last_change=last), 120)
    assert once.count(last.message) == 1, "not twice"
