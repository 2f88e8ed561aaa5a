"""Limits that a test sets to real resources of the kernel, and takes away again."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

SetRoom = Callable[[int | None], None]
"""So many more processes may be forked; None: as many as it likes."""


@contextmanager
def few_processes(process: psutil.Process) -> Iterator[SetRoom]:
    """Limit how many processes one process and those that it forks may be.

    For root, whom RLIMIT_NPROC does not limit, by a cgroup; else by RLIMIT_NPROC, which has room for none.
    """
    if os.geteuid() != 0:
        yield from _by_resource_limit(process)
        return
    folder = _pids_cgroup() / f"temporal-fleet-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cgroup.procs").write_text(str(process.pid))
    except OSError as error:
        pytest.skip(f"no cgroup can be made to limit processes: {error}")

    def set_room(room: int | None) -> None:
        now = int((folder / "pids.current").read_text())
        (folder / "pids.max").write_text("max" if room is None else str(now + room))

    try:
        yield set_room
    finally:
        (folder / "pids.max").write_text("max")
        for member in (folder / "cgroup.procs").read_text().split():
            (folder.parent / "cgroup.procs").write_text(member)
        folder.rmdir()


def _pids_cgroup() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "pids" in options.split(","):
            return Path(place)
        controllers = Path(place) / "cgroup.subtree_control"
        if kind == "cgroup2" and controllers.exists() and "pids" in controllers.read_text().split():
            return Path(place)
    pytest.skip("no cgroup hierarchy here limits processes")


def _by_resource_limit(process: psutil.Process) -> Iterator[SetRoom]:
    before = process.rlimit(resource.RLIMIT_NPROC)

    def set_room(room: int | None) -> None:
        if room:
            pytest.skip("RLIMIT_NPROC counts every process of the user")
        process.rlimit(resource.RLIMIT_NPROC, before if room is None else (1, before[1]))

    yield set_room


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """A file system of its own in a folder, of so many KiB."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={kibibytes}k,mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "temporal-fleet-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def enlarge(folder: Path, kibibytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kibibytes}k", folder], check=True)


def fill(folder: Path) -> Path:
    """Until not one block is free. The file that takes them all."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler
