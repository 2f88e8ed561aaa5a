"""Trying again while the Cluster is away, until it answers or until the thing is pointless.

One Persistence belongs to one recovery, and says once that it is delayed.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.service import WorkflowService

from temporal_fleet.entity.cluster import Asked
from temporal_fleet.entity.connection import ClusterTrouble

R = TypeVar("R")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class Pointless(Exception):
    """The Cluster was away for so long that nothing is gained any more."""


class Persistence:
    def __init__(self, cluster: Asked, delayed: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._delayed = delayed
        self._reason = ""

    async def ask(self, request: Callable[[WorkflowService], Awaitable[R]], until: float) -> R:
        """What the request brings, made once at least, where the Cluster is there, and until `until` (seconds
        since the epoch) where it is not.

        Raises Declined and Pointless.
        """
        return await self.attempt(lambda: self._cluster.ask(request), until)

    async def attempt(self, step: Callable[[], Awaitable[R]], until: float) -> R:
        """`ask` for any step that raises ClusterTrouble when it may work later."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await step()
            except ClusterTrouble as trouble:
                self._say_delayed(trouble.reason)
            # Many recoveries wait for the same Cluster: they must not come back to it all at once.
            pause_now = pause * random.uniform(0.5, 1.0)
            if time.time() + pause_now > until:
                raise Pointless(self._reason)
            await asyncio.sleep(pause_now)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _say_delayed(self, reason: str) -> None:
        if not self._reason:
            self._delayed(reason)
        self._reason = reason
