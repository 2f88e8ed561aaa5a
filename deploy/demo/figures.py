"""What one run of the demo measured. Values only; each says what exactly was measured."""

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recovery:
    entity: str
    pid: int
    seconds: float
    """From the instant before SIGKILL is sent to the `ready` of the next incarnation, as the time of the
    fleet's own event says: validated by the Cluster and polling."""


@dataclass(frozen=True)
class Scaling:
    pool: str
    before: int
    after: int
    seconds: float
    """From calling the command, its start included, until `status` counts the last entity as ready."""


@dataclass
class Figures:
    ordered: int
    completed: int = 0
    trade_s: float = 0.0
    """From placing the first order to the end of the last one."""
    waits_s: list[float] = field(default_factory=list)
    """For each completed order, from its payment to its receipt."""
    restarts: int = 0
    recovery: Recovery | None = None
    scaling: Scaling | None = None

    def rows(self) -> list[tuple[str, str]]:
        rows = [
            ("orders completed", f"{self.completed} of {self.ordered}"),
            ("throughput", f"{self.completed / self.trade_s:.1f} orders/s" if self.trade_s else "-"),
        ]
        if self.waits_s:
            median, slowest = statistics.median(self.waits_s), max(self.waits_s)
            rows.append(("payment to receipt", f"median {median:.1f} s, slowest {slowest:.1f} s"))
        rows.append(("entities restarted", str(self.restarts)))
        if self.recovery:
            killed = self.recovery
            rows.append(
                (
                    "time to recover",
                    f"{killed.seconds * 1000:.0f} ms from SIGKILL of {killed.entity} (pid {killed.pid}) "
                    "to its replacement polling",
                )
            )
        if self.scaling:
            scaled = self.scaling
            rows.append(
                ("scaled", f"{scaled.pool} from {scaled.before} to {scaled.after} in {scaled.seconds:.1f} s")
            )
        return rows
