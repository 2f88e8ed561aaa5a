"""`evict`: what is asked of the supervisor, and how its answer is told. A stand-in answers; real evictions
are in tests/system."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from temporal_fleet.protocol.control import (
    ControlReply,
    ControlRequest,
    EvictExecutions,
    EvictionReply,
    GetStatus,
    Progress,
    Rejected,
    StatusReply,
)
from temporal_fleet.protocol.report import EvictionReport, StatusReport
from tests.cli.boxes import box, cached
from tests.cli.command import Command
from tests.cli.wire import Answer, answers, entity, pool, report, stand_in

SHOP = ("--fleet", "shop")
MIB = 1 << 20


@pytest.fixture
def fleet(run_dir: Path) -> StatusReport:
    made = report(pools=[pool(desired=2, ready=2)], entities=[entity(), entity("orders-2")])
    return msgspec.structs.replace(made, fleet=msgspec.structs.replace(made.fleet, run_dir=str(run_dir)))


def evicted(name: str, number: int, **rest: object) -> EvictionReport:
    values: dict[str, object] = {
        "passed_over": 0,
        "cached": 7,
        "freed_bytes": 12 * MIB,
        "pss_bytes": 20 * MIB,
        **rest,
    }
    return msgspec.convert({"entity": name, "evicted": number, **values}, EvictionReport)


def replying(fleet: StatusReport, *reports: EvictionReport) -> Answer:
    def reply(request: ControlRequest) -> ControlReply | None:
        return EvictionReply(id=request.id, entities=list(reports))

    return answers(fleet, reply)


def checking(fleet: StatusReport, check: Callable[[EvictExecutions], bool]) -> Answer:
    """Evicts nothing, and refuses what was not to be asked."""

    def reply(request: ControlRequest) -> ControlReply | None:
        assert isinstance(request, EvictExecutions)
        if not check(request):
            return Rejected(id=request.id, problems=[f"not as expected: {request}"])
        return EvictionReply(id=request.id, entities=[evicted("orders-1", len(request.run_ids))])

    return answers(fleet, reply)


@pytest.mark.parametrize(
    ("words", "idle", "keep"),
    [
        (("--all",), 0.0, 0),
        (("--idle", "1m30s"), 90.0, 0),
        (("--keep", "100"), 0.0, 100),
        (("--keep", "0"), 0.0, 0),
        (("--idle", "60s", "--keep", "3"), 60.0, 3),
    ],
    ids=str,
)
def test_what_is_asked(
    command: Command, run_dir: Path, fleet: StatusReport, words: tuple[str, ...], idle: float, keep: int
) -> None:
    def check(request: EvictExecutions) -> bool:
        return request == EvictExecutions(id=request.id, target="orders", idle=idle, keep=keep)

    with stand_in(run_dir, checking(fleet, check)):
        done = command("evict", "orders", *words, *SHOP)
    assert done.status == 0, done


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say which executions: --idle 60s"),
        (("--all", "--keep", "3"), "give one of them"),
        (("--all", "--run", "r"), "give one of them"),
        (("--idle", "60s", "--run", "r"), "give one of them"),
        (("--idle", "60"), '"60s" for seconds'),
        (("--idle", "1 min"), 'written "1m"'),
        (("--keep", "-1"), "-1 is not in the range"),
        (("--keep", "many"), "not a valid integer"),
        (("--run", ""), "cannot be the id of a run"),
        (("--run", "x" * 257), "cannot be the id of a run"),
    ],
)
def test_a_choice_that_cannot_be_is_misuse(
    command: Command, run_dir: Path, words: tuple[str, ...], told: str
) -> None:
    # Nobody is there to be asked.
    misused = command("evict", "orders", *words, *SHOP)
    assert (misused.status, misused.out) == (2, ""), misused
    assert told in misused.err


def test_a_name_that_nothing_has_is_misuse(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    with stand_in(run_dir, answers(fleet)):
        misused = command("evict", "nobody", "--all", *SHOP)
    assert misused.status == 2, misused
    assert "no pool or entity is named nobody; there are: orders, orders-1, orders-2" in misused.err


def test_the_answer_is_a_table_with_a_total(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    def reply(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, GetStatus):
            yield StatusReply(id=request.id, report=fleet)
            return
        yield Progress(id=request.id, message="orders-1: evicted 1200, 7 remain (1 of 2 entities)")
        grown = evicted("orders-2", 1, passed_over=2, freed_bytes=-MIB)
        yield EvictionReply(id=request.id, entities=[evicted("orders-1", 1200), grown])

    with stand_in(run_dir, reply):
        done = command("evict", "orders", "--all", *SHOP)
    assert done.status == 0, done
    assert done.err.splitlines() == [
        "evicts from orders, and waits until the memory has come back",
        "orders-1: evicted 1200, 7 remain (1 of 2 entities)",
    ]
    title, first, second, nothing, total = done.out.splitlines()
    assert title.split() == ["entity", "evicted", "passed", "over", "remain", "came", "back", "PSS"]
    assert re.fullmatch(r"orders-1 +1200 +0 +7 +12\.0 MiB +20\.0 MiB", first)
    assert re.fullmatch(r"orders-2 +1 +2 +7 +-1\.0 MiB +20\.0 MiB", second)
    assert (nothing, total) == ("", "evicted 1201 executions from 2 entities; 11.0 MiB came back")
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_an_entity_that_grew_meanwhile_gave_nothing_back(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    with stand_in(run_dir, replying(fleet, evicted("orders-1", 1, freed_bytes=-MIB))):
        done = command("evict", "orders-1", "--all", *SHOP)
    assert done.out.endswith("\nevicted 1 execution from 1 entity; no memory came back\n"), done


def test_the_answer_as_json(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    with stand_in(run_dir, replying(fleet, evicted("orders-1", 3))):
        done = command("evict", "orders-1", "--keep", "9", "--json", *SHOP)
    assert done.status == 0, done
    assert json.loads(done.out) == {"entities": [msgspec.to_builtins(evicted("orders-1", 3))]}


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_an_entity_that_does_not_answer_fails_the_command(
    command: Command, run_dir: Path, fleet: StatusReport, form: tuple[str, ...]
) -> None:
    died = evicted("orders-2", 0, problem="it died before it answered")
    with stand_in(run_dir, replying(fleet, evicted("orders-1", 3), died)):
        done = command("evict", "orders", "--all", *form, *SHOP)
    assert done.status == 1, done
    assert "\norders-2: it died before it answered\n" in done.err
    if not form:
        assert re.search(r"^orders-2( +-){5}$", done.out, re.MULTILINE), done
        assert "evicted 3 executions from 1 entity; " in done.out


def test_runs_by_name_go_to_all_entities(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    box(run_dir, "orders-1", cached("a", run_id="r1"))
    box(run_dir, "orders-2", cached("b", run_id="r2"))

    def check(request: EvictExecutions) -> bool:
        return request == EvictExecutions(id=request.id, target="orders", run_ids=["r2", "r1"])

    with stand_in(run_dir, checking(fleet, check)):
        done = command("evict", "orders", "--run", "r2", "--run", "r1", "--run", "r2", *SHOP)
    assert done.status == 0, done


def test_a_run_that_is_nowhere_fails_the_command(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    box(run_dir, "orders-1", cached("a", run_id="r1"), cached("b", run_id="r2"))
    box(run_dir, "orders-2", cached("a", run_id="r1"))
    some = [evicted("orders-1", 1, passed_over=1), evicted("orders-2", 1)]
    with stand_in(run_dir, replying(fleet, *some)):
        done = command("evict", "orders", "--run", "r1", "--run", "r2", "--run", "r3", *SHOP)
    assert done.status == 1, done
    assert "\nrun r3: in no cache of orders\n" in done.err
    assert "r1" not in done.err
    assert "temporal-fleet executions orders --fleet shop" in done.err
    assert "evicted 2 executions" in done.out


def test_a_run_that_is_running_fails_the_command(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    box(run_dir, "orders-1", cached("a", run_id="r1"))
    with stand_in(run_dir, replying(fleet, evicted("orders-1", 0, passed_over=1))):
        done = command("evict", "orders", "--run", "r1", *SHOP)
        others = command("evict", "orders", "--all", *SHOP)
    assert done.status == 1, done
    assert "orders-1: 1 of these runs not evicted: running" in done.err
    # Nobody asked for that one.
    assert others.status == 0, others


def test_a_run_that_the_black_box_had_no_room_for_may_be_evicted(
    command: Command, run_dir: Path, fleet: StatusReport
) -> None:
    box(run_dir, "orders-1", cached("a", run_id="r1"))
    with stand_in(run_dir, replying(fleet, evicted("orders-1", 2))):
        done = command("evict", "orders", "--run", "r1", "--run", "r3", *SHOP)
    assert done.status == 0, done


def test_a_refusal_is_told(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    def reject(request: ControlRequest) -> ControlReply | None:
        return Rejected(id=request.id, problems=["no entity of pool orders is ready: none holds executions"])

    with stand_in(run_dir, answers(fleet, reject)):
        refused = command("evict", "orders", "--all", *SHOP)
    assert (refused.status, refused.out) == (1, ""), refused
    assert "none holds executions" in refused.err


def test_ctrl_c_says_that_the_eviction_goes_on(command: Command, run_dir: Path, fleet: StatusReport) -> None:
    def silent(request: ControlRequest) -> Iterator[ControlReply]:
        if isinstance(request, GetStatus):
            yield StatusReply(id=request.id, report=fleet)
        else:
            yield Progress(id=request.id, message="asked")

    with stand_in(run_dir, silent), command.running("evict", "orders", "--all", *SHOP) as waiting:
        assert waiting.stderr is not None
        assert [waiting.stderr.readline() for _ in range(2)][1] == "asked\n"
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert "the eviction goes on by itself" in err
    assert "temporal-fleet executions orders --fleet shop" in err
