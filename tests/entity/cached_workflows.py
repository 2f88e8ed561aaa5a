"""Workflows whose place in an entity's cache is watched. Imported in the sandbox, so it imports little."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError

SECOND = timedelta(seconds=1)


@workflow.defn
class Patient:
    """Waits, and counts what it is told meanwhile."""

    def __init__(self) -> None:
        self._told = 0
        self._done = False
        self._hoard = b""

    @workflow.run
    async def run(self, size: int = 0) -> int:
        self._hoard = b"x" * size
        await workflow.wait_condition(lambda: self._done)
        return self._told

    @workflow.signal
    def tell(self) -> None:
        self._told += 1

    @workflow.signal
    def finish(self) -> None:
        self._done = True

    @workflow.query
    def told(self) -> int:
        return self._told

    @workflow.update
    async def tell_and_ask(self) -> int:
        self._told += 1
        await asyncio.sleep(0.01)
        return self._told


@workflow.defn(sandboxed=False)
class Unboxed(Patient):
    """The same, outside of the sandbox."""

    @workflow.run
    async def run(self, size: int = 0) -> int:
        return await super().run(size)


@workflow.defn
class Naps:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(number):
            await asyncio.sleep(0.01)
        return number


@workflow.defn
class AtHome:
    """A local activity, then a wait."""

    def __init__(self) -> None:
        self._done = False

    @workflow.run
    async def run(self) -> str:
        found: str = await workflow.execute_local_activity("at_home", start_to_close_timeout=60 * SECOND)
        await workflow.wait_condition(lambda: self._done)
        return found

    @workflow.signal
    def finish(self) -> None:
        self._done = True


@workflow.defn
class Generations:
    """Continues as new so many times, then waits."""

    def __init__(self) -> None:
        self._done = False

    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        await workflow.wait_condition(lambda: self._done)
        return workflow.info().run_id

    @workflow.signal
    def finish(self) -> None:
        self._done = True


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("as it should", non_retryable=True)


@workflow.defn
class Trespasses:
    """Returns what the sandbox has to say."""

    @workflow.run
    async def run(self) -> str:
        try:
            Path("/dev/null").read_bytes()
        except BaseException as error:
            return type(error).__name__
        return "open"


@workflow.defn(sandboxed=False)
class Sticks:
    """Does not yield in its first Workflow Task, until the SDK interrupts it."""

    stuck: ClassVar[bool] = False

    @workflow.run
    async def run(self) -> str:
        if not Sticks.stuck:
            Sticks.stuck = True
            while True:
                pass
        return "free"
