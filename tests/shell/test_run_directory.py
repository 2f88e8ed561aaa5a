"""The run directory on a real file system, with real processes in its black boxes."""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from temporal_fleet.protocol.blackbox import VERSION, BlackBoxWriter
from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.holdings import ExecutionState
from temporal_fleet.protocol.process import ProcessIdentity
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.core.estate import (
    NOTHING,
    ActivityInHand,
    ActivityKey,
    Estate,
    RunInHand,
    RunKey,
)
from temporal_fleet.supervisor.shell.run_directory import (
    Deceased,
    OwnedRunDirectory,
    RunDirectoryTaken,
    Survivor,
)
from tests.protocol.boxes import set_layout
from tests.shell.holdings import cached_execution, held_activity
from tests.shell.processes import SLEEP, ended_after, identity, shell
from tests.users import as_root, nobody
from tests.waiting import wait_until

NOBODY = 65534


@contextmanager
def owned(path: Path) -> Iterator[OwnedRunDirectory]:
    run = OwnedRunDirectory(RunDirectory(path))
    try:
        yield run
    finally:
        run.release()


def write_box(run: OwnedRunDirectory, entity: str, incarnation: int, process: ProcessIdentity) -> Path:
    path = run.paths.blackbox(entity, incarnation)
    BlackBoxWriter(path, entity, incarnation, process)
    return path


