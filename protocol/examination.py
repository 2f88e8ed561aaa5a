"""What the cluster agent found when it looked at the Cluster for `doctor`: values only. What is good or bad
of it is judged by whoever asked.

Durations are seconds, rates are tasks in a second.
"""

import msgspec

QUEUES_LIMIT = 100
"""Task Queues in one look: it has to fit a frame of a pair. The rest is not looked at."""
WORKERS_LIMIT = 50
"""Workers that are told of, for the same reason."""


class QueueLook(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of tasks of one Task Queue, as DescribeTaskQueue tells it."""

    task_queue: str
    kind: str
    """`workflow`, `activity` or `nexus`."""
    pollers: int = 0
    """Workers that polled in the last minutes, whoever's they are, without those of this fleet and host that
    do so no more."""
    backlog: int = 0
    backlog_age_s: float = 0.0
    """Since the oldest of them was added."""
    add_rate: float = 0.0
    """Both rates are the server's own, of the last half minute."""
    dispatch_rate: float = 0.0
    problem: str = ""
    """Why nothing is known of it; empty: all of it is."""


class ListedWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A Worker that the Cluster lists as running."""

    identity: str
    task_queue: str


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the Cluster."""

    address: str
    namespace: str
    problem: str = ""
    """Why the Cluster could not be looked at, and what to do; empty: it could."""
    server_version: str = ""
    namespace_state: str = ""
    """`registered`, `deprecated` or `deleted`."""
    retention_s: float = 0.0
    clock_ahead_s: float | None = None
    """The server's clock less ours; null: it was not measured."""
    clock_within_s: float = 0.0
    """By how much that may be wrong."""
    clock_problem: str = ""
    """Why it was not measured."""
    queues: list[QueueLook] = []
    dead_workers: list[ListedWorker] = []
    """Of this fleet and this host, that nobody alive is."""
    dead_workers_total: int = 0
    workers_problem: str = ""
    """Why nobody knows which Workers are listed."""
