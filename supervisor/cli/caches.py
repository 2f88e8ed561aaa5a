"""Which executions the entities of a fleet have cached, read from their black boxes. Nobody is asked: it
costs the entities nothing, and one that hangs tells as much as any other.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from temporal_fleet.protocol.blackbox import read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.holdings import CachedExecution
from temporal_fleet.protocol.report import EntityReport, ExecutionReport, StatusReport
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli.human import count


@dataclass(frozen=True)
class Caches:
    executions: list[ExecutionReport]
    gaps: list[str]
    """Why there may be more than these, a line for each entity."""


def read(report: StatusReport, target: str | None = None) -> Caches:
    """Of the living entities of a pool, of one entity, or of them all."""
    run = RunDirectory(report.fleet.run_dir)
    executions: list[ExecutionReport] = []
    gaps = []
    for entity in _living(report.entities, target):
        try:
            held = read_blackbox(run.blackbox(entity.id, entity.incarnation)).holdings
        except FileNotFoundError:
            # It died since, or has only just been forked.
            continue
        except (PeerRubbish, OSError) as error:
            gaps.append(f"{entity.id}: what it holds cannot be told: {error}")
            continue
        now = time.time()
        executions += [_reported(entity, each, now) for each in held.executions]
        if held.unrecorded:
            gaps.append(f"{entity.id}: {no_room(held.unrecorded)}")
    return Caches(executions, gaps)


def no_room(unrecorded: int) -> str:
    """What a black box that is not complete means."""
    what = count(unrecorded, "activity or execution", "activities and executions")
    return f"the black box had no room for {what}: not listed, and not set free at a death"


def _living(entities: Iterable[EntityReport], target: str | None) -> list[EntityReport]:
    return [each for each in entities if each.pid is not None and target in (None, each.id, each.pool)]


def _reported(entity: EntityReport, cached: CachedExecution, now: float) -> ExecutionReport:
    return ExecutionReport(
        entity=entity.id,
        pool=entity.pool,
        workflow_id=cached.workflow_id,
        run_id=cached.run_id,
        workflow_type=cached.workflow_type,
        state=cached.state.value,
        closed=cached.closed,
        idle_s=max(0.0, now - cached.last_activity),
        age_s=max(0.0, now - cached.since),
        history_events=cached.history_events,
        replayed_events=cached.replayed_events,
    )
