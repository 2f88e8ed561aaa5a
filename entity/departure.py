"""The departure of a Worker: what the Cluster is told of it, then the SDK's core, and until when it may take.

What is asked of the Cluster is in last_polls and dropped; the time that running activities have is kept in
grace.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from enum import Enum
from math import inf
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from temporal_fleet.entity.dropped import DroppedTasks
from temporal_fleet.entity.grace import Grace
from temporal_fleet.entity.last_polls import LastPolls, Polls
from temporal_fleet.entity.own_cluster import OwnCluster
from temporal_fleet.entity.pollers import Pollers
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.protocol.spec import EntitySpec

_PUNCTUAL = 4.0
"""Seconds after what a drain has, at which it leaves at the latest: a second before it is killed."""
_DESERTED = 3.0
"""Seconds. With nothing in hand, and a Cluster that is there, a Worker ends within a fraction of one."""
_LISTED = 3.5
"""Seconds after its pollers are out in which the Cluster hears of a Worker, with its first heartbeat. Until
then its polls cannot be ended, and it can as well go on."""
_HEARD = 0.2
"""Seconds that what runs has at least once the core is told: until it has heard, it hands out what comes."""
_LOOK = 0.02
_REPEATED = 1.0
"""Seconds between attempts to end the polls."""

_logger = logging.getLogger(__name__)


class Phase(Enum):
    WORKING = "nobody asked it to end"
    PARTING = "the Cluster is asked to end its polls, and its core goes on"
    UNHEARD = "its core was told to end, and the Cluster, which has not heard of it, is asked again and again"
    ENDING = "its core was told to end, and the Cluster needs to be told nothing more"


class Step(Enum):
    PART = "it is to end"
    END = "its core is told"
    END_UNHEARD = "its core is told, and the Cluster could not be"
    BE_HEARD = "the Cluster has heard of it"


TRANSITIONS: Mapping[tuple[Phase, Step], Phase] = {
    (Phase.WORKING, Step.PART): Phase.PARTING,
    (Phase.PARTING, Step.END): Phase.ENDING,
    (Phase.PARTING, Step.END_UNHEARD): Phase.UNHEARD,
    (Phase.UNHEARD, Step.BE_HEARD): Phase.ENDING,
}


class Departure:
    """Of one Worker, from before it runs. For its event loop."""

    def __init__(
        self,
        worker: Worker,
        pollers: Pollers,
        client: Client,
        vitals: Vitals,
        recorder: Recorder,
        spec: EntitySpec,
    ) -> None:
        self.sticky_queue = ""
        """The name of the Worker's, once it is known."""
        self.deserted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the Worker is to leave and has nothing in hand, and its end still does not come.

        Where the Cluster ends the polls of who shuts down, the core waits for that, and for as long as the
        Cluster is away.
        """
        self._worker = worker
        self._pollers = pollers
        self._recorder = recorder
        self._drain = spec.drain
        self._grace = Grace(worker, spec.drain)
        cluster = OwnCluster(client)
        self._last_polls = LastPolls(cluster, recorder, vitals, spec.program.task_queue)
        self._dropped = DroppedTasks(cluster, recorder, spec)
        self._phase = Phase.WORKING
        self._drained_by = inf
        self._departing: asyncio.Task[None] | None = None
        self._meanwhile: set[asyncio.Task[None]] = set()

    @property
    def has_begun(self) -> bool:
        """Whether it was asked for."""
        return self._phase is not Phase.WORKING

    @property
    def core_ends(self) -> bool:
        """Whether the core was told to end, and polls no more."""
        return self._phase in (Phase.UNHEARD, Phase.ENDING)

    @property
    def _drains(self) -> bool:
        """Whether it is to leave: one that is quiet stays."""
        return self._drained_by < inf

    @property
    def _left(self) -> float:
        """Seconds that what runs still has before it is cancelled."""
        return self._drained_by - time.monotonic()

    def quiet(self) -> None:
        """Stop polling, and let the cache go; what runs has all the time that it wants."""
        self._grace.hold()
        self._begin()

    def drain(self) -> None:
        """Stop polling; what runs is cancelled after `drain`."""
        self._drained_by = time.monotonic() + self._drain
        self._begin()
        if self.core_ends:
            self._grace.run_out(self._left)

    async def finish(self) -> None:
        """The Worker has ended: look at what it may have dropped."""
        self._it_ended()
        await self._dropped.finish(self._left + _PUNCTUAL)

    def give_up(self) -> None:
        """The Worker failed, or is left alone."""
        self._it_ended()
        self._dropped.give_up()

    def _begin(self) -> None:
        if not self.has_begun:
            self._take(Step.PART)
            self._departing = asyncio.create_task(self._depart())

    async def _depart(self) -> None:
        began, polls = time.time(), Polls.DOUBTFUL
        try:
            # Before that, some of its polls may not be out.
            if self._pollers.polled:
                polls = await self._end_polls(self._pollers.out_since + min(_LISTED, self._drain))
            if polls is not Polls.ENDED:
                self._look_for_dropped(began)
        finally:
            self._take(Step.END_UNHEARD if polls is Polls.OUT else Step.END)
            if self._drains:
                self._grace.run_out(max(self._left, _HEARD))
            self._until_it_ended(self._be_heard())
            self._until_it_ended(self._watch())
            await self._worker.shutdown()

    async def _end_polls(self, listed_by: float = 0.0) -> Polls:
        sticky_queue = self.sticky_queue if self._pollers.sticky else None
        return await self._last_polls.end(sticky_queue, listed_by)

    async def _be_heard(self) -> None:
        """The core told the Cluster once, and goes on polling where that was away, as soon as it is back. The
        black box has what was cached until that has heard, and all was looked at."""
        while self._phase is Phase.UNHEARD:
            await asyncio.sleep(_REPEATED)
            asked = time.time()
            if await self._end_polls() is not Polls.OUT:
                self._take(Step.BE_HEARD)
                _logger.info("the Cluster has heard by now that it leaves")
                self._look_for_dropped(asked - _REPEATED)
        await self._dropped.looked()

    def _look_for_dropped(self, since: float) -> None:
        self._dropped.shutdown_began(since=since, polls_workflows=self._pollers.workflows)

    async def _watch(self) -> None:
        try:
            since = time.monotonic()
            while time.monotonic() - since < _DESERTED:
                await asyncio.sleep(_LOOK)
                # Once the Worker has ended, plugins clean up, and have the time for that.
                if not self._drains or self._worker.is_shutdown or self._has_anything_in_hand():
                    since = time.monotonic()
        except Exception as error:
            _logger.error(
                "it waits for the end of its Worker, whatever comes; please report this", exc_info=error
            )
        else:
            self.deserted.set_result(None)

    def _has_anything_in_hand(self) -> bool:
        activity_worker, nexus_worker = self._worker._activity_worker, self._worker._nexus_worker
        return bool(
            # The core ends them with the last Workflow Task: not while a local activity is to be tried again.
            (self._pollers.workflows and not self._recorder.activations_over.is_set())
            or self._recorder.inflight_activities
            # Local ones too, of which the recorder knows nothing.
            or (activity_worker is not None and activity_worker._running_activities)
            or (nexus_worker is not None and nexus_worker._running_tasks)
        )

    def _take(self, step: Step) -> None:
        self._phase = TRANSITIONS[self._phase, step]

    def _until_it_ended(self, work: Coroutine[Any, Any, None]) -> None:
        self._meanwhile.add(asyncio.create_task(work))

    def _it_ended(self) -> None:
        for task in self._meanwhile:
            task.cancel()
