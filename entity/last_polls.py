"""The end of a Worker's polls, at the Cluster and before the SDK's core is told of it.

A core that shuts down drops what its polls still bring (dropped). So the polls are ended first, where the
Cluster can do that: it gives those back that are out, refuses those that come, and sends what would go to the
Worker's sticky queue to the normal one. When silence has come, the core has nothing to drop.

A task queue of several partitions (server 1.32, four by default) still loses a task now and then: a poll that
one partition passed on to another is taken back while the other hands it a task.
"""

import asyncio
import logging
import time

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    ListWorkersResponse,
    ShutdownWorkerRequest,
)

from temporal_fleet.entity.cluster import Declined
from temporal_fleet.entity.connection import ClusterTrouble
from temporal_fleet.entity.own_cluster import PATIENCE, OwnCluster
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.entity.worker_registry import workers_of

_SILENCE = 0.1
"""Seconds in which nothing came: what the Cluster had matched by then it has handed over."""
_AT_MOST = 2.0
"""Seconds for all of it."""
_LOOK = 0.005

_logger = logging.getLogger(__name__)


class LastPolls:
    """Of one Worker. For its event loop."""

    def __init__(self, cluster: OwnCluster, recorder: Recorder, vitals: Vitals, task_queue: str) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._vitals = vitals
        self._task_queue = task_queue

    async def end(self, sticky_queue: str) -> bool:
        """Whether they have ended, and nothing was lost by it. If not, the core ends what there is to end,
        and what was dropped has to be looked for."""
        try:
            async with asyncio.timeout(_AT_MOST):
                key = await self._worker_instance_key() if await self._cluster.ends_polls() else None
                if key is None:
                    return False
                nothing_is_lost = await self._partitions() == 1
                emptying = asyncio.create_task(self._empty_buffer())
                try:
                    await self._end(key, sticky_queue)
                    await self._silence()
                finally:
                    emptying.cancel()
                return nothing_is_lost
        # A Cluster that is away or slow, or one that cannot tell.
        except (Declined, ClusterTrouble, TimeoutError) as error:
            _logger.info("the Cluster did not end its polls: %s", error or "in time")
        # Whatever it is, the entity is to drain.
        except Exception as error:
            _logger.error("its polls could not be ended at the Cluster; please report this", exc_info=error)
        return False

    async def _worker_instance_key(self) -> str | None:
        """The name that the core gave its Worker. It tells the Cluster alone, with its first heartbeat: soon
        after it began, and whoever drains does not poll until then."""
        request = workers_of(self._cluster.identity, self._cluster.namespace)
        listed: ListWorkersResponse = await self._cluster.ask(
            lambda service: service.list_workers(request, timeout=PATIENCE)
        )
        # The program may run Workers of its own over the same connection.
        keys = [each.worker_instance_key for each in listed.workers if each.task_queue == self._task_queue]
        return keys[0] if keys else None

    async def _end(self, key: str, sticky_queue: str) -> None:
        request = ShutdownWorkerRequest(
            namespace=self._cluster.namespace,
            identity=self._cluster.identity,
            reason="it drains",
            sticky_task_queue=sticky_queue,
            worker_instance_key=key,
            task_queue=self._task_queue,
            task_queue_types=[
                TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
                TaskQueueType.TASK_QUEUE_TYPE_NEXUS,
            ],
        )
        # A poll that comes between the release of the sticky queue and the refusal of polls makes the queue
        # look alive once more: the second time none can.
        for _ in range(2):
            await self._cluster.ask(lambda service: service.shutdown_worker(request, timeout=PATIENCE))

    async def _silence(self) -> None:
        tasks, since = self._recorder.tasks, time.monotonic()
        while time.monotonic() - since < _SILENCE:
            await asyncio.sleep(_LOOK)
            if self._recorder.tasks != tasks:
                tasks, since = self._recorder.tasks, time.monotonic()

    async def _empty_buffer(self) -> None:
        """The core polls anew as fast as it is refused, and tells its metrics of each poll."""
        while True:
            self._vitals.drain()
            await asyncio.sleep(_LOOK)

    async def _partitions(self) -> int:
        request = ListTaskQueuePartitionsRequest(
            namespace=self._cluster.namespace, task_queue=TaskQueue(name=self._task_queue)
        )
        listed: ListTaskQueuePartitionsResponse = await self._cluster.ask(
            lambda service: service.list_task_queue_partitions(request, timeout=PATIENCE)
        )
        return max(len(listed.workflow_task_queue_partitions), len(listed.activity_task_queue_partitions))
