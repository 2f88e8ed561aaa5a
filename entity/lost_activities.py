"""The activities that a dead entity had in hand: each is failed, so that the Cluster starts it again at once
and not after its time-out, or, where it is known to kill entities, so that it is never started again."""

import json
import time

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflowservice.v1 import RespondActivityTaskFailedRequest

from temporal_fleet.entity.cluster import PATIENCE, Cluster, Declined
from temporal_fleet.entity.persistence import Persistence
from temporal_fleet.entity.tally import Tally
from temporal_fleet.protocol.helpers import ActivityVerdict, RecoverEntity
from temporal_fleet.protocol.holdings import HeldActivity

ENTITY_DIED = "WorkerEntityDied"
POISON_PILL = "PoisonPill"

_AT_ONCE = 1
"""Nanoseconds: the Cluster takes a delay of zero for "never again"."""
_REMEMBERED = 256
_REMEMBERED_FOR = 120.0
"""Seconds. A suspect of poison is tried again up to a minute later."""
_WORTH_TRYING = 3600.0
"""Seconds, where the box does not say when the Cluster gives the attempt up by itself."""


def activity_failure(order: RecoverEntity, activity: HeldActivity, verdict: ActivityVerdict) -> Failure:
    """What its next attempt, and its Workflow, learn. The details of the last heartbeat follow ours, as they
    were sent."""
    death = {
        "entity": order.entity,
        "incarnation": order.incarnation,
        "signal": order.signal,
        "cause": order.cause,
    }
    ours = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(death).encode())
    last = heartbeat_details(activity)
    info = ApplicationFailureInfo(
        type=POISON_PILL if verdict.poison else ENTITY_DIED,
        non_retryable=bool(verdict.poison),
        details=Payloads(payloads=[ours, *(last.payloads if last is not None else ())]),
    )
    if not verdict.poison:
        delay = Duration()
        delay.FromNanoseconds(max(_AT_ONCE, int(verdict.retry_after * 1e9)))
        info.next_retry_delay.CopyFrom(delay)
    message = f"entity {order.entity} (incarnation {order.incarnation}) died with it in hand: {order.cause}"
    return Failure(
        message=f"{verdict.poison}; {message}" if verdict.poison else message,
        source="temporal-fleet",
        application_failure_info=info,
    )


def heartbeat_details(activity: HeldActivity) -> Payloads | None:
    if not activity.details:
        return None
    try:
        return Payloads.FromString(activity.details)
    except DecodeError:
        return None


class Retried:
    """The executions whose activities were made to be tried again of late: where they are started next may
    die before it has written that down."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], float] = {}

    def note(self, activity: HeldActivity) -> None:
        if activity.workflow_id:
            key = activity.workflow_id, activity.run_id
            self._noted.pop(key, None)
            self._noted[key] = time.monotonic()
            for oldest in tuple(self._noted)[:-_REMEMBERED]:
                del self._noted[oldest]

    def executions(self) -> list[tuple[str, str]]:
        """Workflow and run ids, the last first."""
        since = time.monotonic() - _REMEMBERED_FOR
        return [key for key, noted in reversed(self._noted.items()) if noted >= since]


class LostActivities:
    def __init__(
        self,
        cluster: Cluster,
        persistence: Persistence,
        tally: Tally,
        order: RecoverEntity,
        retried: Retried,
    ) -> None:
        self._cluster = cluster
        self._persistence = persistence
        self._tally = tally
        self._order = order
        self._retried = retried
        self._verdicts = {verdict.task_token: verdict for verdict in order.verdicts}

    async def fail(self, activity: HeldActivity) -> None:
        """Raises Pointless."""
        token = activity.task_token
        verdict = self._verdicts.get(token) or ActivityVerdict(task_token=token)
        request = RespondActivityTaskFailedRequest(
            namespace=self._cluster.namespace,
            task_token=token,
            identity=self._cluster.identity,
            failure=activity_failure(self._order, activity, verdict),
            last_heartbeat_details=heartbeat_details(activity),
        )
        until = self._order.died_at + _WORTH_TRYING if activity.expires is None else activity.expires
        try:
            await self._persistence.ask(
                lambda service: service.respond_activity_task_failed(request, timeout=PATIENCE), until
            )
        except Declined:
            self._tally.refused += 1
        else:
            self._retried.note(activity)
            self._tally.activities_failed += 1
