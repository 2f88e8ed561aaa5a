"""Standard streams whose reader is gone: nothing raises into user code, and whoever else listens gets all."""

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from temporal_fleet.entity.output import Output
from temporal_fleet.entity.streams import GuardedOutput
from temporal_fleet.protocol.loglines import LogLines
from temporal_fleet.protocol.secrets import Secrets
from tests.entity.conftest import Cluster
from tests.entity.lives import Bus, Nursery, entity_spec, program_spec

CANCELLED = """
import ctypes
import threading
from temporalio.exceptions import CancelledError
from temporal_fleet.entity.output import Output
from temporal_fleet.protocol.loglines import LogLines
from temporal_fleet.protocol.secrets import Secrets
Output(LogLines({}, Secrets()), "json", "orders-1").take_prints()
for number in range(10):
    prints = threading.Event()
    def work():
        try:
            while True:
                sum(range(30_000))
                print("at work")
                prints.set()
        except CancelledError:
            print("cancelled")
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    prints.wait()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(CancelledError))
    thread.join(10)
    if thread.is_alive():
        break
"""

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


def test_a_thread_that_prints_is_cancelled() -> None:
    """As the SDK cancels an activity in a thread: once, by an exception at whatever it does just then."""
    command = [sys.executable, "-c", CANCELLED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert said.count("cancelled") == 10


def test_a_pipe_whose_reader_stands_still(report: Path) -> None:
    reader, writer = os.pipe()
    try:
        finish(chatty(report, writer, writer))
    finally:
        os.close(writer)
        os.close(reader)
    assert int(report.read_text().split()[2]) > 200_000


def test_what_was_lost_is_told_once_somebody_reads_again() -> None:
    reader, writer = os.pipe()
    output = Output(LogLines({"process": "entity"}, Secrets()), "json", "orders-1")
    output._streams[2] = GuardedOutput(writer)
    with os.fdopen(reader, "rb", buffering=0) as reads, os.fdopen(writer, "wb"):
        for _ in range(40):
            output.write("x" * 4000)
        assert set(reads.read(1 << 20).split(b"\n")) == {b"x" * 4000, b""}
        output.write("again")
        told, said, _ = reads.read(1 << 20).split(b"\n")
        assert re.fullmatch(r"\d{5} bytes were lost here: nobody read them", json.loads(told)["event"])
        assert said == b"again"


@pytest.fixture
def unheard(subreaper: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nursery]:
    """A fork server whose standard streams nobody reads: their reader is gone, or stands still."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as reads:
        if request.param == "gone":
            reads.close()
        else:
            _fill(writer)
        nursery = Nursery(program_spec("unused"), tmp_path / "log", output=writer)
        os.close(writer)
        yield nursery
        nursery.end()


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(select.PIPE_BUF))
    os.set_blocking(pipe, True)


@pytest.mark.parametrize("unheard", ["gone", "still"], indirect=True)
def test_an_unheard_entity_works_on(
    unheard: Nursery, bus: Bus, run_dir: Path, cluster: Cluster, task_queue: str
) -> None:
    life = unheard.fork(entity_spec(run_dir, program_spec(task_queue), cluster.spec))
    bus.ready(life)
    handle = cluster.start("Run", f"{task_queue}-1", task_queue, "write_to_the_streams")
    assert cluster.run(handle.result()) == "written"
    handle = cluster.start("Run", f"{task_queue}-2", task_queue, "greet", "you")
    assert "hello you" in str(cluster.run(handle.result()))
