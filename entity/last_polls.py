"""The end of a Worker's polls, at the Cluster and before the SDK's core is told of it.

A core that shuts down drops what its polls still bring (dropped). So the polls are ended first, where the
Cluster can do that: it gives those back that are out, refuses those that come, and sends what would go to the
Worker's sticky queue to the normal one. When silence has come, the core has nothing to drop.

A task queue of several partitions (server 1.32, four by default) still loses a task now and then: a poll that
one partition passed on to another is taken back while the other hands it a task.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    ListWorkersResponse,
    ShutdownWorkerRequest,
)
from temporalio.service import WorkflowService

from temporal_fleet.entity.cluster import Declined
from temporal_fleet.entity.connection import ClusterTrouble
from temporal_fleet.entity.own_cluster import PATIENCE, OwnCluster
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.entity.worker_registry import workers_of

R = TypeVar("R")

_SILENCE = 0.1
"""Seconds in which nothing came: what the Cluster had matched by then it has handed over."""
_SLOW = 0.05
"""Seconds for a request. A Cluster that takes longer may hand things over after the silence, too."""
_LONGEST = 0.5
"""Seconds for which silence is waited for: the core polls anew as fast as it is refused, some thousand times
a second."""
_AT_MOST = 1.0
"""Seconds for all of it, once the Cluster knows the Worker."""
_LISTED_LOOK = 0.1
_LOOK = 0.005
_LATE = 0.02
"""Seconds by which a look may be late. Where it is later the host is busy, and a Cluster on it may be busier:
it may hand over after the silence what it matched before."""

_ALIVE = (WorkerStatus.WORKER_STATUS_RUNNING, WorkerStatus.WORKER_STATUS_SHUTTING_DOWN)

_logger = logging.getLogger(__name__)


class Polls(Enum):
    """What became of them."""

    ENDED = "and nothing was lost by it"
    DOUBTFUL = "the core ends what there is to end, and what was dropped has to be looked for"
    OUT = "the Cluster has not heard that this Worker leaves: try again"


class LastPolls:
    """Of one Worker. For its event loop."""

    def __init__(self, cluster: OwnCluster, recorder: Recorder, vitals: Vitals, task_queue: str) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._vitals = vitals
        self._task_queue = task_queue
        self._slowest = self._latest = 0.0
        self._said = ""

    async def end(self, sticky_queue: str | None, listed_by: float = 0.0) -> Polls:
        """`sticky_queue`: None where there is none, empty where its name is not known. `listed_by`: until
        when, by the monotonic clock, it is worth waiting for the Cluster to know this Worker.

        Never raises.
        """
        outcome, why = Polls.OUT, "it does not answer in time"
        try:
            async with asyncio.timeout(max(0.0, listed_by - time.monotonic()) + _AT_MOST):
                outcome, why = await self._end(sticky_queue, listed_by)
        except TimeoutError:
            pass
        except ClusterTrouble as trouble:
            why = trouble.reason
        except Declined as declined:
            outcome, why = Polls.DOUBTFUL, str(declined)
        # Whatever it is, the entity is to drain.
        except Exception as error:
            _logger.error("its polls could not be ended at the Cluster; please report this", exc_info=error)
            return Polls.DOUBTFUL
        if outcome is not Polls.ENDED and why != self._said:
            self._said = why
            _logger.info("the Cluster may hand it something while its Worker ends: %s", why)
        return outcome

    async def _end(self, sticky_queue: str | None, listed_by: float) -> tuple[Polls, str]:
        """And why it is not certain that nothing was lost."""
        if not await self._cluster.ends_polls():
            return Polls.DOUBTFUL, "the Cluster does not end polls"
        if sticky_queue == "":
            return Polls.DOUBTFUL, "the name of its sticky queue is not known"
        while (key := await self._worker_instance_key()) is None:
            if time.monotonic() > listed_by:
                return Polls.OUT, "the Cluster does not list it yet"
            await asyncio.sleep(_LISTED_LOOK)
        partitions = await self._partitions()
        emptying = asyncio.create_task(self._empty_buffer())
        try:
            await self._shut_down(key, sticky_queue or "")
            if not await self._silence():
                return Polls.DOUBTFUL, "tasks kept coming"
        finally:
            emptying.cancel()
        if partitions != 1:
            return Polls.DOUBTFUL, "its task queue has several partitions"
        if self._slowest > _SLOW:
            return Polls.DOUBTFUL, "the Cluster is slow"
        if self._latest > _LATE:
            return Polls.DOUBTFUL, "this host is busy"
        return Polls.ENDED, ""

    async def _worker_instance_key(self) -> str | None:
        """The name that the core gave its Worker. It tells the Cluster alone, with its first heartbeat, which
        comes up to two seconds after it began."""
        request = workers_of(self._cluster.identity, self._cluster.namespace)
        listed: ListWorkersResponse = await self._ask(
            lambda service: service.list_workers(request, timeout=PATIENCE)
        )
        # The program may run Workers of its own over the same connection.
        keys = [
            each.worker_instance_key
            for each in listed.workers
            if each.task_queue == self._task_queue
            and each.process_id == str(os.getpid())
            and each.status in _ALIVE
        ]
        return keys[0] if len(keys) == 1 else None

    async def _shut_down(self, key: str, sticky_queue: str) -> None:
        await self._shut_down_by(self._task_queue, key, sticky_queue)
        # The sticky queue may be another host's, which has refused nobody so far. And on the same host, a
        # poll that came between the release of the queue and the refusal made it look alive: now none can.
        await self._shut_down_by(sticky_queue or self._task_queue, key, sticky_queue)

    async def _shut_down_by(self, task_queue: str, key: str, sticky_queue: str) -> None:
        request = ShutdownWorkerRequest(
            namespace=self._cluster.namespace,
            identity=self._cluster.identity,
            reason="it drains",
            sticky_task_queue=sticky_queue,
            worker_instance_key=key,
            task_queue=task_queue,
            task_queue_types=[
                TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
                TaskQueueType.TASK_QUEUE_TYPE_NEXUS,
            ],
        )
        await self._ask(lambda service: service.shutdown_worker(request, timeout=PATIENCE))

    async def _silence(self) -> bool:
        """Whether it came."""
        began = time.monotonic()
        tasks, since = self._recorder.tasks, began
        while time.monotonic() - since < _SILENCE:
            if time.monotonic() - began > _LONGEST:
                return False
            asleep = time.monotonic()
            await asyncio.sleep(_LOOK)
            self._latest = max(self._latest, time.monotonic() - asleep - _LOOK)
            if self._recorder.tasks != tasks:
                tasks, since = self._recorder.tasks, time.monotonic()
        return True

    async def _empty_buffer(self) -> None:
        """The core polls anew as fast as it is refused, and tells its metrics of each poll."""
        while True:
            self._vitals.drain()
            await asyncio.sleep(_LOOK)

    async def _partitions(self) -> int:
        request = ListTaskQueuePartitionsRequest(
            namespace=self._cluster.namespace, task_queue=TaskQueue(name=self._task_queue)
        )
        listed: ListTaskQueuePartitionsResponse = await self._ask(
            lambda service: service.list_task_queue_partitions(request, timeout=PATIENCE)
        )
        return max(len(listed.workflow_task_queue_partitions), len(listed.activity_task_queue_partitions))

    async def _ask(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        began = time.monotonic()
        try:
            return await self._cluster.ask(request)
        finally:
            self._slowest = max(self._slowest, time.monotonic() - began)
