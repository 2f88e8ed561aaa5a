"""What the death of an entity is to the core, by the files that it left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from temporal_fleet.protocol.blackbox import VERSION, BlackBoxWriter
from temporal_fleet.protocol.helpers import WatchCluster
from temporal_fleet.protocol.process import ProcessIdentity
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.spec import ClusterSpec
from temporal_fleet.supervisor.core.estate import NOTHING, Estate
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.books_file import BooksFile
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children, Ended, EntityLife
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.dead import Dead
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.perform import Performer
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory
from temporal_fleet.supervisor.shell.stack_log import StackLog
from temporal_fleet.supervisor.shell.suspects import SuspectsFile
from tests.protocol.boxes import set_layout
from tests.shell.conftest import Context
from tests.shell.holdings import held_activity

LIFE = EntityLife("orders-1", 3)
KILLED = Ended(LIFE, 17, None, "SIGKILL")
NOT_ASKED: Any = None


@pytest.fixture
def run(tmp_path: Path) -> Iterator[OwnedRunDirectory]:
    run = OwnedRunDirectory(RunDirectory(tmp_path / "run"))
    yield run
    run.release()


@pytest.fixture
def performer(run: OwnedRunDirectory, context: Context) -> Iterator[Performer]:
    bus, control, children = Bus(context, run.paths), Control(context, run.paths), Children()
    announcer = Announcer(control, lambda: 1.0)
    helpers = Helpers(
        children,
        WatchCluster(cluster=ClusterSpec(), fleet="test"),
        None,
        log_format="json",
        run_dir=Path("/"),
        examined=NOT_ASKED,
    )
    yield Performer(
        run=run,
        books=BooksFile(run),
        children=children,
        helpers=helpers,
        bus=bus,
        requests=NOT_ASKED,
        evictions=Evictions(bus, control, announcer, Heartbeats()),
        dead=Dead(run, helpers, lambda: 1.0, lambda _pool: ""),
        stacks=StackLog(run.paths, children),
        suspects=SuspectsFile(run.paths.path),
        announcer=announcer,
        make_spec=NOT_ASKED,
        settings=NOT_ASKED,
        supervisor_pid=1,
    )
    bus.socket.close()
    control.close()


@pytest.fixture
def box(run: OwnedRunDirectory) -> BlackBoxWriter:
    process = ProcessIdentity(pid=17, start_time=1, boot_id="0" * 36)
    box = BlackBoxWriter(run.paths.blackbox(LIFE.entity, LIFE.incarnation), "orders-1", 3, process)
    box.write_identity("shop/orders-1.3@host")
    box.hold_activity(held_activity("pay"))
    return box


def test_a_box_that_cannot_be_read_now_is_no_empty_one(
    performer: Performer, run: OwnedRunDirectory, box: BlackBoxWriter, tmp_path: Path
) -> None:
    """The core has it recovered, by an agent that reads it again."""
    place = run.paths.blackbox(LIFE.entity, LIFE.incarnation)
    aside = place.rename(tmp_path / "aside")
    # A folder opens, and cannot be read.
    place.mkdir()
    died = performer.died(KILLED, LIFE)
    place.rmdir()
    aside.rename(place)
    assert died.estate == Estate(connected=True)
    again = performer.died(KILLED, LIFE)
    assert [activity.type for activity in again.estate.activities] == ["pay"]


def test_no_box_and_one_that_tells_nothing_leave_nothing(
    performer: Performer, run: OwnedRunDirectory
) -> None:
    assert performer.died(KILLED, LIFE).estate == NOTHING
    run.paths.blackbox(LIFE.entity, LIFE.incarnation).write_bytes(bytes(5000))
    assert performer.died(KILLED, LIFE).estate == NOTHING


def test_what_a_box_of_another_layout_holds_is_not_nothing(
    performer: Performer, run: OwnedRunDirectory, box: BlackBoxWriter
) -> None:
    set_layout(run.paths.blackbox(LIFE.entity, LIFE.incarnation), VERSION + 1)
    assert performer.died(KILLED, LIFE).estate == Estate(connected=True)
