"""The black box: what was written before SIGKILL is there after it, whole; anything else is rubbish."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporal_fleet.protocol.blackbox import SIZE, BlackBoxWriter, read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.process import ProcessIdentity, own_identity
from tests.waiting import wait_until

WRITER = ProcessIdentity(pid=42, start_time=4711, boot_id="0" * 36)
TEXTS = ["", "no Cluster at shop:7233", "ü" * 700, "x" * 2048, "déjà vu: " + "é" * 99]


def write(path: Path) -> BlackBoxWriter:
    return BlackBoxWriter(path, "orders-1", 7, WRITER)


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], None]], int]]:
    """Forks children that run a function for ever; none outlives the test."""
    children: list[int] = []

    def fork(work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            _work_for_ever(work)
        children.append(pid)
        return pid

    yield fork
    for pid in children:
        kill(pid)


def _work_for_ever(work: Callable[[], None]) -> NoReturn:
    try:
        while True:
            work()
    finally:
        os._exit(1)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def test_what_was_written_is_read(tmp_path: Path) -> None:
    box = write(tmp_path / "box")
    box.write_identity("shop/orders-1@host:42")
    box.write_last_words("no Cluster at shop:7233")
    read = read_blackbox(tmp_path / "box")
    assert (read.entity, read.incarnation, read.process) == ("orders-1", 7, WRITER)
    assert read.identity == "shop/orders-1@host:42"
    assert read.last_words == "no Cluster at shop:7233"
    assert (tmp_path / "box").stat().st_mode & 0o777 == 0o600


def test_every_byte_of_it_has_its_place_on_the_disk(tmp_path: Path) -> None:
    write(tmp_path / "box")
    assert (tmp_path / "box").stat().st_blocks * 512 >= SIZE


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
        (b"", "0 bytes"),
        (b"x" * (SIZE - 1), "4095 bytes"),
        (b"x" * (SIZE + 1), "4097 bytes"),
        (bytes(SIZE), "not a black box of layout 1"),
        (b"TFLTBBOX\x02" + bytes(SIZE - 9), "not a black box of layout 1"),
    ],
)
def test_what_is_not_a_box_is_rubbish(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "box").write_bytes(content)
    with pytest.raises(PeerRubbish, match=told):
        read_blackbox(tmp_path / "box")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.binary(max_size=SIZE), fill=st.binary(min_size=1, max_size=1), is_box=st.booleans())
def test_any_content_is_a_box_or_rubbish(tmp_path: Path, head: bytes, fill: bytes, is_box: bool) -> None:
    content = (b"TFLTBBOX\x01\0\0\0" if is_box else b"") + head
    (tmp_path / "box").write_bytes(content[:SIZE].ljust(SIZE, fill))
    try:
        read = read_blackbox(tmp_path / "box")
    except PeerRubbish:
        assert not is_box
        return
    assert len(read.entity) <= 128
    assert len(read.last_words) <= 2048


def test_a_writer_killed_at_any_instant_leaves_a_whole_box(
    tmp_path: Path, child: Callable[[Callable[[], None]], int]
) -> None:
    random = Random(7)
    seen: set[str] = set()
    for n in range(60):
        path = tmp_path / f"box-{n}"
        pid = child(lambda path=path: _write_all(path))  # type: ignore[misc]
        wait_until(path.exists, what="the child's black box")
        end = time.monotonic() + random.uniform(0.0, 0.01)
        while time.monotonic() < end:
            _look(path)
        kill(pid)
        seen.add(_look(path))
    assert len(seen) > 2, f"the instants were always the same: {seen}"


def _write_all(path: Path) -> None:
    box = BlackBoxWriter(path, "orders-1", 7, own_identity())
    box.write_identity("shop/orders-1@host:42")
    while True:
        for text in TEXTS:
            box.write_last_words(text)
            # Back to back, two readings in a row could meet the same two texts at the same instant.
            time.sleep(0.0001)


def _look(path: Path) -> str:
    """What is in it, which is never half of something."""
    try:
        read = read_blackbox(path)
    except PeerRubbish:
        return "nothing to be read now"
    assert read.entity == "orders-1"
    assert read.identity in {"", "shop/orders-1@host:42"}
    assert read.last_words in TEXTS
    return read.last_words


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
    with pytest.raises(OSError, match="No space"):
        write(full_disk / "box")
    assert not (full_disk / "box").exists()


def test_a_box_made_in_time_can_be_written_on_a_full_disk(full_disk: Path) -> None:
    (full_disk / "filler").unlink()
    box = write(full_disk / "box")
    fill(full_disk)
    box.write_last_words("still here")
    assert read_blackbox(full_disk / "box").last_words == "still here"
