"""What operators are told of the changes that they ask for, over the real socket, and the config in force
meanwhile. What the core makes of a change is told here by the test."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from temporal_fleet.protocol.codec import Decoder, encode
from temporal_fleet.protocol.control import (
    Accepted,
    ChangesReply,
    ControlReply,
    ControlRequest,
    DrainPool,
    Failed,
    GetChanges,
    GetStatus,
    Progress,
    QuietEntity,
    Rejected,
    Reload,
    Restart,
    ResumePool,
    Scale,
    Upgrade,
)
from temporal_fleet.protocol.report import StepReport
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.config.reader import load
from temporal_fleet.supervisor.core import actions, events
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.core.kinds import EventKind
from temporal_fleet.supervisor.core.ledger import OrderState, opened, passed
from temporal_fleet.supervisor.core.plan import Step
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children
from temporal_fleet.supervisor.shell.configuration import Configuration
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.examinations import Examinations
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.requests import Requests
from temporal_fleet.supervisor.shell.tally import Tally
from temporal_fleet.supervisor.shell.upgrade import Upgrade as Upgrading
from tests.shell.conftest import Dealer
from tests.waiting import wait_until

NOT_ASKED: Any = None
FLEET = Fleet(embedded=False)


class Desk:
    """A supervisor's requests, and an operator who makes them."""

    def __init__(self, file: Path, paths: RunDirectory, bus: Bus, control: Control, dealer: Dealer) -> None:
        self.file = file
        self.write(drain=1)
        self.configuration = Configuration(
            load(file, {}), {}, cluster_address=None, supervisor_pid=1, log_format="json"
        )
        children = Children()
        helpers = Helpers(
            children,
            self.configuration.watch(),
            None,
            log_format="json",
            run_dir=Path("/"),
            examined=NOT_ASKED,
        )
        evictions = Evictions(bus, control, Announcer(control, lambda: 1.0), Heartbeats())
        upgrade = Upgrading(control, children, self.configuration)
        self.requests = Requests(
            control,
            self.configuration,
            helpers,
            children,
            evictions,
            Examinations(control),
            upgrade,
            paths,
            report=NOT_ASKED,
            tally=Tally(),
        )
        self._control = control
        self._operator = dealer(paths.control, "an operator")
        self._decoder = Decoder[ControlReply](ControlReply)

    def write(self, *, drain: int, address: str = "localhost:7233") -> None:
        """A config that is known by its `drain`."""
        self.file.write_text(
            f'[cluster]\naddress = "{address}"\n[pools.orders]\nprogram = "shop"\n'
            f'task_queue = "orders"\ndrain = "{drain}s"\n'
        )

    def ask(self, request: ControlRequest, fleet: Fleet = FLEET) -> list[events.Event]:
        self._operator.send(encode(request))
        (asked,) = wait_until(lambda: list(self._control.receive()), what="the request")
        return self.requests.receive(fleet, asked, 100.0)

    def hear(self) -> ControlReply:
        assert self._operator.poll(5000), "no reply came"
        return self._decoder.decode(self._operator.recv())

    def hears_nothing(self) -> bool:
        """Whether all replies were heard: the next one is that to another request."""
        self.ask(GetChanges(id="last"))
        return self.hear().id == "last"

    @property
    def drain(self) -> float:
        """Of an entity that is forked now."""
        return self.configuration.entity_spec("orders", "orders-1", 1, ()).drain


@pytest.fixture
def desk(tmp_path: Path, paths: RunDirectory, bus: Bus, control: Control, dealer: Dealer) -> Desk:
    return Desk(tmp_path / "fleet.toml", paths, bus, control, dealer)


def reload(desk: Desk, drain: int, *, wait: bool = False) -> str:
    """The core's token of a reload to another config."""
    desk.write(drain=drain)
    (event,) = desk.ask(Reload(id=f"to {drain}", wait=wait))
    assert isinstance(event, events.ReloadRequested)
    assert event.pools["orders"].drain == drain
    return event.request


def test_who_does_not_wait_is_answered_when_the_change_is_in_force(desk: Desk) -> None:
    token = reload(desk, 2)
    assert desk.drain == 1, "nothing is in force before the core says so"
    desk.requests.tell(actions.Tell(token, "start orders-3", (Step("start", "orders-3", "more entities"),)))
    desk.requests.tell(actions.Tell(token, "importing shop"))
    desk.requests.accept(actions.Accept(token, "reloaded", generation=2, change=7))
    assert desk.drain == 2
    steps = [StepReport(action="start", target="orders-3", reason="more entities")]
    assert desk.hear() == Progress(id="to 2", message="start orders-3", steps=steps)
    assert desk.hear() == Progress(id="to 2", message="importing shop")
    assert desk.hear() == Accepted(id="to 2", message="reloaded", generation=2, change=7)
    desk.requests.converged(actions.Converged(token, "done", 7))
    assert desk.hears_nothing()


