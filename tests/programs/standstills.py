"""Activities and workflows that never end, in the ways that a heart beats on beside, and one that stops it;
and a tuner that gives no slot, so that nobody polls."""

import asyncio
import ctypes
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerTuner,
)


@activity.defn
def hold_the_gil(_: str) -> str:
    """In its first attempt: a library's call that gives it back after an hour."""
    if activity.info().attempt == 1:
        ctypes.PyDLL(None).sleep(3600)
    return f"attempt {activity.info().attempt}"


@activity.defn
def overrun(_: str) -> str:
    """Its first attempt heeds neither time-out nor cancellation."""
    if activity.info().attempt == 1:
        while True:
            ctypes.CDLL(None).sleep(3600)
    return f"attempt {activity.info().attempt}"


@activity.defn
async def wait_at(gate: str) -> str:
    while Path(gate).exists():
        await asyncio.sleep(0.05)
    return f"attempt {activity.info().attempt}"


@workflow.defn
class Doing:
    """One activity, which is tried again at once."""

    @workflow.run
    async def run(self, name: str, argument: str, seconds: float) -> str:
        limit = timedelta(seconds=seconds)
        return await workflow.execute_activity(name, argument, start_to_close_timeout=limit, result_type=str)


@workflow.defn(sandboxed=False)
class Unyielding:
    """Whoever runs it first has it for ever."""

    @workflow.run
    async def run(self, gate: str) -> str:
        if os.path.exists(gate):  # noqa: PTH110 - as a user would write it
            os.unlink(gate)  # noqa: PTH108
            never_yield()
        return "went on"


def never_yield() -> None:
    ctypes.CDLL(None).sleep(3600)


class StrictSupplier(CustomSlotSupplier):
    """Gives no slot while the file $GATES/slots is there."""

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (Path(os.environ["GATES"]) / "slots").exists():
            await asyncio.sleep(0.05)
        return SlotPermit()

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        pass

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        pass


def without_slots() -> dict[str, Any]:
    tuner = WorkerTuner.create_composite(
        workflow_supplier=FixedSizeSlotSupplier(10),
        activity_supplier=StrictSupplier(),
        local_activity_supplier=FixedSizeSlotSupplier(10),
        nexus_supplier=FixedSizeSlotSupplier(10),
    )
    return {
        "workflows": [Doing],
        "activities": [wait_at],
        "tuner": tuner,
        "max_concurrent_activity_task_polls": 1,
    }
