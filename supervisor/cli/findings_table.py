"""What `doctor` looks like on a screen. Findings in, a rich renderable out; imports rich, so it is imported
only where a table is printed."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from temporal_fleet.supervisor.cli.columns import GAP
from temporal_fleet.supervisor.cli.human import printable
from temporal_fleet.supervisor.core.findings import Finding, Level

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    """No cell is cut: it is folded."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("level", no_wrap=True)
    for title in ("what", "figure", "remedy"):
        table.add_column(title, overflow="fold")
    for each in findings:
        words = (Text(printable(word, "\n")) for word in (each.what, each.figure, each.remedy))
        table.add_row(Text(each.level.value, _COLOURS[each.level]), *words)
    return table
