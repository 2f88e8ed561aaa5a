"""The time that running activities have once their Worker shuts down, and how they end when it is over.

The SDK's own grace period is fixed when a Worker is made, and runs from the moment at which it stops to
poll. An entity that is quiet has stopped to poll and gives what runs in it all the time there is; so the
time is kept here, and the SDK is told of one that never ends. Who stops the Worker, and why, is not decided
here.
"""

import asyncio
import logging
from datetime import timedelta
from enum import Enum
from typing import Any

from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.bridge.proto import ActivityTaskCompletion
from temporalio.bridge.proto.activity_task import ActivityCancellationDetails, ActivityCancelReason, Cancel
from temporalio.worker import Worker

NEVER_ENDING = timedelta(days=365)
"""The Worker's own grace period. Its core's timers reach two years."""

_HOPS = 10
"""Rounds of the event loop, from the SDK's poll of an activity to the first step of its code: one that is
cancelled before it is lost, and with it the end of the Worker."""

_logger = logging.getLogger(__name__)


class _Phase(Enum):
    WORKING = "the Worker was not told to end"
    QUIET = "it stopped to poll; nothing runs against what it has in hand"
    RUNNING_OUT = "what it has in hand may go on for a while"
    OVER = "whatever runs on was cancelled"


class _Told(Enum):
    """What a running activity was told of its end."""

    NOTHING = "nothing"
    CANCELLED = "its cancellation was asked for: how it ends is the Cluster's to know"
    SHUTDOWN = "its Worker shuts down"


class Grace:
    """For the event loop of a Worker, from before it runs. `seconds`: where nobody asked for its end."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._phase = _Phase.WORKING
        self._activities: dict[bytes, _Told] = {}
        self._end: asyncio.Task[None] | None = None
        worker._bridge_worker = _GracefulBridge(worker._bridge_worker, self)

    def hold(self) -> None:
        """Let what runs go on for as long as it wants, until `run_out`."""
        if self._phase is _Phase.WORKING:
            self._phase = _Phase.QUIET
            for part in self._told_of_shutdown():
                # Code that heeds the SDK's shutdown event would give up at once.
                part.notify_shutdown = _nobody_is_told

    def run_out(self, within: float) -> None:
        """From now on it has so many seconds; none is left below zero. Repeating it changes nothing."""
        if self._end is None:
            if self._phase is _Phase.QUIET:
                for part in self._told_of_shutdown():
                    del part.notify_shutdown
                    part.notify_shutdown()
            self._phase = _Phase.RUNNING_OUT
            self._end = asyncio.create_task(self._run_out(within))

    def shutdown_began(self) -> None:
        """Whoever wanted it: the Worker may have failed, or a plugin have ended it."""
        if self._phase is _Phase.WORKING:
            self.run_out(self._seconds)

    def taken(self, task: Any) -> None:
        """An activity task, or the cancellation of one, left the poll."""
        if task.HasField("cancel"):
            if task.task_token in self._activities:
                self._activities[task.task_token] = _Told.CANCELLED
        elif not task.start.is_local:
            self._activities[task.task_token] = _Told.NOTHING

    def refuses(self, task: Any) -> bool:
        """Whether this one was on its way when the polling stopped, and comes when there is no time left."""
        return self._phase is _Phase.OVER and task.HasField("start") and not task.start.is_local

    def judge(self, completion: Any) -> None:
        """The core takes only those cancellations for the Cluster that it passed on itself: an activity that
        gave up because its Worker ends has failed, and is tried again at once, as after the SDK's own."""
        told = self._activities.pop(completion.task_token, None)
        if told is _Told.SHUTDOWN and completion.result.HasField("cancelled"):
            completion.result.failed.failure.CopyFrom(shutdown_failure())

    def _told_of_shutdown(self) -> list[Any]:
        """The parts of the Worker that tell the program's code of its shutdown."""
        parts: tuple[Any, ...] = (self._worker._activity_worker, self._worker._nexus_worker)
        return [part for part in parts if part is not None]

    async def _run_out(self, within: float) -> None:
        await asyncio.sleep(within)
        self._phase = _Phase.OVER
        for _ in range(_HOPS):
            await asyncio.sleep(0)
        try:
            self._cancel_what_runs()
        except Exception:
            _logger.exception(
                "what runs could not be told that the time is over: it will be killed; please report this"
            )

    def _cancel_what_runs(self) -> None:
        activity_worker, nexus_worker = self._worker._activity_worker, self._worker._nexus_worker
        if activity_worker is not None:
            cancel = Cancel(
                reason=ActivityCancelReason.WORKER_SHUTDOWN,
                details=ActivityCancellationDetails(is_worker_shutdown=True),
            )
            for token, told in self._activities.items():
                if told is _Told.NOTHING:
                    self._activities[token] = _Told.SHUTDOWN
                    activity_worker._handle_cancel_activity_task(token, cancel)
        if nexus_worker is not None:
            for running in tuple(nexus_worker._running_tasks.values()):
                running.cancel("WORKER_SHUTDOWN")


class _GracefulBridge:
    """A bridge worker of the SDK's, for which a Grace keeps the time. What is not named passes through."""

    def __init__(self, bridge: Any, grace: Grace) -> None:
        self._bridge = bridge
        self._grace = grace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bridge, name)

    def initiate_shutdown(self) -> None:
        self._grace.shutdown_began()
        self._bridge.initiate_shutdown()

    async def poll_activity_task(self) -> Any:
        while True:
            task = await self._bridge.poll_activity_task()
            self._grace.taken(task)
            if not self._grace.refuses(task):
                return task
            await self.complete_activity_task(_refusal(task.task_token))

    async def complete_activity_task(self, completion: Any) -> None:
        self._grace.judge(completion)
        await self._bridge.complete_activity_task(completion)


def _nobody_is_told() -> None:
    """Instead of an SDK's part of a quiet Worker."""


def _refusal(task_token: bytes) -> ActivityTaskCompletion:
    refusal = ActivityTaskCompletion(task_token=task_token)
    refusal.result.failed.failure.CopyFrom(shutdown_failure())
    return refusal


def shutdown_failure(message: str = "the Worker shut down, and this activity did not end in time") -> Failure:
    """Of the type that the SDK gives it, which retry policies may name."""
    return Failure(
        message=message,
        application_failure_info=ApplicationFailureInfo(type="WorkerShutdown"),
    )
