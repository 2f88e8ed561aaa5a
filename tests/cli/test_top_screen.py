"""What `top` paints, rendered at sizes from a watch to a wall."""

import itertools

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from temporal_fleet.protocol.report import EventReport, SlotsReport, StatusReport
from temporal_fleet.supervisor.cli.top_rates import Rates
from temporal_fleet.supervisor.cli.top_screen import Picture, furthest, paint
from temporal_fleet.supervisor.cli.top_view import Act, Mode, Order, View
from tests.cli.wire import entity, pool, report

SIZES = [(80, 24), (200, 60), (40, 10), (20, 4), (10, 1)]
EVENT = EventReport(
    time=1.0,
    kind="entity.died",
    level="error",
    message="killed\nby SIGKILL",
    entity="orders-1",
    incarnation=2,
)


def fleet(entities: int, pools: int = 1) -> StatusReport:
    return report(
        pools=[pool(f"pool{number}", desired=entities) for number in range(pools)],
        entities=[entity(f"pool{number % pools}-{number}") for number in range(entities)],
    )


def painted(picture: Picture, view: View, width: int, height: int) -> list[str]:
    console = Console(
        width=width, height=height, color_system=None, highlight=False, emoji=False, markup=False
    )
    with console.capture() as capture:
        console.print(paint(picture, view, width, height))
    return capture.get().splitlines()


PICTURES = {
    "nothing yet": Picture(),
    "nobody there": Picture(gone="no fleet runs in /run/shop"),
    "no entities": Picture(fleet(0)),
    "one": Picture(fleet(1), events=[EVENT] * 3, output=["$ temporal-fleet dump pool0-0", "a\tb"] * 40),
    "many": Picture(
        fleet(500, pools=40), events=[EVENT] * 100, gone="it has ended", acting="temporal-fleet restart x"
    ),
    "long words": Picture(
        report(
            state="degraded", reason="why\n" * 40, pools=[pool("p" * 60)], entities=[entity("p" * 60 + "-1")]
        )
    ),
}
VIEWS = [
    View(),
    View(selected="pool0-480", order=Order.MEMORY),
    View(filter="nobody has this"),
    View(mode=Mode.FILTER, typed="pool0"),
    View(mode=Mode.CONFIRM, act=Act.DUMP, selected="pool0-0"),
    View(mode=Mode.OUTPUT, scroll=10_000),
    View(mode=Mode.HELP),
]


@pytest.mark.parametrize(("name", "size"), itertools.product(PICTURES, SIZES))
def test_it_fills_the_screen_and_no_more(name: str, size: tuple[int, int]) -> None:
    width, height = size
    for view in VIEWS:
        lines = painted(PICTURES[name], view, width, height)
        assert len(lines) == height, view
        assert max(cell_len(line) for line in lines) <= width, view


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("selected", ["pool0-0", "pool3-243", "pool19-499"])
def test_who_is_selected_is_in_sight(size: tuple[int, int], selected: str) -> None:
    lines = painted(Picture(fleet(500, pools=40), events=[EVENT] * 9), View(selected=selected), *size)
    assert [line for line in lines if line.startswith(f"{selected} ")]


def test_all_there_is_to_see() -> None:
    busy = msgspec.structs.replace(
        entity("orders-1"),
        workflow_slots=SlotsReport(used=3, free=97),
        activity_slots=SlotsReport(used=2, free=None),
    )
    limited = msgspec.structs.replace(pool(), memory_limit_bytes=120 << 20, max_cached_executions=500)
    shown = report(pools=[limited], entities=[busy])
    rates = {"orders-1": Rates(tasks=12.5, evictions=0.4)}
    lines = painted(Picture(shown, rates, events=[EVENT]), View(order=Order.CACHED), 200, 30)
    assert lines[0].startswith("shop  running  generation 3  up 1h02m")
    assert lines[1].startswith("Cluster 127.0.0.1:7233")
    assert "7 executions cached, 5 blocked   1 activities   12.5 tasks/s  0.4 evicted/s" in lines[2]
    (titles,) = [line for line in lines if line.startswith("entity ")]
    assert "cached*" in titles
    row = next(line for line in lines if line.startswith("orders-1 "))
    assert row.split() == [
        *("orders-1", "4711", "ready", "1", "1m05s", "█████", "60.0", "MiB", "9.4", "MiB", "7/500", "5", "1"),
        *("3/100", "2", "12.5", "0.4", "0.0"),
    ]
    assert lines[-2].endswith("orders-1.2  entity.died  killed by SIGKILL")
    assert lines[-1].startswith("q quit")


def test_a_narrow_screen_does_without_columns_and_never_cuts_the_names() -> None:
    lines = painted(Picture(fleet(3)), View(), 40, 12)
    (titles,) = [line for line in lines if line.startswith("entity")]
    assert titles.split() == ["entity*", "state", "memory"]


def test_a_supervisor_that_is_gone_is_told_above_what_was_seen_last() -> None:
    lines = painted(Picture(fleet(1), gone="the supervisor (PID 4) has ended"), View(), 100, 20)
    assert lines[1].startswith("no answer, keeps trying; ")
    assert lines[1].endswith("the supervisor (PID 4) has ended")
    assert any(line.startswith("pool0-0 ") for line in lines)


def test_what_an_act_prints_is_seen_from_its_end() -> None:
    picture = Picture(fleet(1), output=[str(number) for number in range(100)], acting="temporal-fleet dump x")
    lines = painted(picture, View(mode=Mode.OUTPUT), 200, 10)
    assert lines[3:-1] == ["94", "95", "96", "97", "98", "99"]
    assert lines[-1].startswith("temporal-fleet dump x runs")
    assert painted(picture, View(mode=Mode.OUTPUT, scroll=10), 200, 10)[3] == "84"
    assert painted(picture, View(mode=Mode.OUTPUT, scroll=10_000), 200, 10)[3] == "0"


def test_an_act_is_asked_for_by_the_command_that_it_is() -> None:
    view = View(mode=Mode.CONFIRM, act=Act.EVICT, selected="pool0-0")
    lines = painted(Picture(fleet(1)), view, 80, 24)
    assert lines[-1] == "temporal-fleet evict pool0-0 --all: go ahead? y / n"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_output_scrolls_to_its_first_line_and_no_further(width: int, height: int) -> None:
    output = [f"line {number}" for number in range(80)]
    picture = Picture(fleet(1), output=output)
    most = furthest(picture, width, height)
    first, beyond, below = (
        painted(picture, View(mode=Mode.OUTPUT, scroll=scroll), width, height)
        for scroll in (most, most + 1, most - 1)
    )
    assert first == beyond
    assert height < 6 or first != below
    assert height < 6 or any(line.strip() == "line 0" for line in first)


def test_nothing_that_a_fleet_tells_steers_the_terminal() -> None:
    picture = Picture(
        report(
            reason="bad\x1b[2J\x9b1m",
            pools=[pool("evil\x1b]0;title\x07")],
            entities=[entity("evil\x1b[31m-1", reason="\x1b[2J")],
        ),
        output=["\x1b[2Jx\x1bc"],
    )
    for view in (View(), View(mode=Mode.OUTPUT)):
        shown = "".join(painted(picture, view, 200, 24))
        assert shown.isprintable()
