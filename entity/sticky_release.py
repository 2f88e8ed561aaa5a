"""The sticky queue of a dead Worker: give it up, and bring what waits in it to where somebody polls.

The Cluster sends the Workflow Tasks and queries of cached executions to the sticky queue of whoever has them
in its cache, as long as that queue had a poller in the last ten seconds: what goes to a dead one's waits ten
seconds there. ShutdownWorker *releases* the queue: what comes later goes to the normal queue, and so do the
queries that wait in it. The tasks that wait in it stay: they have to be polled, and failed, which schedules
them anew on the normal queue. Who polls revives the queue, unless he does not say who he is.

To release it first would be wrong, for two reasons. The Cluster makes the execution of each query that waits
forget the sticky queue, and a task of that execution which waits behind the query is stranded by it: nobody
can poll it any more, and it waits out its time. (That is why ResetStickyTaskQueue is no way around all this
either.) And of what comes to the queue at the very moment, some is lost for as long. So: poll until there is
silence, and release then.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from temporalio.api.enums.v1 import (
    QueryResultType,
    TaskQueueKind,
    TaskQueueType,
    WorkflowTaskFailedCause,
)
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    ResetStickyTaskQueueRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    ShutdownWorkerRequest,
)
from temporalio.service import RPCError

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.connection import ClusterTrouble
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.tally import Tally

REASON = "temporal-fleet: its process is dead"

NOBODY = ""
"""The identity under which it is polled."""

_POLLERS = 4
_POLLERS_AT_MOST = 16
"""Fast: a query that the Cluster keeps for too long strands the task behind it, as a release does."""
_POLL = timedelta(seconds=2.2)
"""The Cluster refuses polls of 2 s and less, and answers an empty one a second before its end."""
_SILENCE = 0.2
"""Seconds in which nothing came."""
_QUERY_PATIENCE = timedelta(seconds=10)
_QUERY_PAUSE = 0.05


class DeadStickyQueue:
    """`task_queue` finds out the Worker's own; `until` is when the Cluster has done all this by itself."""

    def __init__(
        self,
        cluster: Cluster,
        persistence: Persistence,
        tally: Tally,
        *,
        name: str,
        task_queue: Callable[[], Awaitable[str]],
        identity: str,
        until: float,
    ) -> None:
        self._cluster = cluster
        self._persistence = persistence
        self._tally = tally
        self._queue = TaskQueue(name=name, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY)
        self._task_queue = task_queue
        self._identity = identity
        self._until = until
        self._answers: set[asyncio.Task[None]] = set()
        self._queries: set[asyncio.Task[None]] = set()
        self._polled = 0

    async def free(self) -> None:
        """Bring away what waits, and give the queue up. Raises Declined and Pointless."""
        self._queue.normal_name = await self._task_queue()
        waiting = await self._waiting()
        while time.time() < self._until:
            await self._drain(max(_POLLERS, min(waiting, _POLLERS_AT_MOST)))
            waiting = await self._waiting()
            if not waiting:
                break
        for outcome in await asyncio.gather(*self._answers, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def queries_answered(self) -> None:
        """Wait for the answers to the queries that were caught. One that hangs on a task in the dead Worker's
        hands has to wait for that."""
        for outcome in await asyncio.gather(*self._queries, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _release(self, pollers: str) -> None:
        """Give the queue up, and end these polls of our own."""
        request = ShutdownWorkerRequest(
            namespace=self._cluster.namespace,
            sticky_task_queue=self._queue.name,
            identity=self._identity,
            reason=REASON,
            worker_instance_key=pollers,
            task_queue=self._queue.normal_name,
            task_queue_types=[TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW],
        )
        await self._persistence.attempt(
            lambda: self._cluster.ask_at_once(
                lambda service: service.shutdown_worker(request, timeout=PATIENCE)
            ),
            self._until,
        )

    async def _waiting(self) -> int:
        """How many tasks wait in it. To ask is not to poll."""
        request = DescribeTaskQueueRequest(
            namespace=self._cluster.namespace,
            task_queue=self._queue,
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            include_task_queue_status=True,
        )
        answer: DescribeTaskQueueResponse = await self._persistence.attempt(
            lambda: self._cluster.ask_at_once(
                lambda service: service.describe_task_queue(request, timeout=PATIENCE)
            ),
            self._until,
        )
        return answer.task_queue_status.backlog_count_hint

    async def _drain(self, number: int) -> None:
        """Poll, so many at once, until there is silence; then release the queue."""
        # By this key the Cluster ends our polls at once and without losing a task.
        key = uuid.uuid4().hex
        listening = True

        async def poll_on() -> None:
            while listening:
                await self._persistence.attempt(lambda: self._poll(key), self._until)

        pollers = {asyncio.create_task(poll_on()) for _ in range(number)}
        try:
            silent = False
            while not silent and time.time() < self._until:
                before = self._polled
                done, _ = await asyncio.wait(pollers, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED)
                for poller in done:
                    poller.result()
                # The question takes as long as the polls that are on their way.
                silent = not await self._waiting() and self._polled == before
            listening = False
            await self._release(key)
            await asyncio.gather(*pollers)
        finally:
            # What they poll from now on would be nobody's.
            for poller in pollers:
                poller.cancel()

    async def _poll(self, key: str) -> None:
        """Take a task or a query, if one comes, and have it set free. Raises Declined and ClusterTrouble."""
        request = PollWorkflowTaskQueueRequest(
            namespace=self._cluster.namespace,
            task_queue=self._queue,
            identity=NOBODY,
            worker_instance_key=key,
        )
        task: PollWorkflowTaskQueueResponse = await self._cluster.ask_at_once(
            lambda service: service.poll_workflow_task_queue(request, timeout=_POLL)
        )
        if not task.task_token:
            return
        self._polled += 1
        if task.HasField("query"):
            self._queries.add(asyncio.create_task(self._pass_on(task)))
        else:
            self._answers.add(asyncio.create_task(self._fail(task)))

    async def _fail(self, task: PollWorkflowTaskQueueResponse) -> None:
        request = RespondWorkflowTaskFailedRequest(
            namespace=self._cluster.namespace,
            task_token=task.task_token,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
            identity=self._cluster.identity,
        )
        try:
            await self._persistence.ask(
                lambda service: service.respond_workflow_task_failed(request, timeout=PATIENCE), self._until
            )
        except Declined:
            self._tally.refused += 1
        else:
            self._tally.task_freed(task.workflow_execution.run_id)

    async def _pass_on(self, task: PollWorkflowTaskQueueResponse) -> None:
        """Put a query that came while we polled once more, to who can answer it, and hand the answer back."""
        answer = RespondQueryTaskCompletedRequest(
            namespace=self._cluster.namespace,
            task_token=task.task_token,
            completed_type=QueryResultType.QUERY_RESULT_TYPE_ANSWERED,
        )
        try:
            answer.query_result.CopyFrom((await self._query_in_time(task)).query_result)
        except Declined as declined:
            answer.completed_type = QueryResultType.QUERY_RESULT_TYPE_FAILED
            answer.error_message = declined.error.message
            failed = _query_failure(declined.error)
            if failed is not None:
                answer.failure.CopyFrom(failed.failure)
        except ClusterTrouble:
            # Not an answer of the Workflow's, and its caller has given up by now.
            self._tally.refused += 1
            return
        try:
            await self._cluster.ask(
                lambda service: service.respond_query_task_completed(answer, timeout=PATIENCE)
            )
        except (Declined, ClusterTrouble):
            self._tally.refused += 1
        else:
            self._tally.queries_answered += 1

    async def _query_in_time(self, task: PollWorkflowTaskQueueResponse) -> QueryWorkflowResponse:
        """The Cluster keeps one query for each execution whose task is pending, and none beyond that."""
        given_up = time.monotonic() + _QUERY_PATIENCE.total_seconds()
        while True:
            try:
                return await self._query(task)
            except ClusterTrouble:
                if time.monotonic() > given_up:
                    raise
            await asyncio.sleep(_QUERY_PAUSE)

    async def _query(self, task: PollWorkflowTaskQueueResponse) -> QueryWorkflowResponse:
        namespace, execution = self._cluster.namespace, task.workflow_execution
        described: DescribeWorkflowExecutionResponse = await self._cluster.ask(
            lambda service: service.describe_workflow_execution(
                DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution), timeout=PATIENCE
            )
        )
        # A task that is pending answers the query too, and a reset would strand it.
        if not described.HasField("pending_workflow_task"):
            # One that is closed has no sticky queue, and can be queried.
            with suppress(Declined):
                await self._cluster.ask(
                    lambda service: service.reset_sticky_task_queue(
                        ResetStickyTaskQueueRequest(namespace=namespace, execution=execution),
                        timeout=PATIENCE,
                    )
                )
        answer: QueryWorkflowResponse = await self._cluster.ask_at_once(
            lambda service: service.query_workflow(
                QueryWorkflowRequest(namespace=namespace, execution=execution, query=task.query),
                timeout=_QUERY_PATIENCE,
            )
        )
        return answer


def _query_failure(error: RPCError) -> QueryFailedFailure | None:
    for detail in error.grpc_status.details:
        failure = QueryFailedFailure()
        if detail.Unpack(failure):
            return failure
    return None
