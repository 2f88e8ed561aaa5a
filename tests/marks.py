"""Processes that a test started, found by a mark in their environment: whoever is their parent by now, and
whatever session they are in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.waiting import wait_until

MARK = "PROCESS_OF_TEST"


def marked(value: str | Path) -> list[psutil.Process]:
    """Every living process but this one that was started with MARK=value in its environment."""
    mark = f"{MARK}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        # A zombie's is empty.
        with suppress(OSError, psutil.NoSuchProcess):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(psutil.Process(int(entry.name)))
    return found


@contextmanager
def nothing_left(value: str | Path) -> Iterator[None]:
    """Every process with this mark must be gone at the end, or about to be; those that are not are killed."""
    yield
    try:
        wait_until(lambda: not marked(value), within=15, what=f"no process with {MARK}={value}")
    finally:
        for process in marked(value):
            with suppress(psutil.NoSuchProcess):
                process.kill()
