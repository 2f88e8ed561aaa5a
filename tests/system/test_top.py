"""`top` at a real fleet, in a real terminal."""

import signal

from tests.fleet import COMMAND
from tests.system.conftest import MakeFleet
from tests.terminals import terminal
from tests.waiting import wait_until


def selected(lines: list[str]) -> list[str]:
    """The ids of the entities that are shown."""
    return [line.split()[0] for line in lines if line.startswith("orders-")]


def narrow_titles(lines: list[str]) -> str | None:
    """None while there is room for more columns."""
    return next((line for line in lines if line.startswith("entity*") and "PID" not in line), None)


def test_top(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(entities=3)
    with fleet.start():
        fleet.wait_running()
        for number, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)):
            with terminal([COMMAND, "top", "-c", fleet.config]) as screen:
                before = screen.mode()
                screen.see("3 entities ready of 3")
                assert screen.mode() != before
                screen.process.send_signal(number)
                assert screen.ended() == status
                assert screen.is_as_before()
                assert screen.mode() == before

        with terminal([COMMAND, "top", "-c", fleet.config]) as screen:
            before = screen.mode()
            first = screen.see("3 entities ready of 3")
            assert selected(first) == ["orders-1", "orders-2", "orders-3"]
            assert any(line.startswith("entity*") for line in first)

            screen.type("?")
            screen.see("any key: back")
            screen.type(" ")
            screen.type("/ers-2\r")
            assert selected(screen.see("filter: ers-2")) == ["orders-2"]
            screen.type("\x1b")
            screen.see("orders-3")

            screen.type("jd")
            screen.see("temporal-fleet dump orders-2: go ahead? y / n")
            screen.type("n")
            screen.see("q quit")
            screen.type("dy")
            screen.see("(exit status 0)")
            dumped = screen.see("$ temporal-fleet dump orders-2")
            pid = fleet.entity("orders-2").pid
            assert any(f"orders-2, PID {pid}" in line for line in dumped)
            screen.type("\x1b")
            screen.see("q quit")

            screen.type("ry")
            screen.see("(exit status 0)")
            screen.type("\x1b")
            fleet.wait(lambda s: s.fleet.state == "running" and s.entities[1].pid != pid, what="a new life")
            # What happened meanwhile was heard.
            screen.see("entity.ready")

            screen.resize(70, 12)
            titles = wait_until(lambda: narrow_titles(screen.lines()), what="the titles of a narrow screen")
            assert titles.split()[:2] == ["entity*", "state"]

            # Who goes meanwhile is waited for.
            assert fleet.stop() == 0
            screen.see("no answer, keeps trying")
            screen.type("q")
            assert screen.ended() == 0
            assert screen.is_as_before()
            assert screen.mode() == before
