"""Who polls, folded from such updates of the SDK's metrics as a Worker was seen to record."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.runtime import BUFFERED_METRIC_KIND_GAUGE

from temporal_fleet.entity.metrics import EntityMetrics
from temporal_fleet.entity.vitals import LONGEST_POLL, Vitals
from temporal_fleet.protocol.messages import Slots

KINDS = {"workflow_task": 0.0, "activity_task": 0.0}


class Followed:
    """Vitals, a clock, and what the SDK would have recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.now = 1000.0
        self.vitals = Vitals("orders", EntityMetrics(folder / "metrics", "orders-1", 1))
        self.updates: list[Any] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(self.vitals, "_retrieve", self._taken)

    def _taken(self) -> list[Any]:
        taken, self.updates = self.updates, []
        return taken

    def poll(self, kind: str, *numbers: int, task_queue: str = "orders") -> None:
        for number in numbers:
            self._record("temporal_num_pollers", number, poller_type=kind, task_queue=task_queue)

    def slots(self, worker: str, used: int, free: int | None) -> None:
        attributes = {"worker_type": worker, "task_queue": "orders"}
        self._record("temporal_worker_task_slots_used", used, **attributes)
        if free is not None:
            self._record("temporal_worker_task_slots_available", free, **attributes)

    def come_back(self, operation: str) -> None:
        self._record("temporal_long_request_latency", 1, operation=operation)

    def unpolled(self, later: float = 0.0) -> tuple[str, float]:
        self.vitals.drain()
        self.now += later
        return self.vitals.unpolled(KINDS)

    def _record(self, name: str, value: int, **attributes: str) -> None:
        metric = SimpleNamespace(name=name, description="", unit="", kind=BUFFERED_METRIC_KIND_GAUGE)
        self.updates.append(SimpleNamespace(metric=metric, value=value, attributes=attributes))


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Followed:
    """One that polls for both kinds, and has slots."""
    made = Followed(monkeypatch, tmp_path)
    made.slots("WorkflowWorker", 0, 100)
    made.slots("ActivityWorker", 0, 2)
    made.poll("sticky_workflow_task", 1)
    made.poll("workflow_task", 1)
    made.poll("activity_task", 1)
    return made


def test_there_is_one_of_each_kind(followed: Followed) -> None:
    assert not followed.vitals.polls(frozenset(KINDS))
    assert followed.unpolled(later=60.0) == ("", 0.0)
    assert followed.vitals.polls(frozenset(KINDS))
    assert followed.vitals.pollers == 3


def test_slots_are_told_as_the_sdk_tells_them(followed: Followed) -> None:
    assert followed.vitals.usage("activity_task") is None
    followed.slots("WorkflowWorker", 3, None)
    followed.vitals.drain()
    assert followed.vitals.usage("workflow_task") == Slots(3, 100)
    assert followed.vitals.usage("activity_task") == Slots(0, 2)
    assert followed.vitals.usage("nexus_task") is None


def test_none_though_slots_are_free_is_told_with_its_age(followed: Followed) -> None:
    followed.poll("activity_task", 0)
    assert followed.unpolled(later=5.0) == ("no activity_task poller", 5.0)
    assert followed.unpolled(later=5.0) == ("no activity_task poller", 10.0)
    assert followed.vitals.unpolled({"workflow_task": 0.0}) == ("", 0.0)
    followed.poll("activity_task", 1)
    assert followed.unpolled(later=5.0) == ("", 0.0)


def test_a_poller_that_comes_and_goes_with_each_task_is_there(followed: Followed) -> None:
    for _ in range(20):
        followed.poll("activity_task", 0, 1, 0)
        assert followed.unpolled(later=1.0)[1] <= 1.0


def test_a_pause_that_its_own_rate_limit_makes_is_none(followed: Followed) -> None:
    followed.poll("activity_task", 0)
    followed.unpolled(later=60.0)
    assert followed.vitals.unpolled({"activity_task": 100.0}) == ("", 0.0)
    assert followed.vitals.unpolled({"activity_task": 50.0}) == ("no activity_task poller", 10.0)


def test_one_kind_of_workflow_pollers_is_enough(followed: Followed) -> None:
    followed.poll("workflow_task", 0)
    assert followed.unpolled(later=60.0) == ("", 0.0)
    followed.poll("sticky_workflow_task", 0)
    assert followed.unpolled(later=60.0) == ("no workflow_task poller", 60.0)


def test_nobody_polls_while_each_slot_is_taken(followed: Followed) -> None:
    followed.slots("ActivityWorker", 2, 0)
    followed.poll("activity_task", 0)
    assert followed.unpolled(later=60.0) == ("", 0.0)
    assert followed.vitals.slots("activity_task") == 2
    followed.slots("ActivityWorker", 1, 1)
    assert followed.unpolled(later=1.0) == ("no activity_task poller", 1.0)
    assert followed.vitals.slots("activity_task") is None


def test_slots_without_a_number_are_free_when_none_is_used(followed: Followed) -> None:
    followed.poll("nexus_task", 1, 0)
    followed.slots("NexusWorker", 1, None)
    followed.unpolled(later=60.0)
    assert followed.vitals.unpolled({"nexus_task": 0.0}) == ("", 0.0)
    followed.slots("NexusWorker", 0, None)
    followed.unpolled(later=60.0)
    assert followed.vitals.unpolled({"nexus_task": 0.0}) == ("no nexus_task poller", 60.0)


def test_polls_of_which_none_comes_back_in_time_are_none(followed: Followed) -> None:
    followed.unpolled()
    followed.now += LONGEST_POLL - 1.0
    followed.come_back("PollWorkflowTaskQueue")
    assert followed.unpolled(later=11.0) == ("no activity_task poll came back in time", 10.0)
    followed.come_back("PollActivityTaskQueue")
    assert followed.unpolled() == ("", 0.0)


def test_what_was_lost_of_the_metrics_is_held_against_nobody(followed: Followed) -> None:
    followed.poll("activity_task", 0)
    assert followed.unpolled(later=5.0)[0]
    followed.vitals.dropped(3)
    assert followed.unpolled(later=900.0) == ("", 0.0)
    followed.poll("activity_task", 0)
    assert followed.unpolled(later=5.0) == ("no activity_task poller", 5.0)


def test_another_task_queue_is_not_ours(followed: Followed) -> None:
    followed.poll("activity_task", 0, task_queue="commands")
    assert followed.unpolled(later=60.0) == ("", 0.0)
