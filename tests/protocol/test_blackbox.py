"""The black box: what was written before SIGKILL is there after it, whole; anything else is rubbish."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, cycle, repeat
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporal_fleet.protocol import blackbox
from temporal_fleet.protocol.blackbox import HEADER, BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.process import ProcessIdentity, own_identity

WRITER = ProcessIdentity(pid=42, start_time=4711, boot_id="0" * 36)
TEXTS = ["", "no Cluster at shop:7233", "ü" * 700, "x" * 2048, "déjà vu: " + "é" * 99]


def write(path: Path) -> BlackBoxWriter:
    return BlackBoxWriter(path, "orders-1", 7, WRITER)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.write_identity("shop/orders-1@host:42")
    box.write_last_words("no Cluster at shop:7233")
    read = read_blackbox(tmp_path / "box")
    assert (read.entity, read.incarnation, read.process) == ("orders-1", 7, WRITER)
    assert read.identity == "shop/orders-1@host:42"
    assert read.last_words == "no Cluster at shop:7233"
    assert read.sticky_queue == ""
    box.write_sticky_queue("shop/orders-1@host:42-" + "0" * 32)
    assert read_blackbox(tmp_path / "box").sticky_queue == "shop/orders-1@host:42-" + "0" * 32
    assert (tmp_path / "box").stat().st_mode & 0o777 == 0o600


def test_last_words_are_cut_to_what_fits_and_stay_text(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.write_last_words("x" + "ü" * 5000)
    assert read_blackbox(tmp_path / "box").last_words == "x" + "ü" * 1023


def test_last_words_that_no_encoding_can_say_are_said_all_the_same(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.write_last_words("file \udcff is missing")
    assert read_blackbox(tmp_path / "box").last_words == "file ? is missing"


def test_a_name_that_does_not_fit_is_our_misuse_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ProtocolMisuse, match="128 bytes"):
        BlackBoxWriter(tmp_path / "box", "x" * 129, 1, WRITER)
    assert not (tmp_path / "box").exists()


def test_a_box_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "box")
    with pytest.raises(FileExistsError):
        write(tmp_path / "box")
    assert read_blackbox(tmp_path / "box").incarnation == 7


def test_no_box_is_told_from_rubbish(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_blackbox(tmp_path / "box")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "0 bytes, a black box of layout 3 has 4096 or more"),
        (b"x" * (HEADER - 1), "4095 bytes"),
        (b"x" * (HEADER + 1), "not a black box of layout 3"),
        (bytes(HEADER), "not a black box of layout 3"),
        (b"TFLTBBOX\x01" + bytes(HEADER - 9), "of layout 1, not of layout 3"),
        (b"TFLTBBOX\x04" + bytes(HEADER - 9), "of layout 4, not of layout 3"),
        (b"TFLTBBOX\x03" + bytes(HEADER - 9), "no mark"),
    ],
)
def test_what_is_not_a_box_is_rubbish(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "box").write_bytes(content)
    with pytest.raises(PeerRubbish, match=told):
        read_blackbox(tmp_path / "box")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=HEADER), fill=st.binary(min_size=1, max_size=1), head=st.booleans())
def test_any_content_is_a_box_or_rubbish(tmp_path: Path, content: bytes, fill: bytes, head: bool) -> None:
    content = (b"TFLTBBOX\x02\0\0\0" if head else b"") + content
    (tmp_path / "box").write_bytes(content.ljust(HEADER + 1024, fill))
    try:
        read = read_blackbox(tmp_path / "box")
    except PeerRubbish:
        return
    assert len(read.entity) <= 128
    assert len(read.last_words) <= 2048


@pytest.mark.timeout(400)
def test_a_writer_killed_at_any_instant_leaves_a_whole_box_or_none(tmp_path: Path) -> None:
    """SIGKILL after the first instruction, the second, … of everything that the writer ever does."""
    words = set()
    for instant in count(1):
        path = tmp_path / f"box-{instant}"
        pid = os.fork()
        if pid == 0:
            _write_until(instant, path)
        _, status = os.waitpid(pid, 0)
        words.add(_look(path, pid))
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, f"instant {instant}: {status}"
    assert words == {None, *TEXTS}, "the instants missed something that was written"


def _write_until(instant: int, path: Path) -> NoReturn:
    """In a child: write everything, but for what comes after so many instructions of the writer."""
    left = instant

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != blackbox.__file__:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    identity = own_identity()
    sys.settrace(trace)
    try:
        box = BlackBoxWriter(path, "orders-1", 7, identity)
        box.write_identity("shop/orders-1@host:42")
        for text in TEXTS:
            box.write_last_words(text)
    finally:
        os._exit(0)


def _look(path: Path, pid: int) -> str | None:
    """The last words, never half of them, in a box that is whole; None when there is no box."""
    try:
        read = read_blackbox(path)
    except (PeerRubbish, FileNotFoundError):
        return None
    assert (read.entity, read.incarnation, read.process.pid) == ("orders-1", 7, pid)
    assert read.identity in {"", "shop/orders-1@host:42"}
    assert read.last_words in TEXTS
    return read.last_words


def test_texts_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = write(tmp_path / "box")
    headers = []
    for text in ("before", "after"):
        box.write_last_words(text)
        headers.append((tmp_path / "box").read_bytes()[:HEADER])
    pread = os.pread
    readings = iter([headers[0], headers[1], headers[1]])

    def reading(descriptor: int, length: int, offset: int) -> bytes:
        return pread(descriptor, length, offset) if offset or length != HEADER else next(readings)

    monkeypatch.setattr(os, "pread", reading)
    assert read_blackbox(tmp_path / "box").last_words == "after"
    readings = cycle(headers)
    with pytest.raises(PeerRubbish, match="while it was read"):
        read_blackbox(tmp_path / "box")


def fill(disk: Path) -> None:
    """Not a free byte is left."""
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        list(map(filler.write, repeat(bytes(4096))))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own without a free byte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs a small file system of its own: {mounted.stderr.strip()}")
    try:
        fill(disk)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_on_a_full_disk_there_is_an_error_at_once_and_no_half_box(full_disk: Path) -> None:
    # In a child: a box that is not wholly on the disk is a SIGBUS.
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            write(full_disk / "box")
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.ENOSPC
    assert not (full_disk / "box").exists()


def test_a_box_made_in_time_can_be_written_on_a_full_disk(full_disk: Path) -> None:
    (full_disk / "filler").unlink()
    box = write(full_disk / "box")
    fill(full_disk)
    box.write_last_words("still here")
    assert read_blackbox(full_disk / "box").last_words == "still here"
