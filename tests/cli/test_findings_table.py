"""`doctor` on a screen."""

from rich.console import Console

from temporal_fleet.supervisor.cli.findings_table import findings_table
from temporal_fleet.supervisor.core.findings import problem


def test_nothing_that_is_found_steers_the_terminal_or_is_taken_for_markup() -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(findings_table([problem("pool [bold]x", "died: \x1b[2Jred\x9b", "mend\x07 it")]))
    shown = capture.get()
    assert shown.replace("\n", "").isprintable()
    assert "pool [bold]x" in shown
    assert "\\x1b[2Jred" in shown
