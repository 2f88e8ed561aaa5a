"""The pollers of a Worker: which kinds there are by its configuration, and whether they are out.

Why they stop is in departure.
"""

import asyncio
import time
from collections.abc import Mapping
from math import inf

from temporalio.worker import Worker

from temporal_fleet.entity.vitals import Vitals

_FIRST_LOOK = 0.001
_LAST_LOOK = 0.02
_GROWTH = 1.05


class Pollers:
    """For the Worker's event loop."""

    def __init__(self, worker: Worker, vitals: Vitals) -> None:
        self._worker = worker
        self._vitals = vitals
        self.polled: Mapping[str, float] = {}
        """The kinds of tasks that it polls for, by the names of their pollers, each with the seconds for
        which its own rate limit may keep it from that. Empty until all of them are out."""
        self.out_since = inf
        """When all of them were, by the monotonic clock."""

    @property
    def workflows(self) -> bool:
        """Whether it polls for Workflow Tasks."""
        return "workflow_task" in self._kinds()

    @property
    def sticky(self) -> bool:
        """Whether it caches executions, whose tasks come to it alone."""
        cached = self._worker.config(active_config=True).get("max_cached_workflows")
        return self.workflows and cached != 0

    async def out(self) -> None:
        """Return once the Cluster has validated the Worker and each kind of its pollers is out."""
        expected = self._kinds()
        pause = _FIRST_LOOK
        # The SDK starts to poll only when the Cluster has accepted namespace and credentials.
        while not self._vitals.polls(expected):
            await asyncio.sleep(pause)
            if self._worker.is_running:
                self._vitals.drain()
            pause = min(pause * _GROWTH, _LAST_LOOK)
        rate = self._worker.config(active_config=True).get("max_activities_per_second")
        pauses = {"activity_task": 1.0 / rate if rate else 0.0}
        self.polled = {kind: pauses.get(kind, 0.0) for kind in expected}
        self.out_since = time.monotonic()

    def _kinds(self) -> frozenset[str]:
        # Of the configuration in use: plugins add workflows and activities of their own.
        configuration = self._worker.config(active_config=True)
        kinds = set()
        if configuration.get("workflows"):
            kinds.add("workflow_task")
        if configuration.get("activities") and not configuration.get("no_remote_activities"):
            kinds.add("activity_task")
        if configuration.get("nexus_service_handlers"):
            kinds.add("nexus_task")
        return frozenset(kinds)
