"""A Worker Program that uses all that can be lost: activities of both kinds, a local activity, timers,
signals, updates, child workflows, continue-as-new. Its result tells whether anything was."""

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow

LEGS = 3
PATIENCE = timedelta(minutes=5)


@activity.defn
def sail(voyage: str, leg: int) -> str:
    """Sync. Each attempt that ends is written down: a result that was given must not be lost."""
    time.sleep(0.05)
    return _logged(f"sail {voyage} {leg} {activity.info().attempt}")


@activity.defn
async def trade(voyage: str, leg: int) -> str:
    activity.heartbeat(leg)
    await asyncio.sleep(0.05)
    return _logged(f"trade {voyage} {leg} {activity.info().attempt}")


@activity.defn
async def reckon(leg: int) -> int:
    """Local."""
    await asyncio.sleep(0.02)
    return leg * leg


def _logged(line: str) -> str:
    with Path(os.environ["VOYAGE_LOG"]).open("a") as log:
        log.write(f"{line}\n")
    return line


@workflow.defn
class Cargo:
    """A child."""

    @workflow.run
    async def run(self, voyage: str, leg: int) -> str:
        await workflow.sleep(0.05)
        return await workflow.execute_activity(trade, args=[voyage, leg], start_to_close_timeout=PATIENCE)


@workflow.defn
class Voyage:
    """Per leg: a timer, both kinds of activity, a child, a local activity; then it waits for a signal and an
    update. After the last leg it gives everything that it got."""

    @workflow.init
    def __init__(self, voyage: str, leg: int, log: list[str]) -> None:
        self._log = log
        self._winds = 0
        self._orders = 0

    @workflow.run
    async def run(self, voyage: str, leg: int, log: list[str]) -> list[str]:
        await workflow.sleep(0.05)
        sailed = workflow.execute_activity(sail, args=[voyage, leg], start_to_close_timeout=PATIENCE)
        traded = workflow.execute_child_workflow(Cargo.run, args=[voyage, leg], id=f"{voyage}-cargo-{leg}")
        self._log += await asyncio.gather(sailed, traded)
        square = await workflow.execute_local_activity(
            reckon, leg, start_to_close_timeout=timedelta(seconds=10)
        )
        self._log.append(f"reckon {square}")
        await workflow.wait_condition(lambda: self._winds > leg or self._orders > 0)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if leg + 1 < LEGS:
            workflow.continue_as_new(args=[voyage, leg + 1, self._log])
        return self._log

    @workflow.signal
    def wind(self) -> None:
        self._winds += LEGS

    @workflow.update
    async def order(self, text: str) -> str:
        await workflow.sleep(0.02)
        self._orders += 1
        self._log.append(f"order {text}")
        return f"aye {text}"

    @workflow.query
    def length(self) -> int:
        return len(self._log)
