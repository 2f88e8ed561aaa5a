"""Activities and workflows that kill their entity, or are in its hands when somebody else does."""

import asyncio
import ctypes
import os
import signal
import time
from datetime import timedelta

from temporalio import activity, workflow

PATIENCE = timedelta(minutes=30)
"""What a test would wait for, if nobody recovered the activity."""


@activity.defn
async def hold(name: str) -> str:
    """Stands still in its first attempt. Afterwards tells how it was found."""
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat(f"{name} held")
        await asyncio.sleep(3600)
    return f"{name} {info.attempt} {list(info.heartbeat_details)}"


@activity.defn
def die(how: str) -> str:
    """Ends its entity, each time."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how.startswith("exit"):
        os._exit(int(how.split()[1]))
    elif how == "hang":
        hold_everything()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def hold_everything() -> None:
    """Stops the whole process, its event loop too."""
    os.kill(os.getpid(), signal.SIGSTOP)


@activity.defn
def eat(mebibytes: int) -> str:
    """In its first attempt it takes memory and keeps it."""
    if activity.info().attempt == 1:
        kept = bytearray(b"x") * (mebibytes << 20)
        time.sleep(3600)
        return str(len(kept))
    return "frugal"


@workflow.defn
class Peril:
    """Does one activity at once; its failure, if it fails."""

    @workflow.run
    async def run(self, name: str, argument: str | int) -> str:
        return await workflow.execute_activity(
            name, argument, start_to_close_timeout=PATIENCE, result_type=str
        )


@workflow.defn(sandboxed=False)
class DeadlyRun:
    """Its code kills whoever runs it, until the file it is given is gone."""

    @workflow.run
    async def run(self, gate: str) -> str:
        if os.path.exists(gate):  # noqa: PTH110 - as a user would write it
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._told)
        return "went on"

    @workflow.signal
    def go_on(self) -> None:
        self._told = True

    @workflow.query
    def told(self) -> bool:
        return self._told
