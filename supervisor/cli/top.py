"""`top`: the fleet live on a whole screen, with keys that look around in it and act on it. Puts together what
is heard, typed and painted."""

import os
import select
import shlex
import signal
import sys
from collections import deque
from contextlib import ExitStack, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from temporal_fleet.protocol.report import EventReport, StatusReport
from temporal_fleet.supervisor.cli.client import find
from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.keyboard import Keyboard
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.cli.top_act import RunningAct
from temporal_fleet.supervisor.cli.top_feed import Feed, Gone
from temporal_fleet.supervisor.cli.top_rates import is_old, rates
from temporal_fleet.supervisor.cli.top_view import Quit, Run, View, arranged, pressed

if TYPE_CHECKING:
    from rich.live import Live

    from temporal_fleet.supervisor.cli.top_screen import Picture

_EVENTS = 100
"""Kept, the newest."""
_NO_NEWS = "debug"
"""The level of what goes on all the time, such as evictions: `events` tells it, and rates show it."""
_Source = Keyboard | Feed | RunningAct
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@click.command()
@fleet_options
def top(place: Place) -> None:
    """Watch the fleet live on the whole screen, and act on it.

    Pools, entities, memory, caches and slots, rates, the last events. ? shows the keys; acts ask first."""
    from temporal_fleet.supervisor.cli import tables

    console = tables.console()
    if not sys.stdin.isatty() or not console.is_terminal or console.is_dumb_terminal:
        raise Failure(
            "`top` needs a terminal, to paint on and to take keys from",
            f"for a script: {place.command('status --json')}",
            f"in a pipe: {place.command('status --watch')}",
        )
    # Who is not there at all is told of as everywhere; who goes later is waited for.
    find(place)
    from rich.live import Live

    with ExitStack() as stack:
        for number in _ENDING:
            stack.callback(signal.signal, number, signal.signal(number, _end))
        feed = Feed(place)
        keyboard = stack.enter_context(Keyboard(sys.stdin.fileno()))
        live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
        stack.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, lambda *_: feed.wake()))
        _Top(place, feed, keyboard, live).run()


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """By an exception, so that the terminal is left as it was."""
    sys.exit(128 + number)


class _Top:
    def __init__(self, place: Place, feed: Feed, keyboard: Keyboard, live: "Live") -> None:
        self._place = place
        self._feed = feed
        self._keyboard = keyboard
        self._live = live
        self._view = View()
        self._reports: deque[StatusReport] = deque()
        """Those over which rates are taken."""
        self._events: deque[EventReport] = deque(maxlen=_EVENTS)
        self._gone = ""
        self._act: RunningAct | None = None
        self._output: list[str] = []

    def run(self) -> None:
        """Until the operator has enough of it, or the terminal is gone."""
        try:
            while True:
                self._paint()
                sources: list[_Source] = [self._keyboard, self._feed]
                sources += [self._act] if self._act is not None else []
                ready, _, _ = select.select(sources, [], [])
                if self._feed in ready:
                    self._hear()
                if self._act is not None and self._act in ready and not self._act.read():
                    self._act = None
                if self._keyboard in ready and any(map(self._press, self._keyboard.read())):
                    return
        except EOFError:
            return
        finally:
            if self._act is not None:
                self._act.leave()

    def _hear(self) -> None:
        for heard in self._feed.take():
            match heard:
                case StatusReport():
                    self._gone = ""
                    self._reports.append(heard)
                case EventReport() if heard.level != _NO_NEWS:
                    self._events.append(heard)
                case Gone():
                    self._gone = heard.reason
        while len(self._reports) > 2 and is_old(self._reports[0], self._reports[-1]):
            self._reports.popleft()

    def _press(self, key: str) -> bool:
        """Whether it is the end."""
        picture = self._picture()
        entities = picture.report.entities if picture.report is not None else []
        shown = [entity.id for entity in arranged(entities, self._view, picture.rates)]
        self._view, wish = pressed(self._view, key, shown, furthest=self._furthest(picture))
        if isinstance(wish, Run):
            self._begin(wish)
        return isinstance(wish, Quit)

    def _begin(self, wish: Run) -> None:
        if self._act is not None:
            self._act.lines.append(f"one at a time: {wish.act.value} {wish.entity} was not begun")
            return
        # As the operator would type it, with the words that name this fleet.
        words = shlex.split(self._place.command(" ".join(wish.words)))[1:]
        self._act = RunningAct(words)
        self._output = self._act.lines

    def _picture(self) -> "Picture":
        from temporal_fleet.supervisor.cli.top_screen import Picture

        newest = self._reports[-1] if self._reports else None
        return Picture(
            report=newest,
            rates=rates(self._reports[0], newest) if newest is not None else {},
            events=tuple(self._events),
            gone=self._gone,
            output=self._output,
            acting=self._act.command if self._act is not None else "",
        )

    def _furthest(self, picture: "Picture") -> int:
        from temporal_fleet.supervisor.cli.top_screen import furthest

        return furthest(picture, *self._live.console.size)

    def _paint(self) -> None:
        from temporal_fleet.supervisor.cli.top_screen import paint

        # That of the terminal itself: who once exported COLUMNS and LINES did not mean every size from then
        # on. Of a terminal that is gone the keyboard tells.
        with suppress(OSError):
            self._live.console.size = os.get_terminal_size(self._keyboard.fileno())
        width, height = self._live.console.size
        self._live.update(paint(self._picture(), self._view, width, height), refresh=True)
