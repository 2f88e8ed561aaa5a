"""The one Worker of an entity: built from its program's arguments and what the fleet adds, run, drained, and
asked to evict.

Knows the SDK's Worker; nothing of the supervisor. What is asked of the Cluster around its end is in
last_polls and dropped.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from math import inf
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from temporal_fleet.entity.dropped import DroppedTasks
from temporal_fleet.entity.grace import NEVER_ENDING, Grace
from temporal_fleet.entity.last_polls import LastPolls, Polls
from temporal_fleet.entity.own_cluster import OwnCluster
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.references import ProgramError
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.protocol.spec import EntitySpec

_STICKY_WAIT = timedelta(seconds=2)
"""How long a task waits for the one entity that has its execution in the cache. The SDK's ten seconds are
what it costs where no recovery can help, as to a query that a dead entity had in hand. Too short, and an
entity that is busy loses executions to others, which replay them. With 1,500 signals at once to 300
executions of one entity, one in 100 had waited that long; for one second, 95 had."""
_PUNCTUAL = 4.0
"""Seconds after what a drain has, at which it leaves at the latest: a second before it is killed."""
_DESERTED = 3.0
"""Seconds. With nothing in hand, and a Cluster that is there, a Worker ends within a fraction of one."""
_ABANDONED = 1.0
"""Seconds for what stands around such a Worker to clean up."""
_REPEATED = 1.0
"""Seconds between attempts to end the polls."""
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.02
_GROWTH = 1.05

_logger = logging.getLogger(__name__)


class WorkerStopped(Exception):
    """The Worker came to its end, and nobody had asked it to."""


class EntityWorker:
    """Raises ProgramError when the SDK does not accept the arguments."""

    def __init__(
        self,
        spec: EntitySpec,
        arguments: Mapping[str, Any],
        client: Client,
        vitals: Vitals,
        recorder: Recorder,
    ) -> None:
        try:
            self._worker = Worker(
                client,
                task_queue=spec.program.task_queue,
                identity=client.identity,
                graceful_shutdown_timeout=NEVER_ENDING,
                **{"sticky_queue_schedule_to_start_timeout": _STICKY_WAIT, **arguments},
            )
        except ProgramError:
            raise
        # It reads nothing but its arguments: whatever it says against them, it will say again.
        except Exception as error:
            raise ProgramError(
                f'program = "{spec.program.program}": the SDK\'s Worker refuses its arguments: '
                f"{_cause(error)}; correct the program, or the pool's `worker`"
            ) from error
        self.identity = client.identity
        """What the Cluster knows it by."""
        self.sticky_queue = ""
        """Its name, once it is known."""
        self.recorder = recorder
        recorder.install(self._worker)
        self._grace = Grace(self._worker, spec.drain)
        cluster = OwnCluster(client)
        self._last_polls = LastPolls(cluster, recorder, vitals, spec.program.task_queue)
        self._dropped = DroppedTasks(cluster, recorder, spec)
        self._drain = spec.drain
        self._leaves_by = inf
        self._vitals = vitals
        self._shutdown: asyncio.Task[None] | None = None
        self._core_ends = asyncio.Event()
        self._repeating: asyncio.Task[None] | None = None
        self._polled: Mapping[str, float] = {}

    @property
    def has_sticky_queue(self) -> bool:
        """Whether it caches executions, whose tasks come to it alone."""
        cached = self._worker.config(active_config=True).get("max_cached_workflows")
        return "workflow_task" in self._poller_types() and cached != 0

    @property
    def is_ending(self) -> bool:
        """Whether its core was told to end, and polls no more."""
        return self._core_ends.is_set()

    @property
    def _drains(self) -> bool:
        """Whether it is to leave: one that is quiet stays."""
        return self._leaves_by < inf

    @property
    def polled(self) -> Mapping[str, float]:
        """The kinds of tasks that it is to poll for now, by the names of their pollers, each with the seconds
        for which its own rate limit may keep it from that."""
        return self._polled if self._shutdown is None else {}

    async def run(self) -> None:
        """Run until drained. Raises WorkerStopped, and what the SDK raises."""
        running = asyncio.create_task(self._worker.run())
        deserted = asyncio.create_task(self._deserted())
        try:
            await asyncio.wait([running, deserted], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            elif deserted.exception() is None:
                await self._abandon(running)
            else:
                _logger.error(
                    "it waits for the end of its Worker, whatever comes; please report this",
                    exc_info=deserted.exception(),
                )
                await running
        except BaseException:
            self._dropped.give_up()
            raise
        finally:
            deserted.cancel()
            if self._repeating is not None:
                self._repeating.cancel()
        if self._shutdown is None:
            raise WorkerStopped("the SDK's Worker ended by itself, without an error")
        await self._dropped.finish(self._leaves_by - time.monotonic())

    async def polling(self) -> None:
        """Return once the Cluster has validated the Worker and each kind of its pollers is out."""
        expected = self._poller_types()
        pause = _FIRST_LOOK
        # The SDK starts to poll only when the Cluster has accepted namespace and credentials.
        while not self._vitals.polls(expected):
            await asyncio.sleep(pause)
            if self._worker.is_running:
                self._vitals.drain()
            pause = min(pause * _GROWTH, _LAST_LOOK)
        rate = self._worker.config(active_config=True).get("max_activities_per_second")
        pauses = {"activity_task": 1.0 / rate if rate else 0.0}
        self._polled = {kind: pauses.get(kind, 0.0) for kind in expected}

    def reconnected(self) -> None:
        """Its client has another connection: go on over that, without a poll or a task lost."""
        # One that has shut down calls nobody any more, and takes no client.
        if self._worker._bridge_worker._ref is not None:
            self._worker.client = self._worker.client

    def request_eviction(self, run_id: str) -> None:
        """Have the SDK evict a run, at the next moment at which no Workflow Task of it is in hand. A run that
        it does not know is nothing to it."""
        self._worker._bridge_worker.request_workflow_eviction(run_id)

    def quiet(self) -> None:
        """Stop polling, and let the cache go; `run` returns when what runs has finished."""
        self._grace.hold()
        self._shut_down()

    def drain(self) -> None:
        """Stop polling; `run` returns when what runs has finished, or was cancelled after `drain`."""
        self._leaves_by = time.monotonic() + self._drain + _PUNCTUAL
        self._shut_down()
        if self._core_ends.is_set():
            self._grace.run_out()

    def _shut_down(self) -> None:
        if self._shutdown is None:
            self._shutdown = asyncio.create_task(self._end())

    async def _end(self) -> None:
        began, polls = time.time(), Polls.DOUBTFUL
        try:
            # Before that, some of its polls may not be out.
            if self._polled:
                polls = await self._end_polls()
            if polls is not Polls.ENDED:
                self._look_for_dropped(began)
        finally:
            self._core_ends.set()
            # The time that it has begins only now: what came until then is as good as what came before.
            if self._drains:
                self._grace.run_out()
            if polls is Polls.OUT:
                self._repeating = asyncio.create_task(self._end_polls_later())
            await self._worker.shutdown()

    async def _end_polls(self) -> Polls:
        return await self._last_polls.end(self.sticky_queue if self.has_sticky_queue else None)

    async def _end_polls_later(self) -> None:
        """The core told the Cluster once, and goes on polling where that was away, as soon as it is back."""
        polls = Polls.OUT
        while polls is Polls.OUT:
            await asyncio.sleep(_REPEATED)
            asked = time.time()
            polls = await self._end_polls()
        _logger.info("the Cluster has heard by now that it leaves")
        self._look_for_dropped(asked - _REPEATED)

    def _look_for_dropped(self, since: float) -> None:
        self._dropped.shutdown_began(since=since, polls_workflows="workflow_task" in self._poller_types())

    async def _deserted(self) -> None:
        """Return when it is to leave and has nothing in hand, and its end still does not come.

        Where the Cluster ends the polls of who shuts down, the core waits for that, and for as long as the
        Cluster is away.
        """
        await self._core_ends.wait()
        since = time.monotonic()
        while time.monotonic() - since < _DESERTED:
            await asyncio.sleep(_LAST_LOOK)
            # Once the Worker has ended, plugins clean up, and have the time for that.
            if not self._drains or self._worker.is_shutdown or self._has_anything_in_hand():
                since = time.monotonic()

    def _has_anything_in_hand(self) -> bool:
        activity_worker, nexus_worker = self._worker._activity_worker, self._worker._nexus_worker
        return bool(
            # The core ends them with the last Workflow Task: not while a local activity is to be tried again.
            ("workflow_task" in self._poller_types() and not self.recorder.activations_over.is_set())
            or self.recorder.inflight_activities
            # Local ones too, of which the recorder knows nothing.
            or (activity_worker is not None and activity_worker._running_activities)
            or (nexus_worker is not None and nexus_worker._running_tasks)
        )

    async def _abandon(self, running: asyncio.Task[None]) -> None:
        """Leave a Worker that does not end; its plugins may clean up."""
        _logger.warning(
            "it leaves, though its Worker waits for polls that the Cluster, away or slow, does not end"
        )
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=_ABANDONED)
        for ended in done:
            if not ended.cancelled() and ended.exception() is not None:
                _logger.warning("its Worker failed at its end", exc_info=ended.exception())

    def _poller_types(self) -> frozenset[str]:
        # Of the configuration in use: plugins add workflows and activities of their own.
        configuration = self._worker.config(active_config=True)
        types = set()
        if configuration.get("workflows"):
            types.add("workflow_task")
        if configuration.get("activities") and not configuration.get("no_remote_activities"):
            types.add("activity_task")
        if configuration.get("nexus_service_handlers"):
            types.add("nexus_task")
        return frozenset(types)


def _cause(error: Exception) -> str:
    # The core appends a backtrace of its own.
    text, _, _ = str(error).partition("\n\nStack backtrace:")
    because = f" ({error.__cause__})" if error.__cause__ is not None else ""
    return f"{type(error).__name__}: {' '.join(text.split())}{because}"
