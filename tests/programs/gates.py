"""Stands still where a test wants it to: at NAME, while the file $GATES/NAME is there."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from shop import *  # noqa: F403
from temporalio import activity


def stand_at(name: str) -> None:
    gate = Path(os.environ["GATES"]) / name
    while gate.exists():
        time.sleep(0.01)


stand_at("import")

generations = [os.getpid()]
"""The fork server, the process that forks and announces an entity, the entity."""


def _born() -> None:
    generations.append(os.getpid())
    if len(generations) == 3:
        stand_at("birth")


def _forked() -> None:
    if len(generations) == 2:
        stand_at("announcement")


os.register_at_fork(after_in_child=_born, after_in_parent=_forked)


def after_fork() -> None:
    stand_at("boot")


@activity.defn
def hold(_seconds: float) -> str:
    """In a thread, where no cancellation reaches it."""
    stand_at("activity")
    return "let go"


@activity.defn
async def stubborn(_seconds: float) -> str:
    """Ignores every cancellation."""
    while (Path(os.environ["GATES"]) / "activity").exists():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            continue
    return "let go"


@activity.defn
def talk(_seconds: float) -> str:
    """In every way that a program has."""
    for _ in range(100):
        print("x" * 1000)
        print("x" * 1000, file=sys.stderr, flush=True)
        logging.getLogger(__name__).warning("x" * 1000)
        activity.logger.warning("x" * 1000)
    sys.__stdout__.write("x")
    subprocess.run(["sh", "-c", "echo x; echo x >&2"], check=False)
    return f"attempt {activity.info().attempt}"
