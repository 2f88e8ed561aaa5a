"""A small ordinary Worker Program: a workflow that waits for a signal, one activity of each kind."""

import asyncio
import time
from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
def charge(seconds: float) -> str:
    """Sync: takes so many seconds."""
    time.sleep(seconds)
    return activity.info().activity_id


@activity.defn
async def ship(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return activity.info().activity_id


@workflow.defn
class Order:
    def __init__(self) -> None:
        self._paid = False

    @workflow.run
    async def run(self, seconds: float) -> str:
        await workflow.wait_condition(lambda: self._paid)
        await workflow.execute_activity(charge, seconds, start_to_close_timeout=timedelta(minutes=5))
        return "done"

    @workflow.signal
    def pay(self) -> None:
        self._paid = True

    @workflow.query
    def paid(self) -> bool:
        return self._paid


@workflow.defn
class Errand:
    """Does one activity at once."""

    @workflow.run
    async def run(self, name: str, seconds: float) -> str:
        return await workflow.execute_activity(
            name, seconds, start_to_close_timeout=timedelta(minutes=5), result_type=str
        )
