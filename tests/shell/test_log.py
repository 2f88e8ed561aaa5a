"""The supervisor's stderr: a pipe whose reader goes away, stands still, or comes back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import FileIO

import pytest

from temporal_fleet.supervisor.shell import log
from temporal_fleet.supervisor.shell.log import Unbreakable

LINE = "x" * 79 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reader, writer = os.pipe()
    with FileIO(reader, "r") as reads, FileIO(writer, "w") as writes:
        yield reads, writes


def test_lines_arrive_as_they_are(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    print("a line, ünd another", file=Unbreakable(writer.fileno()))
    assert os.read(reader.fileno(), 100).decode() == "a line, ünd another\n"


def test_a_reader_that_is_gone_ends_nobody(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    reader.close()
    stream = Unbreakable(writer.fileno())
    print("into the void", file=stream, flush=True)
    writer.close()
    print("into the void", file=stream, flush=True)


def test_a_reader_that_stands_still_holds_nobody_up_and_reads_on_later(pipe: tuple[FileIO, FileIO]) -> None:
    reader, writer = pipe
    stream = Unbreakable(writer.fileno())
    for _ in range(10_000):
        stream.write(LINE)
    taken = os.read(reader.fileno(), 1 << 20)
    assert 0 < len(taken) < 10_000 * len(LINE)
    stream.write("there again\n")
    assert os.read(reader.fileno(), 1 << 20) == b"there again\n"


def test_what_is_logged_follows_the_level_of_now() -> None:
    """In a process of its own, since logging is set up for a whole process."""
    program = """
import structlog
from temporal_fleet.supervisor.shell import log
logger = structlog.get_logger()
log.configure("json", "shop", "warning")
def say(when):
    for level in ("debug", "info", "warning", "error"):
        logger.log({"debug": 10, "info": 20, "warning": 30, "error": 40}[level], f"{when} {level}")
say("first")
log.set_level("debug")
say("then")
log.set_level("error")
say("at last")
logger.info("asked for", **{log.ASKED_FOR: True})
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("a failure")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30)
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        *("first warning", "first error"),
        *("then debug", "then info", "then warning", "then error"),
        *("at last error", "asked for", "a failure"),
    ]
    assert log.ASKED_FOR not in done.stderr.decode()
