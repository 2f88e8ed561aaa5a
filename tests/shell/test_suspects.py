"""The file of suspects, on a real file system."""

import json
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from temporal_fleet.supervisor.core.estate import ActivityKey, RunKey, Suspect
from temporal_fleet.supervisor.shell.suspects import SuspectsFile

SUSPECTS = (
    Suspect(ActivityKey("order-1", "run-1", "7"), "pay", 2, ("orders-1.3", "orders-2.1"), 1.7e9),
    Suspect(ActivityKey("", "run-2", "alone"), "resize", 1),
    Suspect(RunKey("order-1", "run-1"), "Order", 3, ("orders-1.3",)),
)


def warnings_of(told: list[dict[str, str]]) -> list[str]:
    return [line["event"] for line in told if line["log_level"] == "warning"]


def test_they_outlive_their_supervisor_in_their_order(tmp_path: Path) -> None:
    state_dir = tmp_path / "state" / "shop"
    assert SuspectsFile(state_dir).load() == ()
    SuspectsFile(state_dir).save(SUSPECTS)
    assert SuspectsFile(state_dir).load() == SUSPECTS
    SuspectsFile(state_dir).save(SUSPECTS[1:])
    assert SuspectsFile(state_dir).load() == SUSPECTS[1:]
    assert [path.name for path in state_dir.iterdir()] == ["suspects.json"]


@pytest.mark.parametrize("damage", [b"", b"[{", b"{}", b'[{"kind": "dog"}]', b"[\xff]", b'[{"deaths": 1}]'])
def test_a_damaged_file_is_told_of_and_kept_aside(tmp_path: Path, damage: bytes) -> None:
    file = SuspectsFile(tmp_path)
    file.path.write_bytes(damage)
    with capture_logs() as told:
        assert file.load() == ()
    (line,) = told
    assert line["log_level"] == "warning"
    assert Path(line["kept"]).read_bytes() == damage
    file.save(SUSPECTS)
    assert file.load() == SUSPECTS
    assert Path(line["kept"]).read_bytes() == damage


def test_a_file_that_cannot_be_read_costs_nobody_the_start(tmp_path: Path) -> None:
    file = SuspectsFile(tmp_path)
    file.path.mkdir()
    with capture_logs() as told:
        assert file.load() == ()
    assert [line["log_level"] for line in told] == ["warning"]


def test_a_folder_that_takes_no_files_is_told_of_once_an_outage(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder should be")
    file = SuspectsFile(blocked)
    with capture_logs() as told:
        file.save(SUSPECTS)
        file.save(SUSPECTS)
        assert len(told) == 1
        assert "state_dir" in told[0]["event"]
        blocked.unlink()
        file.save(SUSPECTS)
        assert file.load() == SUSPECTS
        shutil.rmtree(blocked)
        blocked.write_text("again")
        file.save(SUSPECTS)
    assert len(told) == 2


def test_a_file_that_does_not_say_when_is_read_all_the_same(tmp_path: Path) -> None:
    file = SuspectsFile(tmp_path)
    file.save(SUSPECTS)
    lines = json.loads(file.path.read_text())
    for line in lines:
        del line["last"]
    file.path.write_text(json.dumps(lines))
    assert [(suspect.deaths, suspect.last) for suspect in file.load()] == [(2, 0.0), (1, 0.0), (3, 0.0)]


def test_its_lines_can_be_read_by_an_operator(tmp_path: Path) -> None:
    file = SuspectsFile(tmp_path)
    file.save(SUSPECTS)
    lines = json.loads(file.path.read_text())
    assert [(line["kind"], line["deaths"]) for line in lines] == [
        ("activity", 2),
        ("activity", 1),
        ("workflow", 3),
    ]
