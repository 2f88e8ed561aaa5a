"""Orders of recovery, as they reach a real process at the other end of a real pair."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from temporal_fleet.protocol.helpers import (
    ActivityVerdict,
    FindClosed,
    LogSettings,
    RecoverEntity,
    ToAgent,
    WatchCluster,
)
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.spec import ClusterSpec
from temporal_fleet.supervisor.core import actions, estate
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import AGENT
from temporal_fleet.supervisor.shell.children import Children, HelperLife
from temporal_fleet.supervisor.shell.dead import VERDICTS_LIMIT, Dead
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
LIFE = Life("orders-1", 3)
TASK_QUEUES = {"orders": "orders-queue"}.__getitem__


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> Iterator[OwnedRunDirectory]:
    run = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    yield run
    run.release()


@pytest.fixture
def helpers() -> Helpers:
    watch = WatchCluster(cluster=ClusterSpec(), fleet="test")
    nobody: Any = None
    return Helpers(Children(), watch, None, log_format="json", run_dir=Path("/"), examined=nobody)


@pytest.fixture
def heard(
    helpers: Helpers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], list[ToAgent]]]:
    """An agent is started; what it was told, as soon as that is so much."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr("temporal_fleet.supervisor.shell.helpers.AGENT_MODULE", "tests.shell.helpers.notes")
    assert helpers.start(AGENT, 1, None) == []

    def lines() -> list[bytes]:
        # Of the last one only a part may be there.
        return notes.read_bytes().split(b"\n")[:-1] if notes.exists() else []

    def told(count: int) -> list[ToAgent]:
        wait_until(lambda: len(lines()) >= count, what=f"{count} orders")
        return [msgspec.json.decode(line, type=ToAgent) for line in lines()]

    yield told
    helpers.stop(AGENT)
    os.wait()
    helpers.ended(HelperLife(AGENT, 1), 0, None)


def order(*verdicts: estate.ActivityVerdict) -> actions.Recover:
    return actions.Recover(LIFE, "SIGKILL", "killed by SIGKILL", verdicts, ("a-run",))


def test_the_agent_is_told_what_to_recover(
    run: OwnedRunDirectory, helpers: Helpers, heard: Callable[[int], list[ToAgent]]
) -> None:
    clock = Clock()
    dead = Dead(run, helpers, clock, TASK_QUEUES)
    dead.found(LIFE)
    # However often and late it is ordered: it died when it died.
    clock.now += 60.0
    dead.recover(
        order(
            estate.ActivityVerdict(b"a", retry_after=2.5), estate.ActivityVerdict(b"b", poison="it killed 3")
        )
    )
    log, watch, recover = heard(3)
    assert isinstance(log, LogSettings)
    assert isinstance(watch, WatchCluster)
    assert recover == RecoverEntity(
        entity="orders-1",
        incarnation=3,
        blackbox=str(run.paths.blackbox("orders-1", 3)),
        signal="SIGKILL",
        cause="killed by SIGKILL",
        died_at=1000.0,
        task_queue="orders-queue",
        left_alone=["a-run"],
        verdicts=[
            ActivityVerdict(task_token=b"b", poison="it killed 3"),
            ActivityVerdict(task_token=b"a", retry_after=2.5),
        ],
    )


def test_verdicts_that_no_frame_can_hold_are_told_as_far_as_there_is_room(
    run: OwnedRunDirectory, helpers: Helpers, heard: Callable[[int], list[ToAgent]]
) -> None:
    delayed = [estate.ActivityVerdict(bytes(1000), retry_after=float(number)) for number in range(1000)]
    poison = estate.ActivityVerdict(b"p" * 1000, poison="it killed 3")
    with capture_logs() as told:
        Dead(run, helpers, Clock(), TASK_QUEUES).recover(order(*delayed, poison))
    *_, recover = heard(3)
    assert isinstance(recover, RecoverEntity)
    assert recover.verdicts[0].poison == "it killed 3"
    assert 100 < len(recover.verdicts) < VERDICTS_LIMIT / 1000
    assert [line["rest"] for line in told] == [1001 - len(recover.verdicts)]


def test_without_an_agent_nobody_is_told(run: OwnedRunDirectory, helpers: Helpers) -> None:
    Dead(run, helpers, Clock(), TASK_QUEUES).recover(order())
    assert not helpers.tell_agent(FindClosed(entity="orders-1", incarnation=3, blackbox="", at_most=1))


def test_the_files_of_a_life_go_when_it_is_forgotten(run: OwnedRunDirectory, helpers: Helpers) -> None:
    files = [run.paths.blackbox("orders-1", 3), run.paths.stacks("orders-1", 3)]
    others = [run.paths.blackbox("orders-1", 4), run.paths.blackbox("orders-13", 3)]
    for file in (*files, *others):
        file.touch()
    dead = Dead(run, helpers, Clock(), TASK_QUEUES)
    dead.found(LIFE)
    assert all(file.exists() for file in files)
    dead.forget(LIFE)
    assert not any(file.exists() for file in files)
    assert all(file.exists() for file in others)
