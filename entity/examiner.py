"""One look at the Cluster for somebody who asks how it is: its version, its clock, Task Queues, dead Workers
that it lists. Each part stands alone: what is refused, or comes too late, is told and spoils nothing else.

Says what is there. What is good or bad of it is not judged here. Takes no turn of the agent's other requests:
what is to be set free is not to wait for a look.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import msgspec
from temporalio.api.enums.v1 import NamespaceState, TaskQueueKind, TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    PollWorkflowTaskQueueRequest,
)
from temporalio.service import RPCError, WorkflowService

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.connection import ClusterTrouble, Throttled, name_here
from temporal_fleet.protocol.examination import WORKERS_LIMIT, Examination, ListedWorker, QueueLook
from temporal_fleet.protocol.helpers import Examine

T = TypeVar("T")

_KINDS = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    "nexus": TaskQueueType.TASK_QUEUE_TYPE_NEXUS,
}
_SECONDS = 10.0
"""For each part, and each request about a Task Queue: someone waits for it."""
_QUEUES_SECONDS = 15.0
"""For all Task Queues: what was not asked about by then is told to be so."""
_QUEUES_AT_ONCE = 16
_THROTTLED = 5.0
_PAUSE = 0.25
"""Seconds for which a Cluster that has had enough is asked again, and between two times."""
_CLOCK_LOOKS = 50
_CLOCK_PAUSE = 0.02
_LONG_POLL = timedelta(seconds=70)
"""A server warns in its log of a shorter one."""
_PAGE = 1000
_PAGES = 10


async def examine(order: Examine, cluster: Cluster) -> Examination:
    """Never raises what the Cluster, or the way there, makes."""
    nothing = Examination(address=cluster.address, namespace=cluster.namespace)
    try:
        system: GetSystemInfoResponse = await _ask(
            cluster, lambda service: service.get_system_info(GetSystemInfoRequest(), timeout=PATIENCE)
        )
        namespace: DescribeNamespaceResponse = await _ask(
            cluster,
            lambda service: service.describe_namespace(
                DescribeNamespaceRequest(namespace=cluster.namespace), timeout=PATIENCE
            ),
        )
    except (ClusterTrouble, Declined, RPCError) as trouble:
        return msgspec.structs.replace(nothing, problem=str(trouble))
    queues, clock, dead = await asyncio.gather(
        _queues(cluster, order),
        _in_time(_clock(cluster, order.task_queues)),
        _in_time(_dead_workers(cluster, set(order.alive))),
    )
    measured = None if isinstance(clock, str) else clock
    workers = [] if isinstance(dead, str) else dead
    retention = namespace.config.workflow_execution_retention_ttl
    state = NamespaceState.Name(namespace.namespace_info.state)
    return Examination(
        address=cluster.address,
        namespace=cluster.namespace,
        server_version=system.server_version,
        namespace_state=state.removeprefix("NAMESPACE_STATE_").lower(),
        retention_s=retention.ToMilliseconds() / 1000,
        clock_ahead_s=None if measured is None else measured.ahead,
        clock_within_s=0.0 if measured is None else measured.within,
        clock_problem=clock if isinstance(clock, str) else "",
        queues=queues,
        dead_workers=workers[:WORKERS_LIMIT],
        dead_workers_total=len(workers),
        workers_problem=dead if isinstance(dead, str) else "",
    )


async def _in_time(part: Awaitable[T], seconds: float = _SECONDS) -> T | str:
    """What a part brings, or why it brings nothing."""
    try:
        async with asyncio.timeout(seconds):
            return await part
    except TimeoutError:
        return f"it took more than {seconds:.0f} s"
    except (ClusterTrouble, Declined, RPCError, _Unanswered) as trouble:
        return str(trouble)


async def _queues(cluster: Cluster, order: Examine) -> list[QueueLook]:
    polling = set(order.alive) - set(order.resting)
    turns = asyncio.Semaphore(_QUEUES_AT_ONCE)
    until = asyncio.get_running_loop().time() + _QUEUES_SECONDS

    async def look(task_queue: str, kind: str) -> QueueLook:
        # Its own time begins with its turn.
        async with turns:
            left = until - asyncio.get_running_loop().time()
            if left < 1:
                problem = f"there was no time for it: the others took {_QUEUES_SECONDS:.0f} s"
                return QueueLook(task_queue=task_queue, kind=kind, problem=problem)
            return await _queue(cluster, task_queue, kind, polling, min(_SECONDS, left))

    return await asyncio.gather(*(look(queue, kind) for queue in order.task_queues for kind in _KINDS))


async def _queue(
    cluster: Cluster, task_queue: str, kind: str, polling: set[str], seconds: float
) -> QueueLook:
    request = DescribeTaskQueueRequest(
        namespace=cluster.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=_KINDS[kind],
        report_stats=True,
    )

    async def describe() -> DescribeTaskQueueResponse:
        return await _ask(cluster, lambda service: service.describe_task_queue(request, timeout=PATIENCE))

    found = await _in_time(describe(), seconds)
    if isinstance(found, str):
        return QueueLook(task_queue=task_queue, kind=kind, problem=found)
    # Who polled stays listed for five minutes.
    names = [name_here(poller.identity, cluster.fleet) for poller in found.pollers]
    stats = found.stats
    return QueueLook(
        task_queue=task_queue,
        kind=kind,
        pollers=sum(name is None or name in polling for name in names),
        backlog=stats.approximate_backlog_count,
        backlog_age_s=stats.approximate_backlog_age.ToMilliseconds() / 1000,
        add_rate=stats.tasks_add_rate,
        dispatch_rate=stats.tasks_dispatch_rate,
    )


@dataclass(frozen=True)
class _Clock:
    ahead: float
    """Seconds: theirs less ours."""
    within: float


async def _ask(cluster: Cluster, request: Callable[[WorkflowService], Awaitable[T]]) -> T:
    """Again where the Cluster has had enough for the moment: who looks adds to a crowd. Raises what
    `cluster.ask_at_once` does."""
    until = time.monotonic() + _THROTTLED
    while True:
        try:
            return await cluster.ask_at_once(request)
        except Throttled:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_PAUSE)


class _Unanswered(Exception):
    """It answered, and told nothing."""


async def _clock(cluster: Cluster, task_queues: list[str]) -> _Clock:
    """The server keeps the time of each poll, and tells it: so we poll, where no task ever comes, and the
    time that it tells lies between two of ours. A sticky queue leaves nothing behind: it is forgotten.

    Raises what `_ask` does, and _Unanswered.
    """
    if not task_queues:
        raise _Unanswered("there is no task queue to go by")
    # Its own each time: where one was polled before, the time of that poll is told.
    name = f"{cluster.identity}/{uuid.uuid4().hex}"
    queue = TaskQueue(name=name, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=task_queues[0])
    poll = PollWorkflowTaskQueueRequest(
        namespace=cluster.namespace, task_queue=queue, identity=cluster.identity
    )
    describe = DescribeTaskQueueRequest(
        namespace=cluster.namespace, task_queue=queue, task_queue_type=_KINDS["workflow"]
    )
    before = time.time()
    polling = asyncio.create_task(_keep_polling(cluster, poll))
    try:
        for _ in range(_CLOCK_LOOKS):
            # First the poll: a server does not answer of a sticky queue that it does not know.
            await asyncio.sleep(_CLOCK_PAUSE)
            theirs = await _last_access(cluster, describe)
            after = time.time()
            if theirs is not None:
                return _Clock(theirs - (before + after) / 2, (after - before) / 2)
            if polling.done():
                polling.result()
                break
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await polling
    raise _Unanswered("the server does not tell when it was polled")


async def _keep_polling(cluster: Cluster, poll: PollWorkflowTaskQueueRequest) -> None:
    await cluster.ask_at_once(lambda service: service.poll_workflow_task_queue(poll, timeout=_LONG_POLL))


async def _last_access(cluster: Cluster, describe: DescribeTaskQueueRequest) -> float | None:
    """Seconds since the epoch, by the server's clock."""
    found: DescribeTaskQueueResponse = await _ask(
        cluster, lambda service: service.describe_task_queue(describe, timeout=PATIENCE)
    )
    times = [poller.last_access_time.ToNanoseconds() for poller in found.pollers]
    return max(times) / 1e9 if times else None


async def _dead_workers(cluster: Cluster, alive: set[str]) -> list[ListedWorker]:
    """The entities of this fleet and host that are listed as running, and are not among the living. Their
    identities are those of `connection.identity`."""
    query = f'WorkerIdentity STARTS_WITH "{cluster.fleet}/"'
    request = ListWorkersRequest(namespace=cluster.namespace, page_size=_PAGE, query=query)
    dead = []
    for _ in range(_PAGES):
        page = await _page(cluster, request)
        for worker in page.workers:
            life = name_here(worker.worker_identity, cluster.fleet)
            if life is not None and life not in alive and worker.status == WorkerStatus.WORKER_STATUS_RUNNING:
                dead.append(ListedWorker(identity=worker.worker_identity, task_queue=worker.task_queue))
        if not page.next_page_token:
            break
        request.next_page_token = page.next_page_token
    return dead


async def _page(cluster: Cluster, request: ListWorkersRequest) -> ListWorkersResponse:
    page: ListWorkersResponse = await _ask(
        cluster, lambda service: service.list_workers(request, timeout=PATIENCE)
    )
    return page
