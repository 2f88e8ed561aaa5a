"""The recovery of one dead entity: what its black box says that it held is set free, most urgent first. The
order of things; how each is done is in sticky_release, task_tokens, lost_activities, worker_registry.

What no recovery makes faster, and for how long it stays:
- A task, of a Workflow or an activity, that the Cluster matched to the dead process before it saw the socket
  close, or that the SDK's core held and Python never read: milliseconds wide, more where the machine is busy.
  Most are found: the Cluster is asked about the executions of the black box, and for activities about those
  that were active of late in any of the fleet. A Workflow Task of another one waits for its own time-out
  (10 s), an activity of another one, or a standalone one, for its start-to-close or heartbeat time-out.
- A result that was complete while the Cluster was away: it died with the process, and the activity is done
  again.
- A query that was delivered to the dead process: nobody else knows that it was asked. The Cluster puts it
  again after the sticky time-out (2 s, or the pool's sticky_queue_schedule_to_start_timeout).
- The retry of an activity: the Cluster starts it within a hundredth of a second, but up to a second later
  where the same shard (the dev server has one) fired any other timer in that second.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.lost_activities import LostActivities, Retried
from temporal_fleet.entity.persistence import Persistence, Pointless
from temporal_fleet.entity.sticky_release import DeadStickyQueue
from temporal_fleet.entity.tally import Tally
from temporal_fleet.entity.task_tokens import TasksInHand
from temporal_fleet.entity.unnamed_sticky import UnnamedStickyQueue
from temporal_fleet.entity.unread_activities import UnreadActivities
from temporal_fleet.entity.worker_registry import NotAllowed, report_dead_worker
from temporal_fleet.protocol.blackbox import BlackBoxContents, read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.helpers import Recovered, RecoverEntity
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState

_STICKY_WORTH = 30.0
"""Seconds after the death at which the Cluster's own time-outs, of 10 s, have long done it all. More than
those: while the Cluster is away, its time stands still."""
_REGISTRY_WORTH = 30.0
"""The Cluster itself forgets a Worker that is silent."""
_READ_FOR = 10.0
"""Seconds in which what keeps us from reading the black box, but is no fault of its, may pass."""
_READ_AGAIN = 0.5
_PROBLEM = 2000
"""Characters told of what went wrong: thousands of things may, each in its own words."""
_LOOKED_THROUGH = 1000
"""Executions, the most recently active, searched for tasks in hand that the box knows nothing of."""
_LOOKED_THROUGH_FIRST = 32
"""At once."""
_LOOKS_AT_ONCE = 4
"""Few: it costs the Cluster what those who work again could use. After a drain most need not be looked at."""
_LISTED_BY = 0.5
"""Seconds in which a Worker's first heartbeat has been taken in."""


async def recover(
    order: RecoverEntity, cluster: Cluster, delayed: Callable[[str], None], retried: Retried
) -> Recovered:
    """Never raises, unless it is cancelled; `delayed` is told when the box cannot be read for the time being,
    and once when the Cluster is away, and why."""
    started = time.monotonic()
    tally = Tally()
    recovery = None
    try:
        box = await _read(Path(order.blackbox), delayed)
        recovery = _Recovery(order, box, cluster, Persistence(cluster, delayed), tally, retried)
        await recovery.run()
    except _Unreadable as unreadable:
        tally.problems.append(str(unreadable))
    except Exception as error:
        tally.failed(error)
    return Recovered(
        entity=order.entity,
        incarnation=order.incarnation,
        seconds=time.monotonic() - started,
        executions=recovery.released if recovery is not None else 0,
        tasks_freed=tally.tasks_freed,
        queries_answered=tally.queries_answered,
        activities_failed=tally.activities_failed,
        refused=tally.refused,
        worker_reported=recovery is not None and recovery.worker_reported,
        problem="; ".join(dict.fromkeys(tally.problems))[:_PROBLEM],
    )


class _Unreadable(Exception):
    """What is in the black box is lost."""


async def _read(path: Path, delayed: Callable[[str], None]) -> BlackBoxContents:
    """Raises _Unreadable."""
    given_up = time.monotonic() + _READ_FOR
    told = False
    while True:
        try:
            return await asyncio.to_thread(read_blackbox, path)
        except (FileNotFoundError, PeerRubbish) as error:
            raise _Unreadable(f"its black box cannot be read: {error}") from error
        except OSError as error:
            # Too many open files, a disk that stutters.
            problem = f"its black box cannot be read: {error}"
            if time.monotonic() > given_up:
                raise _Unreadable(problem) from error
        if not told:
            delayed(problem)
            told = True
        await asyncio.sleep(_READ_AGAIN)


