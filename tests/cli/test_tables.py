"""`status` on screens of some widths: what is never cut, what is left out, what is told only once."""

import io

import msgspec
import pytest
from rich.console import Console

from temporal_fleet.protocol.report import ClusterReport, ExitReport, StatusReport
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
