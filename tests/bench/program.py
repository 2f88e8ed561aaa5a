"""The Worker Programs that are measured."""

from dataclasses import dataclass
from pathlib import Path

from temporal_fleet.demo import drive


@dataclass(frozen=True)
class Program:
    module: str
    workflow: str
    activity: str
    path: Path
    task_queue: str


def shop() -> Program:
    folder = Path(drive.__file__).parent
    return Program("shop.orders", "PlaceOrder", "charge_card", folder, "bench-orders")


def heavy() -> Program:
    return Program("heavy", "Work", "work", Path(__file__).parent / "programs", "bench-heavy")


def losses(task_queue: str) -> Program:
    workflows, activities = "Waiting,SlowTask,Errand,Hoard", "hold"
    return Program("loss", workflows, activities, Path(__file__).parent / "programs", task_queue)


def ledgers(task_queue: str) -> Program:
    return Program("ledger", "Ledger", "", Path(__file__).parent.parent / "programs", task_queue)
