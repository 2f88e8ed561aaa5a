"""A Worker Program whose entities are killed: what each part held has to go on elsewhere."""

import os
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

LONG = timedelta(minutes=10)
"""Longer than any test: what is not recovered never goes on."""


@workflow.defn
class Counting:
    """Waits until it was told often enough."""

    def __init__(self) -> None:
        self._told = 0

    @workflow.run
    async def run(self, goal: int) -> int:
        await workflow.wait_condition(lambda: self._told >= goal)
        return self._told

    @workflow.signal
    def tell(self) -> None:
        self._told += 1

    @workflow.query
    def told(self) -> int:
        return self._told

    @workflow.query
    def refuses(self) -> int:
        raise ValueError("no answer to this")

    @workflow.update
    async def tell_and_ask(self) -> int:
        self._told += 1
        return self._told


@workflow.defn(sandboxed=False)
class Busy:
    """Its first Workflow Task holds its thread in so many processes, one after the other."""

    @workflow.run
    async def run(self, folder: str, processes: int) -> int:
        running = Path(folder) / str(os.getpid())
        running.touch()
        if len(list(Path(folder).iterdir())) <= processes:
            # Not in one piece: the SDK takes 2 s for a deadlock.
            deadline = time.monotonic() + 1.9
            while time.monotonic() < deadline:
                time.sleep(0.01)
        return os.getpid()


@workflow.defn
class Errand:
    @workflow.run
    async def run(self, path: str) -> str:
        return await workflow.execute_activity(
            work,
            path,
            activity_id="work",
            start_to_close_timeout=LONG,
            retry_policy=RetryPolicy(initial_interval=LONG),
        )


@workflow.defn
class Elsewhere:
    """Its activity is on another Task Queue."""

    @workflow.run
    async def run(self, task_queue: str) -> None:
        await workflow.execute_activity(
            "work", task_queue, task_queue=task_queue, start_to_close_timeout=LONG, activity_id="work"
        )


@activity.defn
def work(path: str) -> str:
    """Its first attempt says how far it is, and never ends."""
    info = activity.info()
    if info.attempt > 1:
        return f"attempt {info.attempt} from {list(info.heartbeat_details)}"
    activity.heartbeat("half way")
    # The heartbeat is passed on by the event loop, which records it.
    time.sleep(0.2)
    Path(path).touch()
    time.sleep(3600)
    raise AssertionError("an hour has passed")


WORKFLOWS = [Counting, Busy, Errand]
ACTIVITIES = [work]
