"""One descriptor, several that write to it, and a reader that does not keep up, or does not read at all."""

import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from temporal_fleet.protocol.outlet import Outlet

LINE = 9000
"""More than the kernel writes in one piece whatever there is room for."""


@pytest.fixture(params=["refuses", "waits"])
def outlet(request: pytest.FixtureRequest) -> Iterator[tuple[Outlet, int]]:
    """To a pipe, and where to read from it; on a kernel that writes there without waiting, and as on one that
    does not."""
    reader, writer = os.pipe()
    outlet = Outlet(writer)
    outlet._can_refuse = request.param == "refuses"
    yield outlet, reader
    os.close(reader)
    os.close(writer)


def test_threads_lose_nothing_to_each_other(outlet: tuple[Outlet, int]) -> None:
    to, reader = outlet
    taken: list[int] = []

    def write(letter: str) -> None:
        line = (letter * 99 + "\n").encode()
        taken.append(sum(to.write(line) for _ in range(2000)))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    read = b""
    while len(read) < 3 * 2000 * 100:
        assert select.select([reader], [], [], 20)[0], f"{len(read)} bytes came, {taken} were taken"
        read += os.read(reader, 1 << 16)
    for thread in threads:
        thread.join()
    assert taken == [2000 * 100] * 3
    assert {len(set(line)) for line in read.splitlines()} == {1}, "lines of one letter each"


def test_a_long_line_is_written_in_one_piece_where_there_is_room(
    outlet: tuple[Outlet, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    to, reader = outlet
    pieces: list[int] = []
    write = os.write

    def counted(descriptor: int, data: memoryview) -> int:
        pieces.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    for _ in range(5):
        assert to.write(b"x" * LINE) == LINE
    assert set(pieces) <= {LINE}
    assert len(os.read(reader, 1 << 20)) == 5 * LINE


def test_what_finds_no_room_is_not_waited_for_again_until_somebody_reads(outlet: tuple[Outlet, int]) -> None:
    to, reader = outlet
    taken = sum(to.write(b"x" * LINE) for _ in range(1000))
    assert 40_000 < taken < 1 << 16
    assert len(os.read(reader, 1 << 20)) == taken
    assert to.write(b"again") == 5


def test_who_is_gone_is_told(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        Outlet(writer).write(b"x")
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Outlet(writer).write(b"x")
    with (tmp_path / "file").open("wb") as file:
        assert Outlet(file.fileno()).write(b"x" * 1_000_000) == 1_000_000