def test_who_waits_is_told_of_all_until_the_fleet_has_converged(desk: Desk) -> None:
    token = reload(desk, 2, wait=True)
    desk.requests.accept(actions.Accept(token, "reloaded", generation=2, change=7))
    assert desk.hear() == Progress(id="to 2", message="reloaded")
    desk.requests.tell(actions.Tell(token, "orders-1 ready"))
    assert desk.hear() == Progress(id="to 2", message="orders-1 ready")
    desk.requests.converged(actions.Converged(token, "done", 7))
    assert desk.hear() == Accepted(id="to 2", message="done", generation=2, change=7)


def test_what_becomes_of_entities_meanwhile_is_told_to_who_waits(desk: Desk) -> None:
    def happens(kind: EventKind, level: actions.Level, message: str) -> None:
        desk.requests.happened(actions.Emit(kind, level, message, "orders", "orders-1", 3))

    token = reload(desk, 2, wait=True)
    happens("entity.ready", actions.Level.INFO, "ready before anything was in force")
    desk.requests.accept(actions.Accept(token, "reloaded", generation=2, change=7))
    happens("entity.forked", actions.Level.DEBUG, "forked as PID 17")
    happens("memory.evicted", actions.Level.INFO, "nothing to do with it")
    happens("entity.ready", actions.Level.INFO, "ready 80 ms after its fork")
    desk.requests.converged(actions.Converged(token, "done", 7))
    happens("entity.stopped", actions.Level.INFO, "left, when nobody waits any more")
    said = [desk.hear() for _ in range(3)]
    assert said[1] == Progress(id="to 2", message="orders-1: ready 80 ms after its fork")
    assert isinstance(said[2], Accepted)
    assert desk.hears_nothing()


def test_a_change_that_is_taken_back_takes_its_config_along(desk: Desk) -> None:
    token = reload(desk, 2, wait=True)
    desk.requests.accept(actions.Accept(token, "reloaded", generation=2, change=7))
    desk.requests.failed(actions.Failed(token, ("reload failed: why", "as before"), 7, restored=1))
    assert desk.drain == 1
    assert isinstance(desk.hear(), Progress)
    assert desk.hear() == Failed(
        id="to 2", problems=["reload failed: why", "as before"], change=7, restored=True
    )


def test_a_change_that_a_newer_one_overtook_leaves_that_ones_config(desk: Desk) -> None:
    first, second = reload(desk, 2, wait=True), reload(desk, 3)
    desk.requests.accept(actions.Accept(first, "reloaded", generation=2, change=7))
    desk.requests.failed(actions.Failed(first, ("superseded by change 8: reload",), 7))
    desk.requests.accept(actions.Accept(second, "reloaded", generation=3, change=8))
    assert desk.drain == 3
    assert isinstance(desk.hear(), Progress)
    assert desk.hear() == Failed(id="to 2", problems=["superseded by change 8: reload"], change=7)


def test_two_changes_are_taken_back_at_once_and_later_ones_go_on_from_there(desk: Desk) -> None:
    first, second = reload(desk, 2), reload(desk, 3)
    desk.requests.accept(actions.Accept(first, "", generation=2))
    desk.requests.accept(actions.Accept(second, "", generation=3))
    desk.requests.failed(actions.Failed(second, ("no",), 8, restored=1))
    assert desk.drain == 1
    third, restart = reload(desk, 4), "a restart"
    desk.requests.accept(actions.Accept(restart, "", generation=1))
    desk.requests.converged(actions.Converged(restart, "", 9))
    desk.requests.accept(actions.Accept(third, "", generation=4))
    assert desk.drain == 4
    desk.requests.failed(actions.Failed(third, ("no",), 10, restored=1))
    assert desk.drain == 1


def test_what_converged_is_what_a_later_change_falls_back_to(desk: Desk) -> None:
    first, second = reload(desk, 2), reload(desk, 3)
    desk.requests.accept(actions.Accept(first, "", generation=2))
    desk.requests.converged(actions.Converged(first, "", 7))
    desk.requests.accept(actions.Accept(second, "", generation=3))
    desk.requests.failed(actions.Failed(second, ("no",), 8, restored=2))
    assert desk.drain == 2


