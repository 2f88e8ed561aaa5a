"""The Cluster's list of Workers: take a dead one off it, which would stand there as running for minutes."""

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerListInfo
from temporalio.api.workflowservice.v1 import (
    ListWorkersRequest,
    ListWorkersResponse,
    ShutdownWorkerRequest,
)

from temporal_fleet.entity.cluster import PATIENCE, Cluster
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.sticky_release import REASON


async def report_dead_worker(cluster: Cluster, persistence: Persistence, identity: str, until: float) -> bool:
    """Whether it stood there. Raises Declined (a Cluster that keeps no such list) and Pointless."""
    request = ListWorkersRequest(namespace=cluster.namespace, query=f'WorkerIdentity = "{_quoted(identity)}"')
    listed: ListWorkersResponse = await persistence.ask(
        lambda service: service.list_workers(request, timeout=PATIENCE), until
    )
    for worker in listed.workers:
        await _report(cluster, persistence, worker, until)
    return bool(listed.workers)


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
    await persistence.ask(lambda service: service.shutdown_worker(request, timeout=PATIENCE), until)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