class _Recovery:
    def __init__(
        self,
        order: RecoverEntity,
        box: BlackBoxContents,
        cluster: Cluster,
        persistence: Persistence,
        tally: Tally,
        retried: Retried,
    ) -> None:
        self.released = 0
        self.worker_reported = False
        self._queue: DeadStickyQueue | None = None
        self._order = order
        self._box = box
        self._left_alone = frozenset(order.left_alone)
        self._cluster = cluster
        self._persistence = persistence
        self._tally = tally
        self._retried = retried
        self._sticky_until = order.died_at + _STICKY_WORTH
        self._executions = sorted(
            box.holdings.executions, key=lambda execution: execution.last_activity, reverse=True
        )
        self._tasks_in_hand = TasksInHand(
            cluster, persistence, tally, identity=box.identity, until=self._sticky_until
        )

    async def run(self) -> None:
        if not self._box.identity:
            # It never got as far as the Cluster.
            return
        await self._all(self._set_free(), self._worker())
        if not self.worker_reported:
            # A clock that was set back meanwhile is no reason to wait longer.
            await asyncio.sleep(min(_LISTED_BY, max(0.0, self._order.died_at + _LISTED_BY - time.time())))
            await self._all(self._worker())

    async def _set_free(self) -> None:
        activities = LostActivities(self._cluster, self._persistence, self._tally, self._order, self._retried)
        unread = UnreadActivities(
            self._cluster,
            self._persistence,
            self._tally,
            self._order,
            identity=self._box.identity,
            retried=self._retried,
        )
        await self._all(
            self._sticky_queue(),
            *(activities.fail(activity) for activity in self._box.holdings.activities),
            *(self._free_task(execution) for execution in self._executions if _runs(execution)),
            self._look_at([one for one in self._executions[:_LOOKED_THROUGH_FIRST] if not _runs(one)]),
        )
        await self._all(unread.fail(), self._look_through(), self._queries_answered())

    async def _all(self, *works: Coroutine[Any, Any, None]) -> None:
        """One that fails takes no other with it."""
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(outcome, Pointless):
                self._tally.problems.append(f"given up: {outcome}")
            elif isinstance(outcome, Exception):
                self._tally.failed(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _sticky_queue(self) -> None:
        name = self._box.sticky_queue
        if not name and self._executions:
            unnamed = UnnamedStickyQueue(
                self._cluster, self._persistence, self._box.identity, self._sticky_until
            )
            name = await unnamed.find_or_forget(self._executions)
        if name:
            queue = self._queue = DeadStickyQueue(
                self._cluster,
                self._persistence,
                self._tally,
                name=name,
                task_queue=self._task_queue,
                identity=self._box.identity,
                until=self._sticky_until,
            )
            try:
                await queue.free()
            except Declined as declined:
                self._tally.problems.append(f"its sticky queue cannot be released: {declined}")
                return
        self.released = len(self._executions)

    async def _queries_answered(self) -> None:
        if self._queue is not None:
            await self._queue.queries_answered()

    async def _task_queue(self) -> str:
        """The one that its Worker polled, as the first execution has it that the Cluster still knows. Those
        that were evicted before its death are sticky to it, and in no box."""
        for held in self._executions:
            with suppress(Declined):
                return await self._task_queue_of(held)
        return self._order.task_queue

    async def _task_queue_of(self, held: CachedExecution) -> str:
        request = DescribeWorkflowExecutionRequest(
            namespace=self._cluster.namespace,
            execution=WorkflowExecution(workflow_id=held.workflow_id, run_id=held.run_id),
        )
        described: DescribeWorkflowExecutionResponse = await self._persistence.ask(
            lambda service: service.describe_workflow_execution(request, timeout=PATIENCE), self._sticky_until
        )
        return described.execution_config.task_queue.name

    async def _free_task(self, execution: CachedExecution) -> None:
        if self._cluster.rebuilds_task_tokens and execution.run_id not in self._left_alone:
            await self._tasks_in_hand.free(execution)

    async def _look_through(self) -> None:
        """Find the tasks that came to the dead process in its last instant, and that it never wrote down."""
        await self._look_at(self._executions[_LOOKED_THROUGH_FIRST:_LOOKED_THROUGH])

    async def _look_at(self, executions: list[CachedExecution]) -> None:
        rest = iter(executions)

        async def look() -> None:
            for execution in rest:
                # What takes longer than the Cluster's own time-outs is of no use.
                if time.time() > self._sticky_until:
                    return
                if execution.run_id not in self._tally.freed_runs:
                    await self._free_task(execution)

        await self._all(*(look() for _ in range(_LOOKS_AT_ONCE)))

    async def _worker(self) -> None:
        try:
            self.worker_reported = await report_dead_worker(
                self._cluster,
                self._persistence,
                self._box.identity,
                died_at=self._order.died_at,
                until=self._order.died_at + _REGISTRY_WORTH,
            )
        except Declined:
            # A Cluster without such a list has no dead Worker on it.
            return
        except NotAllowed as not_allowed:
            self._tally.problems.append(f"it stays on the list of Workers for a while: {not_allowed}")


def _runs(execution: CachedExecution) -> bool:
    return execution.state is ExecutionState.RUNNING