def test_it_is_private_whatever_it_was(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    with owned(tmp_path / "run") as run:
        assert stat.S_IMODE(run.paths.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(run.paths.entities.stat().st_mode) == 0o700


def test_a_folder_that_holds_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    (folder / "shop.py").touch()
    with pytest.raises(RunDirectoryTaken, match="holds other things"):
        OwnedRunDirectory(RunDirectory(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert [path.name for path in folder.iterdir()] == ["shop.py"]
    # A file system of its own, as a volume is.
    (folder / "shop.py").rename(folder / "lost+found")
    with owned(folder):
        pass


def test_who_tidies_up_finds_it_locked(tmp_path: Path) -> None:
    """As systemd-tmpfiles looks before it removes what is old."""
    folder = tmp_path / "run"
    with owned(folder):
        looked_at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(looked_at, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(looked_at, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(looked_at)


def test_a_second_owner_is_told_of_the_first(tmp_path: Path) -> None:
    with owned(tmp_path / "run"):
        with pytest.raises(RunDirectoryTaken, match=f"PID {os.getpid()}.*temporal-fleet stop"):
            OwnedRunDirectory(RunDirectory(tmp_path / "run"))
        # Nor did asking cost the first one anything.
        assert (tmp_path / "run" / "supervisor.pid").read_text().strip() == str(os.getpid())
    with owned(tmp_path / "run"):
        pass


def test_one_whose_owner_was_killed_is_taken_over(tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys\n"
        "from temporal_fleet.protocol.rundir import RunDirectory\n"
        "from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory\n"
        "run = OwnedRunDirectory(RunDirectory(sys.argv[1]))\n"
        "run.paths.bus.touch()\n"
        "signal.pause()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, tmp_path / "run"])
    try:
        wait_until((tmp_path / "run" / "bus.sock").exists, what="the first owner has it")
        with pytest.raises(RunDirectoryTaken, match=f"PID {owner.pid}"):
            OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    finally:
        owner.kill()
        owner.wait()
    with owned(tmp_path / "run") as run:
        assert run.paths.pid.read_text().strip() == str(os.getpid())
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["entities", "lock"]


@as_root
def test_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    os.chown(tmp_path / "run", NOBODY, NOBODY)
    with pytest.raises(RunDirectoryTaken, match=f"user id {NOBODY}.*run_dir"):
        OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    assert not list((tmp_path / "run").iterdir())


@as_root
def test_somebody_elses_link_to_a_folder_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir(mode=0o755)
    (tmp_path / "run").symlink_to(tmp_path / "public")
    os.chown(tmp_path / "run", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(RunDirectoryTaken, match=f"user id {NOBODY}"):
        OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o755


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolMisuse, match=r"bytes is over the limit of 107; set \[fleet\] run_dir"):
        RunDirectory(tmp_path / ("x" * 120))


def test_what_others_left_is_found_living_and_dead(tmp_path: Path) -> None:
    alive, dead = shell(SLEEP), shell("exit 0")
    with ended_after(alive), owned(tmp_path / "run") as run:
        living = identity(alive)
        gone = msgspec.structs.replace(living, pid=dead)
        os.waitpid(dead, 0)
        boxes = [
            write_box(run, "orders-1", 4, living),
            write_box(run, "orders-2", 1, gone),
            # Another process has its PID by now; and what ran before a reboot runs no more.
            write_box(run, "orders-3", 1, msgspec.structs.replace(living, start_time=1)),
            write_box(run, "orders-4", 1, msgspec.structs.replace(living, boot_id="0" * 36)),
        ]
        assert run.inherited() == [
            Survivor("orders-1", 4, living),
            *(Deceased(f"orders-{number}", 1, NOTHING) for number in (2, 3, 4)),
        ]
        assert all(box.exists() for box in boxes)


def test_the_dead_are_found_with_what_they_held(tmp_path: Path) -> None:
    with owned(tmp_path / "run") as run:
        process = identity(os.getpid())
        box = BlackBoxWriter(
            run.paths.blackbox("orders-1", 2), "orders-1", 2, msgspec.structs.replace(process, start_time=1)
        )
        box.write_identity("shop/orders-1.2@host")
        pay = held_activity("pay")
        box.hold_activity(pay)
        box.hold_execution(cached_execution("order-1", ExecutionState.BLOCKED))
        box.hold_execution(cached_execution("order-2", ExecutionState.RUNNING))
        box.hold_execution(cached_execution("order-3", ExecutionState.RUNNING)).release()
        assert run.inherited() == [
            Deceased(
                "orders-1",
                2,
                Estate(
                    activities=(
                        ActivityInHand(ActivityKey("order-1", "run-1", "1"), "pay", 3, b"token", pay.since),
                    ),
                    runs=(RunInHand(RunKey("order-2", "run of order-2"), "Order"),),
                    cached=2,
                    connected=True,
                ),
            )
        ]


def test_one_that_took_leave_of_the_cluster_holds_nothing(tmp_path: Path) -> None:
    with owned(tmp_path / "run") as run:
        gone = msgspec.structs.replace(identity(os.getpid()), start_time=1)
        box = BlackBoxWriter(run.paths.blackbox("orders-1", 2), "orders-1", 2, gone)
        box.write_identity("shop/orders-1.2@host")
        box.hold_execution(cached_execution("order-1", ExecutionState.BLOCKED))
        box.write_identity("")
        assert run.inherited() == [Deceased("orders-1", 2, NOTHING)]


def test_files_that_nobody_can_read_are_told_of_and_go(tmp_path: Path) -> None:
    with owned(tmp_path / "run") as run:
        unfinished = run.paths.blackbox("orders-5", 1)
        unfinished.write_bytes(b"\0" * 4096)
        former = write_box(run, "orders-6", 1, msgspec.structs.replace(identity(os.getpid()), start_time=1))
        set_layout(former, 1)
        stacks = run.paths.stacks("orders-6", 1)
        stacks.write_text("stacks")
        with capture_logs() as told:
            assert run.inherited() == []
        assert [line["entity"] for line in told if line["log_level"] == "warning"] == ["orders-5", "orders-6"]
        assert not [path for path in (unfinished, former, stacks) if path.exists()]


def test_who_writes_another_layout_lives_all_the_same(tmp_path: Path) -> None:
    """As after an upgrade of what is installed, and a crash."""
    with owned(tmp_path / "run") as run:
        process = identity(os.getpid())
        box = write_box(run, "orders-6", 1, process)
        for layout in (VERSION - 1, VERSION + 1):
            set_layout(box, layout)
            with capture_logs() as told:
                assert run.inherited() == [Survivor("orders-6", 1, process)]
            assert not told, "nothing is lost yet"
        assert box.exists()


def test_a_box_that_cannot_be_read_now_is_kept(tmp_path: Path) -> None:
    """Whether its process lives is not known, and what is in it may be read later."""
    with owned(tmp_path / "run") as run:
        former = msgspec.structs.replace(identity(os.getpid()), start_time=1)
        box = write_box(run, "orders-1", 1, former)
        stacks = run.paths.stacks("orders-1", 1)
        stacks.write_text("stacks")
        # A folder opens, and cannot be read.
        odd = run.paths.blackbox("orders-2", 1)
        odd.mkdir()
        with capture_logs() as told, pytest.raises(OSError, match="Is a directory"):
            run.blackbox("orders-2", 1)
        assert [line["log_level"] for line in told] == ["warning"]
        with capture_logs() as told:
            assert run.inherited() == [Deceased("orders-1", 1, NOTHING)]
        assert [line["entity"] for line in told] == ["orders-2"]
        assert all(path.exists() for path in (box, stacks, odd))


def test_a_zombie_of_ours_is_to_be_waited_for(tmp_path: Path) -> None:
    """A supervisor that goes on in the same process finds those that died meanwhile so."""
    pid = shell(SLEEP)
    process = identity(pid)
    with owned(tmp_path / "run") as run, ended_after(pid):
        write_box(run, "orders-1", 1, process)
        os.kill(pid, 9)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert run.inherited() == [Survivor("orders-1", 1, process)]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    with owned(tmp_path / "run") as run:
        for name in ("notes.txt", "orders.blackbox", "orders-x.1.blackbox", "orders-1.x.blackbox"):
            (run.paths.entities / name).write_text("not ours")
        assert run.inherited() == []
        assert not list(run.lives())
        assert len(list(run.paths.entities.iterdir())) == 4


def test_a_file_that_cannot_be_removed_costs_nobody_anything(tmp_path: Path) -> None:
    with owned(tmp_path / "run") as run:
        run.paths.blackbox("orders-1", 1).mkdir()
        run.paths.stacks("orders-1", 1).write_text("stacks")
        run.forget("orders-1", 1)
        assert not run.paths.stacks("orders-1", 1).exists()
        assert run.blackbox("orders-1", 2) is None


def test_what_another_supervisor_made_anew_is_not_ours_to_remove(tmp_path: Path) -> None:
    first = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run")
    second = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    second.paths.control.touch()
    first.release()
    assert second.paths.control.exists()
    second.release()
    assert not second.paths.control.exists()


def test_a_folder_in_tmp_that_others_may_change_is_no_place_for_it(tmp_path: Path) -> None:
    # Short names: a socket's path has few bytes, and pytest's folder takes most of them.
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    theirs = shared / "x"
    theirs.mkdir()
    theirs.chmod(0o777)
    with pytest.raises(RunDirectoryTaken, match="not ours alone"):
        OwnedRunDirectory(RunDirectory(theirs / "shop"))
    theirs.chmod(0o700)
    OwnedRunDirectory(RunDirectory(theirs / "shop")).release()


@as_root
def test_another_user_has_the_files_of_its_life_and_no_say_over_other_processes(tmp_path: Path) -> None:
    """Its box may name any process, and the supervisor ends those that boxes name."""
    alive = shell(SLEEP)
    with ended_after(alive), owned(tmp_path / "run") as run:
        assert run.users() == set()
        run.make_files("orders-1", 1, nobody())
        box, stacks = run.paths.blackbox("orders-1", 1), run.paths.stacks("orders-1", 1)
        for file, mode in ((box, 0o600), (stacks, 0o200)):
            assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (NOBODY, mode)
        with pytest.raises(FileExistsError):
            run.make_files("orders-1", 1, nobody())
        run.let_in()
        assert {stat.S_IMODE(f.stat().st_mode) for f in (run.paths.path, run.paths.entities)} == {0o711}
        BlackBoxWriter(box, "orders-1", 1, identity(alive), (3, 5))
        assert run.users() == {NOBODY}
        assert run.inherited() == [Deceased("orders-1", 1, NOTHING)]
        os.chown(box, 0, 0)
        assert run.inherited() == [Survivor("orders-1", 1, identity(alive), (3, 5))]
    with owned(tmp_path / "run") as run:
        assert stat.S_IMODE(run.paths.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(run.paths.entities.stat().st_mode) == 0o700


def test_metrics_go_with_the_last_entity_and_not_before(tmp_path: Path) -> None:
    run = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    metrics, box = run.paths.metrics("orders-1"), run.paths.blackbox("orders-1", 1)
    for path in (metrics, box):
        path.touch()
    run.release()
    assert metrics.exists(), "its next life has nothing to go on from"
    again = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    box.unlink()
    again.release()
    assert list(run.paths.entities.iterdir()) == []
