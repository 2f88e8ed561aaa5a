"""What one supervisor writes down and the next one reads: on a real file system, whole, damaged, and of a
host that was started anew."""

import os
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.exits import Verdict
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.books import NO_BOOKS, books
from temporal_fleet.supervisor.core.estate import (
    ActivityInHand,
    ActivityKey,
    Estate,
    RunInHand,
    RunKey,
)
from temporal_fleet.supervisor.core.fleet import Exit, Fleet
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.shell.books_file import BooksFile
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory, RunDirectoryTaken
from tests.core.driver import up
from tests.core.pools import make_pool
from tests.shell.processes import identity


@pytest.fixture
def run(tmp_path: Path) -> Iterator[OwnedRunDirectory]:
    run = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    yield run
    run.release()


def some_fleet() -> Fleet:
    """With something in every part of the books."""
    driver = up(make_pool("orders", 3), make_pool("mail", 1), budget=2**30)
    held = ActivityInHand(ActivityKey("order-1", "run-1", "1"), "pay", 3, b"\x00\xff token")
    running = RunInHand(RunKey("order-2", "run-2"), "Order")
    for _ in range(3):
        last = driver.entity("orders-1").incarnation
        driver.tell(
            events.Died(
                "orders-1", last, None, "SIGKILL", "", Estate((held,), (running,), 1, True), 1_700_000_000.0
            )
        )
        driver.prepare()
        driver.wait(40.0)
        driver.tell(events.Heard("mail-1", 1))
    driver.tell(events.QuietRequested("q", "orders-2"))
    driver.tell(events.DrainRequested("d", "mail"))
    driver.tell(events.ReloadRequested("r", {"orders": make_pool("orders", 3, digest="d2")}))
    return driver.fleet


def test_all_of_it_comes_back(run: OwnedRunDirectory) -> None:
    fleet = some_fleet()
    kept = books(fleet)
    assert kept.recoveries
    assert kept.drained
    assert len(kept.changes) == 3
    BooksFile(run).keep(fleet)
    assert BooksFile(run).load() == kept


def test_it_is_written_where_something_changed(run: OwnedRunDirectory) -> None:
    file = BooksFile(run)
    driver = up(make_pool("orders", 1))
    file.keep(driver.fleet)
    run.paths.books.unlink()
    driver.tell(events.Heard("orders-1", 1, 3, 40))
    file.keep(driver.fleet)
    assert not run.paths.books.exists(), "a heartbeat is nothing to write down"
    driver.die("orders-1")
    file.keep(driver.fleet)
    assert run.paths.books.exists()


def test_a_black_box_that_is_newer_counts(run: OwnedRunDirectory) -> None:
    BooksFile(run).keep(Fleet(embedded=False, incarnations={"orders-1": 3, "orders-2": 8}))
    for entity, incarnation in (("orders-1", 5), ("orders-2", 7), ("big-shop-12", 1)):
        BlackBoxWriter(run.paths.blackbox(entity, incarnation), entity, incarnation, identity(os.getpid()))
    assert BooksFile(run).load().incarnations == {"orders-1": 5, "orders-2": 8, "big-shop-12": 1}


@pytest.mark.parametrize("damage", [b"", b"{", b'{"layout": 1}', b"[1]", b"\xff\x00", b"cut"])
def test_damaged_books_are_put_aside_and_no_incarnation_comes_again(
    run: OwnedRunDirectory, damage: bytes
) -> None:
    BooksFile(run).keep(some_fleet())
    whole = run.paths.books.read_bytes()
    written = whole[:-100] if damage == b"cut" else damage
    run.paths.books.write_bytes(written)
    box = run.paths.blackbox("orders-1", 5)
    BlackBoxWriter(box, "orders-1", 5, identity(os.getpid()))
    with capture_logs() as told:
        known = BooksFile(run).load()
    assert [line["log_level"] for line in told] == ["error"]
    assert known == replace(NO_BOOKS, incarnations={"orders-1": 5}, least=known.least)
    assert known.least > 1_700_000_000
    assert run.paths.books.with_suffix(".damaged").read_bytes() == written


def test_books_of_another_layout_are_not_guessed_at(run: OwnedRunDirectory) -> None:
    BooksFile(run).keep(some_fleet())
    text = run.paths.books.read_bytes()
    run.paths.books.write_bytes(text.replace(b'"layout":1', b'"layout":0', 1))
    with capture_logs() as told:
        assert not BooksFile(run).load().entities
    assert "layout 0" in told[0]["reason"]


def test_books_that_cannot_be_read_are_told(run: OwnedRunDirectory) -> None:
    run.paths.books.mkdir()
    with pytest.raises(RunDirectoryTaken, match=r"fleet.json cannot be read: Is a directory"):
        BooksFile(run).load()


def test_a_write_that_fails_leaves_what_was_there_and_is_told_once(run: OwnedRunDirectory) -> None:
    file = BooksFile(run)
    driver = up(make_pool("orders", 1))
    file.keep(driver.fleet)
    whole = run.paths.books.read_bytes()
    driver.die("orders-1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.keep(driver.fleet)
        with capture_logs() as told:
            file.try_to_keep(driver.fleet)
            file.try_to_keep(driver.fleet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [line["log_level"] for line in told] == ["warning"]
    assert run.paths.books.read_bytes() == whole
    assert not list(run.paths.path.glob("*.new"))
    file.keep(driver.fleet)
    assert run.paths.books.read_bytes() != whole


def test_after_a_reboot_only_what_is_counted_counts(run: OwnedRunDirectory) -> None:
    """The clock of the times began anew; the wall clock tells when things were."""
    driver = up(make_pool("orders", 2))
    driver.die("orders-1")
    driver.prepare()
    driver.die("orders-1")
    assert driver.state("orders-1") is State.BACKOFF
    BooksFile(run).keep(driver.fleet)
    file = msgspec.json.decode(run.paths.books.read_bytes())
    ended = driver.entity("orders-1").last_exit
    assert ended is not None
    file |= {"boot_id": "0" * 36, "monotonic": ended.at + 5.0, "wall": time.time() - 60.0}
    run.paths.books.write_bytes(msgspec.json.encode(file))
    found = BooksFile(run).load().entities["orders-1"]
    assert (found.state, found.deadline, found.restarts) == (State.WAITING, None, 2)
    assert isinstance(found.last_exit, Exit)
    assert found.last_exit.meaning is Verdict.CRASH
    # It died 5 s before the books were written, and that was a minute ago.
    assert found.last_exit.at == pytest.approx(time.monotonic() - 65.0, abs=5.0)
