"""Shipping: book a carrier for a parcel. The program of the task queue `shipping`."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

TASK_QUEUE = "shipping"


@dataclass(frozen=True)
class Parcel:
    order: str
    item: str


@activity.defn
async def book_carrier(parcel: Parcel) -> str:
    """Asynchronous: it runs in the worker's event loop."""
    await asyncio.sleep(0.02)
    return f"parcel-of-{parcel.order}"


@workflow.defn
class ShipParcel:
    @workflow.run
    async def run(self, parcel: Parcel) -> str:
        return await workflow.execute_activity(
            book_carrier, parcel, start_to_close_timeout=timedelta(seconds=10)
        )