def test_the_agent_watches_the_cluster_of_the_config_in_force(desk: Desk) -> None:
    desk.write(drain=1, address="elsewhere:7233")
    (event,) = desk.ask(Reload(id="r"))
    assert isinstance(event, events.ReloadRequested)
    desk.requests.accept(actions.Accept(event.request, "", generation=2))
    assert desk.configuration.watch().cluster.address == "elsewhere:7233"
    desk.requests.failed(actions.Failed(event.request, ("no",), 7, restored=1))
    assert desk.configuration.watch().cluster.address == "localhost:7233"


def test_a_file_with_errors_is_refused_with_every_problem(desk: Desk) -> None:
    desk.file.write_text("[pools.orders]\nentities = 'many'\n")
    (event,) = desk.ask(Reload(id="r", wait=True))
    assert isinstance(event, events.FileRefused)
    assert any("pools.orders.entities" in problem for problem in event.problems)
    desk.requests.reject(event.request, event.problems)
    assert desk.hear() == Rejected(id="r", problems=list(event.problems))


def test_a_host_that_cannot_be_asked_now_refuses_a_reload(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when there are no more processes, to try what a pool's user may do."""

    def refuses() -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("temporal_fleet.supervisor.shell.configuration.this_host", refuses)
    (refused,) = desk.ask(Reload(id="r", wait=False))
    assert isinstance(refused, events.FileRefused)
    assert "cannot be checked now: [Errno 11] Resource temporarily unavailable" in refused.problems[0]


def test_an_upgrade_without_a_place_for_what_the_trial_says_is_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert desk.ask(Upgrade(id="u")) == []
    refused = desk.hear()
    assert isinstance(refused, Rejected)
    assert "the new code cannot be tried: [Errno 2] No usable temporary directory" in refused.problems[0]


def test_a_request_that_fails_costs_the_supervisor_nothing(desk: Desk) -> None:
    # There is nobody here who makes a report.
    assert desk.ask(GetStatus(id="s", memory=False)) == []
    refused = desk.hear()
    assert isinstance(refused, Rejected)
    assert refused.problems[0].startswith("GetStatus failed: TypeError: ")


def test_a_signal_has_nobody_to_reply_to(desk: Desk) -> None:
    desk.write(drain=2)
    (event,) = desk.requests.reload()
    assert isinstance(event, events.ReloadRequested)
    desk.requests.accept(actions.Accept(event.request, "reloaded", generation=2))
    desk.requests.failed(actions.Failed(event.request, ("no",), 7, restored=1))
    assert desk.drain == 1
    assert desk.hears_nothing()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (Restart(id="r", target="orders-1"), lambda token: events.RestartRequested(token, "orders-1")),
        (DrainPool(id="r", pool="orders"), lambda token: events.DrainRequested(token, "orders")),
        (ResumePool(id="r", pool="orders"), lambda token: events.ResumeRequested(token, "orders")),
        (QuietEntity(id="r", entity="orders-1"), lambda token: events.QuietRequested(token, "orders-1")),
    ],
)
def test_what_the_core_is_asked(
    desk: Desk, asked: ControlRequest, told: Callable[[str], events.ChangeRequest]
) -> None:
    (event,) = desk.ask(asked)
    assert event == told("1")
    desk.requests.reject("1", ("no",))
    assert desk.hear() == Rejected(id="r", problems=["no"])


def test_pools_are_forced_by_name(desk: Desk) -> None:
    (event,) = desk.ask(Reload(id="r", force=["orders"]))
    assert isinstance(event, events.ReloadRequested)
    assert event.forced == ("orders",)


def test_sizes_of_a_fleet_with_a_file_stand_in_the_file(desk: Desk) -> None:
    assert desk.ask(Scale(id="r", pools={"orders": 3})) == []
    refused = desk.hear()
    assert isinstance(refused, Rejected)
    assert str(desk.file) in refused.problems[0]


def test_the_ledger_can_be_asked_for(desk: Desk) -> None:
    ledger = opened((), "1", "reload", 40.0)
    ledger = passed(ledger, 1, OrderState.REJECTED, "shop: no such module", 43.0)
    ledger = opened(ledger, "2", "drain orders", 90.0)
    fleet = Fleet(embedded=False, changes=ledger)
    desk.ask(GetChanges(id="all"), fleet)
    everything = desk.hear()
    assert isinstance(everything, ChangesReply)
    assert [(each.id, each.command, each.state, each.seconds) for each in everything.changes] == [
        (2, "drain orders", "importing", 10.0),
        (1, "reload", "rejected", 3.0),
    ]
    desk.ask(GetChanges(id="one", change=1), fleet)
    one = desk.hear()
    assert isinstance(one, ChangesReply)
    assert [each.message for each in one.changes] == ["shop: no such module"]
    desk.ask(GetChanges(id="none", change=3), fleet)
    assert desk.hear() == Rejected(id="none", problems=["no change 3; there are 1 to 2"])
