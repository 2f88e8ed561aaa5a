"""The title of a process, as `ps` shows it: `temporal-fleet: shop orders-3 ready 412 cached`. What it says is
decided by the process that it is of; here is how it comes there."""

import os
from pathlib import Path

from setproctitle import getproctitle, getthreadtitle, setproctitle, setthreadtitle

ROOM = " " * 192
"""An argument for those that we start: a title has the room of the command line, and no more."""

_KEEP_ENVIRONMENT = "SPT_NOENV"


def titles_of(fleet: str) -> str:
    """What the title of every process of a fleet begins with."""
    return f"temporal-fleet: {fleet} "


def prepare_title() -> None:
    """Early in a process, while its environment is as it was started with: the command line is found from
    there. What it forks has it done. By default a title would take the place of /proc/PID/environ."""
    before = os.environ.get(_KEEP_ENVIRONMENT)
    os.environ[_KEEP_ENVIRONMENT] = "1"
    name = Path("/proc/self/comm").read_text().strip()
    try:
        getproctitle()
    finally:
        # The first call of any of them sets it to the path of the interpreter.
        setthreadtitle(name)
        if before is None:
            del os.environ[_KEEP_ENVIRONMENT]
        else:
            os.environ[_KEEP_ENVIRONMENT] = before


def set_title(fleet: str, text: str) -> None:
    """By the main thread. The short name (`ps -o comm`, `top`) stays what it is."""
    name = getthreadtitle()
    setproctitle(f"{titles_of(fleet)}{text}")
    setthreadtitle(name)


def set_short_name(name: str) -> None:
    """By the main thread. What `top` and the kernel's log of an OOM show; cut at 15 bytes."""
    setthreadtitle(name)
