"""One measured number beside what it is compared with and what is promised. Shown as a table or JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Result:
    name: str
    fleet: float | None
    plain: float | None
    """The same of plain workers, in the same run."""
    unit: str
    limit: float | None
    """At most; of the fleet's number, or of its ratio to the plain one when `relative`. None: told, not
    judged."""
    relative: bool = False
    skipped: str = ""

    @property
    def judged(self) -> float | None:
        if not self.relative:
            return self.fleet
        return self.fleet / self.plain if self.fleet is not None and self.plain else None

    @property
    def reached(self) -> bool | None:
        return None if self.judged is None or self.limit is None else self.judged <= self.limit


def as_json(results: list[Result]) -> list[dict[str, Any]]:
    return [{**asdict(result), "judged": result.judged, "reached": result.reached} for result in results]


def as_table(results: list[Result]) -> Table:
    table = Table(title="temporal-fleet beside plain workers, in one run", title_justify="left")
    table.add_column("number")
    for column in ("fleet", "plain", "ratio", "at most"):
        table.add_column(column, justify="right")
    table.add_column("")
    for result in results:
        ratio = f"{result.fleet / result.plain:.1%}" if result.fleet and result.plain else ""
        is_share = result.relative and result.limit is not None
        limit = f"{result.limit:.0%}" if is_share else _show(result.limit, result.unit)
        nothing = f"skipped: {result.skipped}" if result.skipped else ""
        verdict = {None: nothing, True: "[green]reached[/]", False: "[red]missed[/]"}
        table.add_row(
            result.name,
            _show(result.fleet, result.unit),
            _show(result.plain, result.unit),
            ratio,
            limit,
            verdict[result.reached],
        )
    return table


def _show(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.3g} {unit}"
