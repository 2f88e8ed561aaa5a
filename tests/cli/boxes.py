"""Black boxes as entities write them, with what the test puts in."""

import time
from pathlib import Path

from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.holdings import CachedExecution, ExecutionState
from temporal_fleet.protocol.process import own_identity
from temporal_fleet.protocol.rundir import RunDirectory


def box(run_dir: Path, entity: str, *executions: CachedExecution, incarnation: int = 2) -> BlackBoxWriter:
    run = RunDirectory(run_dir)
    run.entities.mkdir(mode=0o700, parents=True, exist_ok=True)
    writer = BlackBoxWriter(run.blackbox(entity, incarnation), entity, incarnation, own_identity())
    for execution in executions:
        writer.hold_execution(execution)
    return writer


def cached(
    workflow_id: str,
    *,
    run_id: str = "",
    state: ExecutionState = ExecutionState.BLOCKED,
    closed: bool = False,
    idle: float = 60.0,
    age: float = 120.0,
    history: int = 9,
    replayed: int = 0,
) -> CachedExecution:
    now = time.time()
    return CachedExecution(
        workflow_id=workflow_id,
        run_id=run_id or f"run-of-{workflow_id}",
        workflow_type="OrderWorkflow",
        since=now - age,
        state=state,
        closed=closed,
        last_activity=now - idle,
        history_events=history,
        replayed_events=replayed,
    )
