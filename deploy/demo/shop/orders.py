"""Orders: wait for the payment, charge the card, have it shipped. The program of the task queue `orders`.

Ordinary Temporal code. What runs it, how many processes do and what kills them is not its business.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

# As a module, so that its workflow stays a member of `shipping` alone and is served by its pool.
from . import shipping

TASK_QUEUE = "orders"


@dataclass(frozen=True)
class Order:
    number: str
    item: str
    cents: int


@dataclass(frozen=True)
class Receipt:
    order: str
    charge: str
    tracking: str


@activity.defn
def charge_card(order: Order, card: str) -> str:
    """Synchronous, as many a payment library is: it runs in the worker's thread pool.

    The order's number is the idempotency key: a second attempt, after the first one's process was
    killed, charges nothing twice.
    """
    time.sleep(0.02)
    return f"charge-{order.number}-{card[-4:]}"


@workflow.defn
class PlaceOrder:
    def __init__(self) -> None:
        self._card: str | None = None
        self._stage = "waits for its payment"

    @workflow.run
    async def run(self, order: Order) -> Receipt:
        await workflow.wait_condition(lambda: self._card is not None)
        self._stage = "is being charged"
        charge = await workflow.execute_activity(
            charge_card, args=[order, self._card], start_to_close_timeout=timedelta(seconds=10)
        )
        self._stage = "is being shipped"
        tracking = await workflow.execute_child_workflow(
            shipping.ShipParcel.run,
            shipping.Parcel(order=order.number, item=order.item),
            id=f"parcel-{order.number}",
            task_queue=shipping.TASK_QUEUE,
        )
        self._stage = "is on its way"
        return Receipt(order=order.number, charge=charge, tracking=tracking)

    @workflow.signal
    def pay(self, card: str) -> None:
        self._card = card

    @workflow.query
    def stage(self) -> str:
        return self._stage
