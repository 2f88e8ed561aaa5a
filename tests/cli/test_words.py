"""Pure parts of the command: numbers as words, when a fleet has settled, what is not imported."""

import subprocess
import sys

import msgspec
import pytest

from temporal_fleet.protocol.report import ChangeReport, StatusReport
from temporal_fleet.supervisor.cli import human
from temporal_fleet.supervisor.cli.watch import Pending, Settled, progress_of
from temporal_fleet.supervisor.core.names import listed
from tests.cli.wire import entity, pool, report


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (43_200_000, "41.2 MiB"),
        (999 << 20, "999 MiB"),
        (1000 << 20, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_sizes(count: int | None, words: str) -> None:
    assert human.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0ms"),
        (0.0854, "85ms"),
        (12.9, "12s"),
        (192, "3m12s"),
        (7500, "2h05m"),
        (4 * 86400 + 6 * 3600 + 1, "4d06h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert human.duration(seconds) == words


def test_long_lists_are_cut() -> None:
    assert listed([str(n) for n in range(9)], most=2) == "0, 1 and 7 more"


@pytest.mark.parametrize(
    ("status", "pending"),
    [
        (report(pools=[pool(desired=2)], entities=[entity()]), "orders 1/2"),
        (
            report(pools=[pool()], entities=[entity(), entity("orders-2", state="draining")]),
            "orders-2 draining",
        ),
        (report(pools=[pool(ready=0)], entities=[entity(state="waiting")]), "orders-1 waiting"),
        (
            report(pools=[pool(ready=0)], entities=[entity(state="backoff", reason="x")]),
            "orders-1 backoff (x)",
        ),
        (report(state="reloading", pools=[pool()], entities=[entity()]), "the reload to end"),
    ],
)
def test_what_a_fleet_still_waits_for(status: StatusReport, pending: str) -> None:
    found = progress_of(status)
    assert isinstance(found, Pending)
    assert pending in found.what


def test_a_change_whose_programs_are_imported_waits_for_that() -> None:
    importing = ChangeReport(id=1, command="reload", state="importing", message="", asked_at=0.0, seconds=1.0)
    status = msgspec.structs.replace(
        report(state="reloading", pools=[pool()], entities=[entity()]), last_change=importing
    )
    assert progress_of(status) == Pending("its programs to be imported")


def test_an_entity_that_stays_for_a_look_is_not_waited_for() -> None:
    looked_at = report(pools=[pool()], entities=[entity(), entity("orders-2", state="quiet")])
    assert progress_of(looked_at) == Settled(())


def test_a_settled_fleet_tells_where_it_is_short() -> None:
    assert progress_of(report(pools=[pool()], entities=[entity()])) == Settled(())
    short = report(pools=[pool(ready=0, reason="no luck")], entities=[entity(state="stopped")])
    assert progress_of(short) == Settled(("pool orders: 0 of 1 ready: no luck; orders-1 stopped",))


def test_a_new_entity_that_failed_is_a_shortfall_though_the_old_ones_run_on() -> None:
    failed = entity("orders-2", state="failed", reason="no such plugin")
    rolled = report(state="degraded", reason="no such plugin", pools=[pool()], entities=[entity(), failed])
    assert progress_of(rolled) == Settled(("orders-2 failed: no such plugin; the old entities run on",))


def test_a_degraded_fleet_is_short_whatever_its_pools_say() -> None:
    degraded = report(state="degraded", reason="connection refused", pools=[pool()], entities=[entity()])
    assert progress_of(degraded) == Settled(("connection refused",))


def test_what_becomes_the_supervisor_holds_no_ballast() -> None:
    """`up` imports the command and then stays for ever, under a budget of memory."""
    code = """
import sys
from temporal_fleet.supervisor.cli.main import cli
assert cli.get_command(None, "up") is not None
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ballast = {"rich", "tomlkit", "temporalio", "pydantic", "asyncio", "email"}
    assert (ballast | {"temporal_fleet.supervisor.cli.top"}).isdisjoint(loaded.split())
