"""What one recovery has achieved so far: the figures of Recovered."""

import logging
from dataclasses import dataclass, field

_logger = logging.getLogger(__name__)


@dataclass
class Tally:
    tasks_freed: int = 0
    queries_answered: int = 0
    activities_failed: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    freed_runs: set[str] = field(default_factory=set)
    """Run ids of the executions whose Workflow Task was set free."""

    def task_freed(self, run_id: str) -> None:
        self.tasks_freed += 1
        self.freed_runs.add(run_id)

    def failed(self, error: Exception) -> None:
        """By a fault of ours, or one that nobody thought of."""
        _logger.error("a part of a recovery failed; please report this", exc_info=error)
        self.problems.append(f"{type(error).__name__}: {error}")
