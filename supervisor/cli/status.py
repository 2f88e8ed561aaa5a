"""`status`: the fleet as it is now, once or live."""

import time
from typing import TYPE_CHECKING

import click
import msgspec

from temporal_fleet.protocol.report import EntityReport, StatusReport
from temporal_fleet.supervisor.cli.client import Supervisor
from temporal_fleet.supervisor.cli.live import stay
from temporal_fleet.supervisor.cli.place import Place, fleet_options

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_MEMORY_EVERY = 5.0
"""Seconds between two readings of PSS while watching: each costs the supervisor over a millisecond an
entity, in which it does nothing else."""


@click.command()
@fleet_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one document a line.")
@click.option("-w", "--watch", is_flag=True, help="Stay, and show it anew every second.")
def status(place: Place, as_json: bool, watch: bool) -> None:
    """Show the fleet, its pools and its entities."""
    with Supervisor(place) as supervisor:
        if watch:
            stay(supervisor, Reports(supervisor).next, _draw, as_json=as_json)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(supervisor.status(memory=True)), indent=2))
        else:
            from temporal_fleet.supervisor.cli import tables

            console = tables.console()
            console.print(_draw(supervisor.status(memory=True), console))


def _draw(report: StatusReport, console: "Console") -> "RenderableType":
    from temporal_fleet.supervisor.cli import tables

    return tables.status(report, console.width)


class Reports:
    """One report after the other, with the PSS of the last one that had it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._memory_at: float | None = None
        self._pss: dict[tuple[str, int], int | None] = {}

    def next(self) -> StatusReport:
        now = time.monotonic()
        if self._memory_at is None or now - self._memory_at >= _MEMORY_EVERY:
            self._memory_at = now
            report = self._supervisor.status(memory=True)
            self._pss = {(entity.id, entity.incarnation): entity.pss_bytes for entity in report.entities}
            return report
        report = self._supervisor.status()
        return msgspec.structs.replace(report, entities=[self._remember(e) for e in report.entities])

    def _remember(self, entity: EntityReport) -> EntityReport:
        if entity.pss_bytes is not None or entity.pid is None:
            return entity
        return msgspec.structs.replace(entity, pss_bytes=self._pss.get((entity.id, entity.incarnation)))
