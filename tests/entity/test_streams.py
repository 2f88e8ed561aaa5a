"""Standard streams whose reader is gone: nothing raises into user code, and whoever else listens gets all."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.entity.conftest import Cluster
from tests.entity.lives import Bus, Nursery, entity_spec, program_spec

CHATTY = """
import sys
from temporal_fleet.entity.streams import flush_streams, guard_streams
early = sys.stdout
guard_streams()
late = sys.stdout
guard_streams()
assert sys.stdout is late
sys.stdin.readline()
for _ in range(3):
    print("x" * 100_000)
    print("y", file=sys.stderr, flush=True)
    sys.stdout.buffer.write(b"bytes")
    sys.stdout.flush()
    sys.__stdout__.write("again\\n")
print("\\N{SNOWMAN}")
flush_streams()
with open(sys.argv[1], "w") as report:
    report.write(f"{late.fileno()} {sys.stderr.fileno()} {sys.stdout.buffer.raw.lost_bytes}")
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report"


def chatty(report: Path, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHATTY, str(report)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"go\n", timeout=20)
    assert process.returncode == 0


def test_a_pipe_that_nobody_reads_any_more(report: Path) -> None:
    reader, writer = os.pipe()
    process = chatty(report, writer, writer)
    os.close(writer)
    os.close(reader)
    finish(process)
    stdout, stderr, lost = report.read_text().split()
    assert (stdout, stderr) == ("1", "2")
    assert int(lost) > 300_000


def test_a_terminal_that_is_gone(report: Path) -> None:
    controller, terminal = pty.openpty()
    process = chatty(report, terminal, terminal)
    os.close(terminal)
    os.close(controller)
    finish(process)
    assert int(report.read_text().split()[2]) > 300_000


def test_a_descriptor_that_is_closed(report: Path) -> None:
    command = f'exec {sys.executable} -c "$0" {report} >&- 2>&-'
    process = subprocess.Popen(["sh", "-c", command, CHATTY], stdin=subprocess.PIPE)
    finish(process)
    assert report.read_text().startswith("1 2 ")


def test_a_full_disk(report: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        finish(chatty(report, full.fileno(), full.fileno()))
    assert int(report.read_text().split()[2]) > 300_000


def test_a_reader_that_listens_gets_everything(report: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        finish(chatty(report, file.fileno(), file.fileno()))
    text = output.read_text()
    assert text.count("x") == 300_000
    assert text.count("y\n") == text.count("bytes") == text.count("again\n") == 3
    assert text.endswith("\\u2603\n")
    assert report.read_text() == "1 2 0"


@pytest.fixture
def unheard(subreaper: None, tmp_path: Path) -> Iterator[Nursery]:
    """A fork server whose standard streams nobody reads."""
    reader, writer = os.pipe()
    nursery = Nursery(program_spec("unused"), tmp_path / "log", output=writer)
    os.close(writer)
    os.close(reader)
    yield nursery
    nursery.end()


def test_an_unheard_entity_works_on(
    unheard: Nursery, bus: Bus, run_dir: Path, cluster: Cluster, task_queue: str
) -> None:
    life = unheard.fork(entity_spec(run_dir, program_spec(task_queue), cluster.spec))
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "write_to_the_streams")
    assert cluster.run(handle.result()) == "written"
    handle = cluster.start("Run", f"{task_queue}-2", task_queue, "greet", "you")
    assert "hello you" in str(cluster.run(handle.result()))
