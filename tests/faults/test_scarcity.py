"""The host has no more processes, or no more room: nobody is blamed, it is said, and it passes."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.limits import enlarge, few_processes, fill, small_disk
from tests.faults.observing import (
    assert_no_stray,
    fork_server,
    kill,
    lives,
    never_two_lives,
    pid,
    pids,
    renewed,
)
from tests.fleet import is_alive
from tests.system.conftest import MakeFleet

IMPATIENT = 'restart = { max_restarts = 1, within = "60s", backoff = "10ms", backoff_max = "50ms" }'
"""A crash loop after two deaths, and tries that follow each other quickly."""


@pytest.fixture
def limits(no_process_is_left: None) -> Iterator[ExitStack]:
    """Set during the test, taken away when its fleet has ended."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("room", [0, 1])
def test_a_refused_fork_is_no_crash_and_is_tried_again(limits: ExitStack, make: MakeFleet, room: int) -> None:
    """Room for one: the fork server can fork the announcer, and that one cannot fork the entity."""
    fleet = make(entities=2, pool=IMPATIENT).start()
    before = fleet.wait_running()
    server = fork_server(fleet)
    set_room = limits.enter_context(few_processes(server))
    set_room(room)
    kill([pid(fleet, "orders-1")])
    refused = fleet.wait(lambda s: s.entities[0].incarnation >= 6, what="it was tried again and again")
    assert refused.entities[0].state in {"backoff", "starting"}
    fleet.wait(lambda s: "fork refused: EAGAIN" in s.entities[0].reason, what="the reason is shown")
    assert "fork refused: EAGAIN" in fleet.status().pools[0].reason
    set_room(None)
    after = fleet.wait(renewed(6, "orders-1"), what="orders-1 is back")
    assert pids(after)[1] == pids(before)[1]
    assert fork_server(fleet).pid == server.pid
    last = after.entities[0].last_exit
    assert last is not None
    assert last.signal == "SIGKILL"
    assert_no_stray(fleet, after)


def test_a_full_disk_forks_nobody_with_an_incarnation_that_is_not_written(
    limits: ExitStack, make: MakeFleet, tmp_path: Path
) -> None:
    limits.enter_context(small_disk(tmp_path / "run", 64))
    fleet = make(entities=1, pool=IMPATIENT).start()
    before = fleet.wait_running()
    written = fleet.run_dir.books.read_bytes()
    filler = fill(fleet.run_dir.path)
    fleet.edit("entities = 1", "entities = 3")
    fleet.signal(signal.SIGHUP)
    told = fleet.wait(
        lambda s: len(s.entities) == 3 and s.entities[1].reason and s.entities[2].reason,
        what="the reason is shown",
    )
    assert (
        f"{fleet.run_dir.books} cannot be written, so nobody is forked: No space left on device"
        in told.entities[1].reason
    )
    assert fleet.run_dir.books.read_bytes() == written
    assert set(lives(fleet)) == {"orders-1"}
    filler.unlink()
    after = fleet.wait_running()
    assert after.entities[0].pid == before.entities[0].pid
    assert all(entity.last_exit is None for entity in after.entities)


def test_an_entity_without_room_for_its_black_box_says_so(
    limits: ExitStack, make: MakeFleet, tmp_path: Path
) -> None:
    """A mapping of a file without blocks would be a SIGBUS at its first write."""
    folder = tmp_path / "run" / "entities"
    limits.enter_context(small_disk(folder, 8))
    fleet = make(entities=3, pool=IMPATIENT).start()
    full = fleet.wait(
        lambda s: s.pools[0].ready and any("takes no files" in e.reason for e in s.entities),
        what="somebody has room, and somebody says that there is none",
    )
    without = next(entity for entity in full.entities if "takes no files" in entity.reason)
    assert str(folder) in without.reason
    assert without.last_exit is not None
    assert (without.last_exit.code, without.last_exit.signal) == (73, None)
    fleet.wait(lambda s: fleet.entity(without.id).incarnation >= 5, what="it is tried again and again")
    enlarge(folder, 64)
    after = fleet.wait_running()
    assert len(lives(fleet)) == 3
    assert not [entity for entity in after.entities if entity.last_exit and entity.last_exit.signal]
    assert f"cannot write to {folder}: No space left on device" in fleet.log_text()


def test_a_supervisor_that_starts_on_a_full_disk_says_so(
    limits: ExitStack, make: MakeFleet, tmp_path: Path
) -> None:
    limits.enter_context(small_disk(tmp_path / "run", 64))
    (tmp_path / "run" / "entities").mkdir()
    filler = fill(tmp_path / "run" / "entities")
    fleet = make().start()
    assert fleet.wait_stopped() == 1
    assert f"{tmp_path / 'run'}: No space left on device" in fleet.log_text()
    assert "Traceback" not in fleet.log_text()
    filler.unlink()
    with never_two_lives(fleet):
        entity = fleet.start().wait_running()
    assert is_alive(fork_server(fleet))
    assert entity.entities[0].state == "ready"
