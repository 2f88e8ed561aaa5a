"""What a look at the Cluster tells of a fleet: whether it is there, whether its clock and ours agree, whether
tasks wait that nobody takes, and whom it takes for alive. Values in, findings out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from temporal_fleet.protocol.examination import Examination, QueueLook
from temporal_fleet.protocol.report import PoolReport
from temporal_fleet.supervisor.core.findings import Finding, ok, problem, warning

_CLOCKS_APART = 1.0
"""Seconds. Beyond it time-outs that are reckoned here, and times in logs, mislead."""
_CLOCKS_FAR_APART = 10.0
"""From here on the time-out of an attempt, as the Cluster reckons it, is not the one that entities go by."""
_OLD = 60.0
"""Seconds for which a task may wait before it is worth a word."""
_GROWS = 0.2
"""Tasks in a second by which more come than go, from which on a backlog grows."""
_MOST = 5


def cluster_findings(
    look: Examination, pools: Mapping[str, Sequence[PoolReport]] | None
) -> Iterator[Finding]:
    """`pools`: those of the fleet that runs, by their Task Queues; None: none runs, so that nobody is
    expected to poll."""
    where = f"{look.address}, namespace {look.namespace}"
    if look.problem:
        yield problem("Cluster", where, look.problem)
        return
    yield ok("Cluster", f"{where}, Temporal {look.server_version}")
    if look.namespace_state != "registered":
        yield problem("namespace", f"{look.namespace} is {look.namespace_state}", "use another")
    yield _clock(look)
    for task_queue, kinds in groupby(look.queues, key=lambda each: each.task_queue):
        yield from _queue(task_queue, list(kinds), None if pools is None else pools.get(task_queue, ()))
    if pools is not None and (unseen := len(pools.keys() - {each.task_queue for each in look.queues})):
        yield warning(
            "task queues", f"{unseen} of {len(pools)} were not looked at", "look in the Cluster's UI"
        )
    yield from _workers(look)


def _clock(look: Examination) -> Finding:
    what = "clock against the Cluster's"
    if look.clock_ahead_s is None:
        return warning(what, f"not measured: {look.clock_problem}", "compare `date` here and there")
    apart = abs(look.clock_ahead_s)
    direction = "behind" if look.clock_ahead_s > 0 else "ahead"
    figure = f"{apart * 1000:.0f} ms {direction}, within {look.clock_within_s * 1000:.0f} ms"
    # What may as well come of the way there and back is no reason for a word.
    surely = max(0.0, apart - look.clock_within_s)
    remedy = "keep both in step: chrony or systemd-timesyncd, here and on the server"
    if surely > _CLOCKS_FAR_APART:
        return problem(what, figure, remedy)
    return warning(what, figure, remedy) if surely > _CLOCKS_APART else ok(what, figure)


def _queue(
    task_queue: str, kinds: Sequence[QueueLook], pools: Sequence[PoolReport] | None
) -> Iterator[Finding]:
    what = f"task queue {task_queue}"
    for problem_told in dict.fromkeys(each.problem for each in kinds if each.problem):
        yield warning(
            what, f"not to be seen: {problem_told}", f"temporal task-queue describe -t {task_queue}"
        )
    known = [each for each in kinds if not each.problem]
    unserved = [each for each in known if each.backlog and not each.pollers]
    slow = [each for each in known if each.backlog and each.pollers and _is_behind(each)]
    for each in unserved:
        yield problem(what, f"{_backlog(each)}, and nobody polls", _remedy(pools))
    for each in slow:
        names = ", ".join(f"{pool.name}=N" for pool in pools or ())
        figure = f"{_backlog(each)}; {each.add_rate:.1f} come and {each.dispatch_rate:.1f} go each second"
        more = f"more entities: temporal-fleet scale {names}" if names else "more Workers"
        yield warning(what, figure, f"{more}; or more slots in `worker`")
    if unserved or slow or not known:
        return
    pollers = {each.kind: each.pollers for each in known if each.pollers}
    waiting = sum(each.backlog for each in known)
    if not pollers and pools is not None:
        yield warning(what, "nobody polls; nothing waits", _remedy(pools))
    else:
        told = ", ".join(f"{number} {kind}" for kind, number in pollers.items()) or "nobody"
        yield ok(what, f"polled by {told}; {waiting} {'task waits' if waiting == 1 else 'tasks wait'}")


def _is_behind(each: QueueLook) -> bool:
    return each.add_rate - each.dispatch_rate > _GROWS or each.backlog_age_s > _OLD


def _backlog(each: QueueLook) -> str:
    number = f"{each.backlog} {each.kind} {'task waits' if each.backlog == 1 else 'tasks wait'}"
    return f"{number}, the oldest for {each.backlog_age_s:.0f} s"


def _remedy(pools: Sequence[PoolReport] | None) -> str:
    if pools is None:
        return "start the fleet: temporal-fleet up"
    drained = [pool.name for pool in pools if pool.drained]
    if drained:
        return f"temporal-fleet resume {drained[0]}"
    empty = [pool.name for pool in pools if not pool.desired]
    if empty:
        return f"temporal-fleet scale {empty[0]}=N"
    return "no entity of the pool has this kind of Worker, or none is ready: see `workers` of the pool"


def _workers(look: Examination) -> Iterator[Finding]:
    what = "workers listed as running"
    if look.workers_problem:
        yield warning(what, f"not known: {look.workers_problem}", "the Cluster may not keep such a list")
    elif look.dead_workers:
        names = [worker.identity for worker in look.dead_workers]
        more = look.dead_workers_total - _MOST
        told = ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")
        yield warning(
            what,
            f"{look.dead_workers_total} dead, of this fleet and host: {told}",
            "they leave the list by themselves, minutes after their deaths, and take no tasks",
        )
    else:
        yield ok(what, "no dead one of this fleet and host")
