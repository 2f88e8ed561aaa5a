"""`scale` and the operator's file: what is written, what is left alone, what is given back.

The supervisor is the stand-in of wire.py; the file, its owner and its mode are real.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from temporal_fleet.protocol.control import (
    Accepted,
    ControlReply,
    ControlRequest,
    Failed,
    GetPlan,
    PlanReply,
    Rejected,
    Reload,
    Scale,
)
from temporal_fleet.protocol.report import StepReport
from tests.cli.command import Command
from tests.cli.wire import Answer, answers, entity, pool, report, stand_in

TEXT = """\
# The shop.
[pools.orders]
program = "shop.orders"
task_queue = "orders"
entities = 1   # one is enough at night
"""
SCALED = TEXT.replace("entities = 1 ", "entities = 6 ")


@pytest.fixture
def file(folder: Path) -> Path:
    file = folder / "fleet.toml"
    file.write_text(TEXT)
    file.chmod(0o640)
    return file


def fleet(
    file: Path | None,
    *,
    rejects: bool = False,
    fails: bool = False,
    restores: bool = False,
    pending: tuple[StepReport, ...] = (),
) -> Answer:
    """A fleet with this file, that is always settled. It reads its file when it is told to reload."""

    def other(request: ControlRequest) -> ControlReply | None:
        match request:
            case GetPlan():
                return PlanReply(id=request.id, steps=list(pending))
            case Reload() if rejects:
                assert file is not None
                return Rejected(id=request.id, problems=["shop.orders: cannot be imported"])
            case Reload() if fails:
                assert request.wait
                problems = ["reload failed: orders-2: no such plugin"]
                return Failed(id=request.id, problems=problems, change=7, restored=restores)
            case Reload():
                assert file is not None
                return Accepted(id=request.id, message=f"read {len(file.read_text())} bytes", generation=4)
            case Scale():
                return Accepted(id=request.id, message=f"scales {request.pools}", generation=4)
        return None

    return answers(report(config=file, pools=[pool()], entities=[entity()]), other)


def test_edits_the_file_then_reloads(command: Command, run_dir: Path, file: Path) -> None:
    before = file.stat()
    with stand_in(run_dir, fleet(file)):
        done = command("scale", "orders=6")
    assert done.status == 0, done
    assert file.read_text() == SCALED
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert f"read {len(SCALED)} bytes" in done.err
    assert [each.name for each in file.parent.iterdir()] == ["fleet.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_keeps_the_owner_of_the_file(command: Command, run_dir: Path, file: Path) -> None:
    os.chown(file, 1234, 2345)
    with stand_in(run_dir, fleet(file)):
        assert command("scale", "orders=6").status == 0
    assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (1234, 2345, 0o640)


def test_a_link_to_the_file_stays_one(command: Command, run_dir: Path, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "real.toml"
    file.rename(target)
    file.symlink_to(target)
    with stand_in(run_dir, fleet(file)):
        assert command("scale", "orders=6").status == 0
    assert file.is_symlink()
    assert target.read_text() == SCALED


def test_gives_the_file_back_when_the_fleet_refuses(command: Command, run_dir: Path, file: Path) -> None:
    with stand_in(run_dir, fleet(file, rejects=True)):
        refused = command("scale", "orders=6")
    assert refused.status == 1, refused
    assert "shop.orders: cannot be imported" in refused.err
    assert "fleet.toml is as it was before" in refused.err
    assert file.read_text() == TEXT


def test_gives_the_file_back_when_the_change_is_taken_back(
    command: Command, run_dir: Path, file: Path
) -> None:
    with stand_in(run_dir, fleet(file, fails=True, restores=True)):
        failed = command("scale", "orders=6")
    assert failed.status == 1, failed
    assert "reload failed: orders-2: no such plugin" in failed.err
    assert "fleet.toml is as it was before" in failed.err
    assert file.read_text() == TEXT


def test_leaves_the_file_to_a_newer_change(command: Command, run_dir: Path, file: Path) -> None:
    with stand_in(run_dir, fleet(file, fails=True)):
        superseded = command("scale", "orders=6")
    assert superseded.status == 1, superseded
    assert "as it was before" not in superseded.err
    assert file.read_text() == SCALED


def test_leaves_a_file_that_would_not_hold(command: Command, run_dir: Path, file: Path) -> None:
    text = TEXT + "[pools.billing]\nprogram = 1\n"
    file.write_text(text)
    with stand_in(run_dir, fleet(file)):
        refused = command("scale", "orders=6")
        too_many = command("scale", "orders=999999")
    assert refused.status == 1, refused
    assert "pools.billing.program" in refused.err
    assert too_many.status == 2, too_many
    assert file.read_text() == text


def test_an_unknown_pool_is_misuse(command: Command, run_dir: Path, file: Path) -> None:
    with stand_in(run_dir, fleet(file)):
        refused = command("scale", "billing=6")
    assert refused.status == 2, refused
    assert "no pool is named billing; there are: orders" in refused.err
    assert file.read_text() == TEXT


def test_tells_of_other_changes_that_come_along(command: Command, run_dir: Path, file: Path) -> None:
    pending = (StepReport(action="replace", target="orders", reason="settings changed"),)
    with stand_in(run_dir, fleet(file, pending=pending)):
        done = command("scale", "orders=6")
    assert done.status == 0, done
    assert "this reload applies them too:\n~ orders replace: settings changed\n" in done.err


def test_a_fleet_of_another_file(command: Command, run_dir: Path, file: Path, folder: Path) -> None:
    other = folder / "other.toml"
    other.write_text(TEXT)
    with stand_in(run_dir, fleet(other)):
        refused = command("scale", "orders=6")
    assert refused.status == 1, refused
    assert f"was started from {other}, not from fleet.toml" in refused.err
    assert file.read_text() == other.read_text() == TEXT


def test_a_fleet_without_a_file_is_scaled_as_it_runs(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, fleet(None)):
        done = command("scale", "orders=6", "--fleet", "shop")
        unknown = command("scale", "billing=6", "--fleet", "shop")
        too_many = command("scale", "orders=999999", "--fleet", "shop")
    assert done.status == 0, done
    assert "nothing of this is kept on disk" in done.err
    assert "scales {'orders': 6}" in done.err
    assert unknown.status == 2, unknown
    assert too_many.status == 2, too_many


def test_a_fleet_named_by_its_name_has_its_file_edited(
    command: Command, run_dir: Path, file: Path, tmp_path: Path
) -> None:
    with stand_in(run_dir, fleet(file)):
        done = command("scale", "orders=6", "--fleet", "shop")
    assert done.status == 0, done
    assert file.read_text() == SCALED


def test_two_edits_at_once_lose_nothing(command: Command, run_dir: Path, file: Path) -> None:
    """Somebody writes the file between our reading and our writing it."""

    def edit(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, GetPlan):
            file.write_text(TEXT + "# mine\n")
        yield from fleet(file)(request)

    with stand_in(run_dir, edit):
        refused = command("scale", "orders=6")
    assert refused.status == 1, refused
    assert "was edited by somebody else just now" in refused.err
    assert file.read_text() == TEXT + "# mine\n"
