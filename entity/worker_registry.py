"""The Cluster's list of Workers: how to ask for those of one identity, and how a dead one gets off it, which
would stand there as running for minutes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerListInfo
from temporalio.api.workflowservice.v1 import (
    ListWorkersRequest,
    ListWorkersResponse,
    ShutdownWorkerRequest,
)
from temporalio.service import WorkflowService

from temporal_fleet.entity.cluster import PATIENCE, Cluster
from temporal_fleet.entity.connection import Refused
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.sticky_release import REASON

R = TypeVar("R")


class NotAllowed(Exception):
    """The Cluster answers, and this is refused to us: asking again changes nothing."""


async def report_dead_worker(
    cluster: Cluster, persistence: Persistence, identity: str, *, died_at: float, until: float
) -> bool:
    """Whether it stood there. Raises Declined (a Cluster that keeps no such list), NotAllowed, Pointless."""
    request = workers_of(identity, cluster.namespace)
    listed: ListWorkersResponse = await persistence.attempt(
        lambda: _ask(cluster, lambda service: service.list_workers(request, timeout=PATIENCE)), until
    )
    # One that started later only has the same identity.
    dead = [worker for worker in listed.workers if worker.start_time.ToNanoseconds() < died_at * 1e9]
    for worker in dead:
        await _report(cluster, persistence, worker, until)
    return bool(dead)


async def _report(cluster: Cluster, persistence: Persistence, worker: WorkerListInfo, until: float) -> None:
    # The key alone ends its polls; it is this last heartbeat that takes it off the list. Its sticky queue is
    # not named: that would release it before it was drained.
    request = ShutdownWorkerRequest(
        namespace=cluster.namespace,
        identity=worker.worker_identity,
        reason=REASON,
        worker_instance_key=worker.worker_instance_key,
        task_queue=worker.task_queue,
        worker_heartbeat=WorkerHeartbeat(
            worker_instance_key=worker.worker_instance_key,
            worker_identity=worker.worker_identity,
            task_queue=worker.task_queue,
            status=WorkerStatus.WORKER_STATUS_SHUTDOWN,
        ),
    )
    await persistence.attempt(
        lambda: _ask(cluster, lambda service: service.shutdown_worker(request, timeout=PATIENCE)), until
    )


async def _ask(cluster: Cluster, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
    try:
        return await cluster.ask(request)
    except Refused as refused:
        # Credentials that are good enough for a Worker need not be for this list.
        raise NotAllowed(refused.reason) from refused


def workers_of(identity: str, namespace: str) -> ListWorkersRequest:
    """The request that lists them."""
    quoted = identity.replace("\\", "\\\\").replace('"', '\\"')
    return ListWorkersRequest(namespace=namespace, query=f'WorkerIdentity = "{quoted}"')
