"""The story of the demo: orders come in, an entity is killed, a pool is scaled, every order completes.

What happens and in which order belongs here. How the fleet is handled is fleet.py's, how it looks
display.py's.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from temporal_fleet.demo.display import Bar, Display
from temporal_fleet.demo.figures import Figures, Recovery, Scaling
from temporal_fleet.demo.fleet import Fleet, Status, shown_command
from temporal_fleet.demo.shop.orders import TASK_QUEUE, Order, PlaceOrder, Receipt

_READY_KIND = "entity.ready"
_KILLED_POOL = "orders"
_SCALED_POOL = "shipping"
_SCALED_TO = 4
_CARD = "4242424242424242"
_ITEMS = ("kettle", "lamp", "atlas", "compass")
_REQUESTS_AT_ONCE = 32
_UP_WITHIN_S = 90.0
_RECOVERED_WITHIN_S = 30.0
_SCALED_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.3
# The slowest machine on which the demo is still worth watching.
_SECONDS_PER_ORDER = 1.0
_SECONDS_TO_SPARE = 60.0

Handle = WorkflowHandle[PlaceOrder, Receipt]


class Story:
    def __init__(self, fleet: Fleet, display: Display, orders: int) -> None:
        self.figures = Figures(orders)
        self.ui: str | None = None
        self._fleet = fleet
        self._display = display
        self._orders = orders
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._ended = 0
        self._some_ended = asyncio.Condition()
        self._listening = asyncio.Event()
        self._ready_times: dict[tuple[str, int], float] = {}

    async def play(self) -> None:
        """Raises FleetTrouble when the fleet does not do what it is here to do."""
        self._display.say(f"{shown_command()} up -c {self._fleet.config}")
        with self._display:
            status = await self._until("the fleet runs", _UP_WITHIN_S, _is_running)
            cluster = status["cluster"]
            self.ui = cluster["ui"]
            self._display.say(
                f"{len(status['entities'])} entities are ready, the Cluster is at {cluster['address']}"
            )
            client = await Client.connect(cluster["address"], namespace=cluster["namespace"])
            await self._trade(client)
            status = await self._fleet.status()
            self.figures.restarts = sum(entity["restarts"] for entity in status["entities"])
        self._display.print_fleet(status)

    async def _trade(self, client: Client) -> None:
        within = _SECONDS_TO_SPARE + self._orders * _SECONDS_PER_ORDER
        try:
            async with asyncio.timeout(within), asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self._keep_showing()),
                    group.create_task(self._follow_events()),
                ]
                mishaps = group.create_task(self._mishaps())
                await self._sell(client)
                await mishaps
                for task in background:
                    task.cancel()
        except TimeoutError:
            raise self._fleet.trouble(
                f"{self._ended} of {self._orders} orders ended within {within:.0f} s."
            ) from None
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _sell(self, client: Client) -> None:
        started = time.monotonic()
        placed = self._display.bar("placed", self._orders)
        paid = self._display.bar("paid", self._orders)
        completed = self._display.bar("completed", self._orders)
        handles = await asyncio.gather(
            *(self._place(client, number, placed) for number in range(self._orders))
        )
        await asyncio.gather(*(self._pay_and_await(handle, paid, completed) for handle in handles))
        self.figures.trade_s = time.monotonic() - started

    async def _place(self, client: Client, number: int, bar: Bar) -> Handle:
        order = Order(number=f"{number:05}", item=_ITEMS[number % len(_ITEMS)], cents=1000 + number)
        async with self._requests:
            handle = await client.start_workflow(
                PlaceOrder.run, order, id=f"order-{order.number}", task_queue=TASK_QUEUE
            )
        bar.advance()
        return handle

    async def _pay_and_await(self, handle: Handle, paid: Bar, completed: Bar) -> None:
        async with self._requests:
            await handle.signal(PlaceOrder.pay, _CARD)
        paid.advance()
        started = time.monotonic()
        try:
            await handle.result()
        except WorkflowFailureError as error:
            self._display.say(f"{handle.id} failed: {error.cause}")
        else:
            self.figures.completed += 1
            self.figures.waits_s.append(time.monotonic() - started)
            completed.advance()
        async with self._some_ended:
            self._ended += 1
            self._some_ended.notify_all()

    async def _mishaps(self) -> None:
        await self._until_ended(max(1, self._orders // 3))
        self.figures.recovery = await self._kill_one()
        await self._until_ended(max(1, self._orders // 2))
        self.figures.scaling = await self._scale()

    async def _until_ended(self, number: int) -> None:
        async with self._some_ended:
            await self._some_ended.wait_for(lambda: self._ended >= number)

    async def _kill_one(self) -> Recovery:
        await self._listening.wait()
        status = await self._fleet.status()
        # The one with the most to lose.
        victim = max(
            (entity for entity in status["entities"] if entity["pool"] == _KILLED_POOL and entity["pid"]),
            key=lambda entity: int(entity["cached_executions"]),
        )
        entity, pid, incarnation = victim["id"], victim["pid"], victim["incarnation"]
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
        self._display.say(
            f"kill -9 {pid}: {entity} is dead, with {victim['cached_executions']} executions in its cache"
        )
        ready_at = await self._ready_time(entity, incarnation + 1)
        recovery = Recovery(entity=entity, pid=pid, seconds=ready_at - killed_at)
        self._display.say(f"{entity} is back and polling after {recovery.seconds * 1000:.0f} ms")
        return recovery

    async def _scale(self) -> Scaling:
        status = await self._fleet.status()
        before = _pool(status, _SCALED_POOL)["desired"]
        started = time.monotonic()
        self._display.say(f"{shown_command()} scale {_SCALED_POOL}={_SCALED_TO} (edits fleet.toml, reloads)")
        await self._fleet.command("scale", f"{_SCALED_POOL}={_SCALED_TO}")
        await self._until(
            f"the pool {_SCALED_POOL} has {_SCALED_TO} entities ready",
            _SCALED_WITHIN_S,
            lambda status: bool(_pool(status, _SCALED_POOL)["ready"] == _SCALED_TO),
        )
        scaling = Scaling(
            pool=_SCALED_POOL, before=before, after=_SCALED_TO, seconds=time.monotonic() - started
        )
        self._display.say(f"{_SCALED_POOL} has {_SCALED_TO} entities")
        return scaling

    async def _follow_events(self) -> None:
        async for event in self._fleet.events(self._listening.set):
            if event["kind"] == _READY_KIND:
                self._ready_times[event["entity"], event["incarnation"]] = event["time"]

    async def _ready_time(self, entity: str, incarnation: int) -> float:
        """When that incarnation, or a later one, became ready, by the fleet's own event."""
        deadline = time.monotonic() + _RECOVERED_WITHIN_S
        while True:
            for (name, number), ready_at in self._ready_times.items():
                if name == entity and number >= incarnation:
                    return ready_at
            if time.monotonic() > deadline:
                raise self._fleet.trouble(f"{entity} is not back within {_RECOVERED_WITHIN_S:.0f} s.")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _keep_showing(self) -> None:
        async for status in self._fleet.statuses():
            self._display.show_fleet(status)

    async def _until(self, what: str, within: float, condition: Callable[[Status], bool]) -> Status:
        """The first status of which the condition is true."""
        deadline = time.monotonic() + within
        while True:
            status = await self._fleet.status_once_up()
            if status is not None:
                self._display.show_fleet(status)
                if condition(status):
                    return status
            if time.monotonic() > deadline:
                raise self._fleet.trouble(f"Not so within {within:.0f} s: {what}.")
            await asyncio.sleep(_LOOK_EVERY_S)


def _is_running(status: Status) -> bool:
    return bool(status["fleet"]["state"] == "running")


def _pool(status: Status, name: str) -> dict[str, Any]:
    return next(pool for pool in status["pools"] if pool["name"] == name)
