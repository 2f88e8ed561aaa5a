"""What the demo shows: a live table and progress bars on a terminal, else plain lines. Decides nothing."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_STATE_STYLES = {"ready": "green", "starting": "yellow", "backoff": "red", "failed": "bold red"}
_MIB = 1 << 20
_PLAIN_STEPS = 4
_PLAIN_WIDTH = 100


class Display:
    """Use as a context manager: the live part stands below the lines while inside."""

    def __init__(self) -> None:
        console = Console()
        self.live = console.is_terminal
        self._console = console if self.live else Console(width=_PLAIN_WIDTH, no_color=True)
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._table: Table | None = None
        self._region: Live | None = None

    def __enter__(self) -> Self:
        if self.live:
            self._region = Live(console=self._console, refresh_per_second=8, get_renderable=self._render)
            self._region.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._region is not None:
            # What it was at the end is printed to stay, below everything else.
            self._table = None
            self._region.stop()
            self._region = None

    def _render(self) -> Group:
        return Group(*([self._table] if self._table else []), self._progress)

    def say(self, text: str) -> None:
        """A line that stays, with the seconds since the start."""
        seconds = time.monotonic() - self._started
        self._line(f"{seconds:6.1f} s  {text}")

    def trouble(self, text: str) -> None:
        self._line(text, style="red")

    def _line(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True, highlight=False)

    def bar(self, description: str, total: int) -> "Bar":
        return Bar(self, self._progress, description, total)

    def show_fleet(self, status: dict[str, Any]) -> None:
        """The fleet as it is now; seen on a terminal only."""
        self._table = fleet_table(status)

    def print_fleet(self, status: dict[str, Any]) -> None:
        """The fleet as it is now, to stay."""
        self._console.print(fleet_table(status))

    def print_summary(self, rows: list[tuple[str, str]]) -> None:
        table = Table(title="What happened", title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column()
        for name, value in rows:
            table.add_row(name, value)
        self._console.print(table)

    def print_what_next(self, ui: str | None, commands: list[str]) -> None:
        self._line(f"\nTemporal's web UI: {ui}" if ui else "\nThe Cluster has no web UI.")
        self._line("The fleet goes on. Useful now:")
        for command in commands:
            self._line(f"  {command}")


class Bar:
    """One row of progress; elsewhere than on a terminal a line at each quarter."""

    def __init__(self, display: Display, progress: Progress, description: str, total: int) -> None:
        self._display = display
        self._progress = progress
        self._task: TaskID = progress.add_task(description, total=total)
        self._description = description
        self._total = total
        self._done = 0

    def advance(self) -> None:
        quarter = self._done * _PLAIN_STEPS // self._total
        self._done += 1
        self._progress.advance(self._task)
        if not self._display.live and self._done * _PLAIN_STEPS // self._total > quarter:
            self._display.say(f"{self._description}: {self._done} of {self._total}")


def fleet_table(status: dict[str, Any]) -> Table:
    fleet = status["fleet"]
    table = Table(title=f"fleet {fleet['name']}: {fleet['state']}", title_justify="left")
    for column in ("entity", "state"):
        table.add_column(column)
    for column in ("pid", "incarnation", "restarts", "cached", "memory (PSS)"):
        table.add_column(column, justify="right")
    for entity in status["entities"]:
        pss = entity["pss_bytes"]
        table.add_row(
            entity["id"],
            f"[{_STATE_STYLES.get(entity['state'], 'default')}]{entity['state']}[/]",
            str(entity["pid"] or ""),
            str(entity["incarnation"]),
            str(entity["restarts"]),
            str(entity["cached_executions"]),
            f"{pss / _MIB:.1f} MiB" if pss else "",
        )
    return table
