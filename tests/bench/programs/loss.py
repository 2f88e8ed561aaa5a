"""What is lost with a worker, in the kinds that are measured: cached executions, a Workflow Task in hand, an
activity in hand. What happens when is written to the file that LOSS_LOG names, a line each."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow

LOG = os.environ.get("LOSS_LOG", os.devnull)
HOLD = 1.5
"""Seconds for which the slow Workflow Task holds its thread: below the SDK's deadlock limit of 2 s."""


def note(what: str) -> None:
    with Path(LOG).open("a") as log:
        log.write(f"{what} {os.getpid()} {time.time():.6f}\n")


@workflow.defn
class Waiting:
    """Cached and blocked, until it is told to go on."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._told)

    @workflow.signal
    def go_on(self) -> None:
        self._told = True

    @workflow.query
    def told(self) -> bool:
        return self._told


@workflow.defn(sandboxed=False)
class SlowTask:
    """Its first Workflow Task takes long; the second attempt does not."""

    @workflow.run
    async def run(self) -> None:
        first = not Path(LOG).exists() or "task" not in Path(LOG).read_text()
        note("task")
        if first:
            time.sleep(HOLD)


@workflow.defn
class Errand:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(hold, start_to_close_timeout=timedelta(seconds=60))


@activity.defn
async def hold() -> None:
    """In its first attempt it never ends."""
    note("activity")
    if activity.info().attempt == 1:
        await asyncio.sleep(3600)


@workflow.defn
class Hoard:
    """Keeps so many bytes until it is told to go on."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, size: int) -> int:
        hoard = bytearray(b"x") * size
        await workflow.wait_condition(lambda: self._told)
        return len(hoard)

    @workflow.signal
    def go_on(self) -> None:
        self._told = True

    @workflow.query
    def told(self) -> bool:
        return self._told


WORKFLOWS = [Waiting, SlowTask, Errand, Hoard]
ACTIVITIES = [hold]
