"""Rotated log files on a real file system: nothing is lost, and nothing raises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from temporal_fleet.protocol.logfile import LogFile, former, log_path
from temporal_fleet.protocol.spec import LogFiles

SIZE = 2000


def say(text: str) -> bytes:
    return f"- {text}\n".encode()


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "stream"


def opened(folder: Path, stream: Path, keep: int = 3) -> LogFile:
    descriptor = os.open(stream, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return LogFile(LogFiles(folder=str(folder), size=SIZE, keep=keep), "orders-1", descriptor, say)


def write(log: LogFile, numbers: range) -> None:
    for number in numbers:
        log.write(f"line {number:04}\n".encode())


def kept(folder: Path) -> list[str]:
    """Every line that there is, the oldest first."""
    path = folder / "orders-1.log"
    rotated = sorted(folder.glob("orders-1.log.*"), key=lambda each: -int(each.suffix[1:]))
    return "".join(each.read_text() for each in (*rotated, path) if each.exists()).splitlines()


def test_rotation_loses_no_line_and_keeps_so_many_files(tmp_path: Path, stream: Path) -> None:
    folder = tmp_path / "logs"
    write(opened(folder, stream), range(500))
    # The next life of the entity.
    write(opened(folder, stream), range(500, 1000))
    numbers = [int(line.split()[1]) for line in kept(folder)]
    assert numbers == list(range(numbers[0], 1000))
    assert len(list(folder.iterdir())) == 4
    assert all(each.stat().st_size <= SIZE + 10 for each in folder.iterdir())
    assert (folder.stat().st_mode & 0o777, stream.read_text()) == (0o777 & ~_umask(), "")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_rotation_that_a_kill_tore_is_made_good(tmp_path: Path, stream: Path) -> None:
    write(opened(tmp_path, stream), range(700))
    path = log_path(LogFiles(folder=str(tmp_path), size=SIZE, keep=3), "orders-1")
    # Between two of its renames.
    former(path, 1).rename(former(path, 9))
    former(path, 9).rename(tmp_path / "aside")
    oldest = former(path, 3).read_text()
    write(opened(tmp_path, stream), range(700, 900))
    assert former(path, 3).read_text() == oldest


def test_a_killed_process_leaves_every_line_that_it_wrote(tmp_path: Path) -> None:
    program = f"""
import os, sys
from temporal_fleet.protocol.logfile import LogFile
from temporal_fleet.protocol.spec import LogFiles
log = LogFile(LogFiles(folder={str(tmp_path)!r}, size={SIZE}, keep=1000), "orders-1", 2, str.encode)
for number in range(100_000):
    log.write(f"line {{number:04}}\\n".encode())
    if number == 5000:
        os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    assert kept(tmp_path) == [f"line {number:04}" for number in range(5001)]


def test_a_full_disk_is_told_of_once_and_costs_nothing_but_its_lines(tmp_path: Path, stream: Path) -> None:
    log = opened(tmp_path, stream)
    good = os.dup(log._descriptor)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), log._descriptor)
        log._look_at = float("inf")
        write(log, range(50))
    told = stream.read_text().splitlines()
    assert len(told) == 1
    assert "orders-1.log takes no lines (No space left on device)" in told[0]
    os.dup2(good, log._descriptor)
    write(log, range(50, 52))
    assert kept(tmp_path)[0].startswith("- 50 lines were lost here")
    assert kept(tmp_path)[1:] == ["line 0050", "line 0051"]


def test_a_file_that_is_taken_away_is_made_anew(tmp_path: Path, stream: Path) -> None:
    folder = tmp_path / "logs"
    log = opened(folder, stream)
    write(log, range(1))
    (folder / "orders-1.log").rename(tmp_path / "elsewhere")
    folder.rmdir()
    log._look_at = 0
    write(log, range(1, 2))
    assert (tmp_path / "elsewhere").read_text() == "line 0000\n"
    assert kept(folder) == ["line 0001"]


def test_where_no_file_can_be_had_lines_go_to_the_stream(tmp_path: Path, stream: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    write(opened(tmp_path / "logs", stream), range(2))
    complaint, *rest = stream.read_text().splitlines()
    assert "cannot be opened or rotated" in complaint
    assert rest == ["line 0000", "line 0001"]
