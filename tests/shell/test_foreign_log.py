"""Logs of real processes that know nothing of us: bounded, without anybody waiting for anybody."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from temporal_fleet.protocol.spec import LogFiles
from temporal_fleet.supervisor.shell.foreign_log import ForeignLog
from tests.waiting import wait_until

SIZE = 64 << 10


def files(folder: Path, keep: int = 2) -> LogFiles:
    return LogFiles(folder=str(folder), size=SIZE, keep=keep)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ForeignLog]:
    log = ForeignLog(files(tmp_path / "logs"), "dev-server", files(tmp_path / "run"))
    yield log
    log.close()


def say(log: ForeignLog, script: str) -> None:
    subprocess.run(["sh", "-c", script], stdout=log.fileno(), check=True)


def test_a_process_that_never_stops_talking_is_bounded_and_goes_on(log: ForeignLog) -> None:
    talking = subprocess.Popen(["sh", "-c", "while :; do echo something to say; done"], stdout=log.fileno())
    try:
        for turn in range(5):
            wait_until(lambda: log.path.stat().st_size >= SIZE, what="a log that is full")
            log.look_after(now=2.0 * turn)
        assert sorted(each.name for each in log.path.parent.iterdir()) == [
            "dev-server.log",
            "dev-server.log.1",
            "dev-server.log.2",
        ]
        assert all(SIZE <= each.stat().st_size <= 2 * SIZE for each in log.path.parent.glob("*.log.*"))
        assert talking.poll() is None
    finally:
        talking.kill()
        talking.wait()


def test_a_rotation_keeps_the_newest_whole(log: ForeignLog) -> None:
    say(log, "seq 1 100000")
    log.look_after(now=0.0)
    say(log, "echo and on")
    assert log.path.read_text() == "and on\n"
    before = log.path.with_name("dev-server.log.1").read_text()
    assert len(before) == SIZE
    assert before.endswith("99999\n100000\n")


def test_it_is_looked_at_now_and_then(log: ForeignLog) -> None:
    log.look_after(now=10.0)
    say(log, "seq 1 100000")
    log.look_after(now=10.5)
    assert log.path.stat().st_size > SIZE
    log.look_after(now=11.0)
    assert log.path.stat().st_size == 0


def test_the_last_line_is_of_this_process(tmp_path: Path) -> None:
    for life, script in enumerate(["echo first; echo last", "true"]):
        log = ForeignLog(files(tmp_path), "dev-server", files(tmp_path))
        say(log, script)
        assert log.last_line() == ["last", "it wrote nothing"][life]
        log.close()
    assert log.path.read_text() == "first\nlast\n"


def test_where_no_file_can_be_had_it_goes_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    log = ForeignLog(files(tmp_path / "logs"), "dev-server", files(tmp_path / "run"))
    say(log, "echo here")
    assert log.last_line() == "here"
    assert log.path == tmp_path / "run" / "dev-server.log"
    log.close()


def test_what_cannot_be_copied_goes_and_the_log_stays_bounded(tmp_path: Path) -> None:
    log = ForeignLog(files(tmp_path, keep=1), "dev-server", files(tmp_path / "run"))
    (tmp_path / "dev-server.log.1").mkdir()
    say(log, "seq 1 100000")
    log.look_after(now=0.0)
    assert log.path.stat().st_size == 0
    say(log, "echo goes on")
    assert log.last_line() == "goes on"
    log.close()
