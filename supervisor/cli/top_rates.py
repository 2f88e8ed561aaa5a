"""What went on in a second, from two reports of one fleet: counters of a life, and the time between."""

from dataclasses import dataclass

from temporal_fleet.protocol.report import StatusReport

_SPAN = 5.0
"""Seconds over which rates are taken: each entity tells of itself but once a second."""


@dataclass(frozen=True)
class Rates:
    """In a second."""

    tasks: float = 0.0
    evictions: float = 0.0
    resurrections: float = 0.0


def is_old(report: StatusReport, newest: StatusReport) -> bool:
    """Whether it says nothing of what goes on now. Another supervisor may have the same PID, after an
    upgrade; it is younger."""
    age = newest.fleet.uptime_s - report.fleet.uptime_s
    return report.fleet.pid != newest.fleet.pid or not 0 <= age <= _SPAN


def rates(before: StatusReport | None, now: StatusReport) -> dict[str, Rates]:
    """By entity. Nothing of who began between the two, or where another supervisor has answered."""
    if before is None or before.fleet.pid != now.fleet.pid:
        return {}
    seconds = now.fleet.uptime_s - before.fleet.uptime_s
    if seconds <= 0:
        return {}
    former = {(entity.id, entity.incarnation): entity for entity in before.entities}
    return {
        entity.id: Rates(
            tasks=max(0, entity.tasks - then.tasks) / seconds,
            evictions=max(0, entity.evictions - then.evictions) / seconds,
            resurrections=max(0, entity.resurrections - then.resurrections) / seconds,
        )
        for entity in now.entities
        if (then := former.get((entity.id, entity.incarnation))) is not None
    }


def total(each: dict[str, Rates]) -> Rates:
    return Rates(
        tasks=sum(one.tasks for one in each.values()),
        evictions=sum(one.evictions for one in each.values()),
        resurrections=sum(one.resurrections for one in each.values()),
    )
