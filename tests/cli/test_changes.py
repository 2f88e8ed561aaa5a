"""`changes`, `drain`, `resume`, `quiet`: what is asked of the fleet, and how its answer looks.

The supervisor is the stand-in of wire.py; tests/system has the real one.
"""

import json
import re
from pathlib import Path

import msgspec
import pytest

from temporal_fleet.protocol.control import (
    Accepted,
    ChangeRequest,
    ChangesReply,
    ControlReply,
    ControlRequest,
    DrainPool,
    GetChanges,
    QuietEntity,
    Rejected,
    Reload,
    ResumePool,
)
from temporal_fleet.protocol.report import ChangeReport
from tests.cli.command import Command
from tests.cli.wire import answers, entity, pool, report, stand_in

SHOP = ("--fleet", "shop")


def change(id: int, command: str, state: str, message: str = "") -> ChangeReport:
    return ChangeReport(
        id=id, command=command, state=state, message=message, asked_at=1_700_000_000.5, seconds=3.2
    )


CHANGES = [
    change(2, "scale orders=4", "rolling", "starts orders-4"),
    change(1, "reload", "failed", "orders-2: no such plugin\nwhatever"),
]


def known(request: ControlRequest) -> ControlReply | None:
    match request:
        case GetChanges(change=None):
            return ChangesReply(id=request.id, changes=CHANGES)
        case GetChanges(change=1):
            return ChangesReply(id=request.id, changes=CHANGES[1:])
        case GetChanges():
            return Rejected(id=request.id, problems=["no change 9; there are 1 to 2"])
    return None


def test_changes_as_a_table_and_as_json(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, answers(report(), known)):
        table = command("changes", *SHOP)
        one = command("changes", "1", *SHOP)
        as_json = command("changes", "--json", *SHOP)
    assert (table.status, table.err) == (0, ""), table
    title, newest, oldest = table.out.splitlines()
    assert title.split("  ")[0] == "id"
    assert re.match(r" 2  \d\d:\d\d:\d\d\.500 +3s  scale orders=4 +rolling +starts orders-4$", newest)
    assert oldest.endswith("failed   orders-2: no such plugin\\nwhatever"), "a line each"
    assert [line.split()[0] for line in one.out.splitlines()] == ["id", "1"]
    found = json.loads(as_json.out)["changes"]
    assert [(each["id"], each["state"]) for each in found] == [(2, "rolling"), (1, "failed")]


def test_a_change_that_there_is_not(command: Command, run_dir: Path) -> None:
    with stand_in(run_dir, answers(report(), known)):
        refused = command("changes", "9", *SHOP)
    assert refused.status == 1, refused
    assert refused.err == "Error: the fleet refused:\nno change 9; there are 1 to 2\n"


def test_a_fleet_of_which_nothing_was_asked(command: Command, run_dir: Path) -> None:
    def none(request: ControlRequest) -> ControlReply | None:
        return ChangesReply(id=request.id, changes=[])

    with stand_in(run_dir, answers(report(), none)):
        told = command("changes", *SHOP)
        as_json = command("changes", "--json", *SHOP)
    assert (told.status, told.out) == (0, ""), told
    assert "nothing was asked of this fleet yet" in told.err
    assert json.loads(as_json.out) == {"changes": []}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("drain", "orders"), DrainPool(id="", pool="orders", wait=True)),
        (("resume", "orders", "--no-wait"), ResumePool(id="", pool="orders")),
        (("quiet", "orders-1"), QuietEntity(id="", entity="orders-1", wait=True)),
        (
            ("reload", "--force", "orders", "--force", "billing"),
            Reload(id="", force=["orders", "billing"], wait=True),
        ),
    ],
)
def test_what_is_asked_of_the_fleet(
    command: Command, run_dir: Path, words: tuple[str, ...], asked: ChangeRequest
) -> None:
    def accept(request: ControlRequest) -> ControlReply | None:
        if request != msgspec.structs.replace(asked, id=request.id):
            return Rejected(id=request.id, problems=[f"not {request}"])
        return Accepted(id=request.id, message="so be it", generation=4, change=7)

    there = report(pools=[pool(), pool("billing")], entities=[entity()])
    with stand_in(run_dir, answers(there, accept)):
        done = command(*words, *SHOP)
    assert done.status == 0, done
    assert "so be it" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("drain", "nobody"), "no pool is named nobody; there are: orders"),
        (("resume", "orders-1"), "no pool is named orders-1; there are: orders"),
        (("quiet", "orders"), "no entity is named orders; there are: orders-1"),
        (("reload", "--force", "nobody"), "no pool is named nobody; there are: orders"),
    ],
)
def test_a_name_that_nothing_has_is_misuse(
    command: Command, run_dir: Path, words: tuple[str, ...], told: str
) -> None:
    with stand_in(run_dir, answers(report(pools=[pool()], entities=[entity()]))):
        refused = command(*words, *SHOP)
    assert refused.status == 2, refused
    assert told in refused.err
