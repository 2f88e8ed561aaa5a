"""`logs`: what the processes of a fleet have logged, and log now, wherever that is."""

import errno
import resource
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

import click

from temporal_fleet.protocol.logfile import DEV_SERVER, HELPERS
from temporal_fleet.protocol.loglevels import LEVELS
from temporal_fleet.protocol.report import FleetReport, StatusReport
from temporal_fleet.supervisor.cli import log_files
from temporal_fleet.supervisor.cli.client import Supervisor
from temporal_fleet.supervisor.cli.completion import targets
from temporal_fleet.supervisor.cli.failure import Failure, must_exist, say
from temporal_fleet.supervisor.cli.journal import Journal
from temporal_fleet.supervisor.cli.log_lines import Choice, Line, as_json, as_text
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.config.units import UnitError, parse_duration
from temporal_fleet.supervisor.core.names import listed


class Source(Protocol):
    def last(self, number: int | None) -> Iterator[Line]: ...

    def follow(self) -> Iterator[Line]: ...


@click.command()
@click.argument("target", required=False, shell_complete=targets)
@fleet_options
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="LINES",
    help="The last so many; default: 100, with --since all.",
)
@click.option("--since", metavar="WHEN", help="Nothing older: 5m, 1h30m, or 2026-11-27T15:04.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="This level, and above.")
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON document a line.")
def logs(
    place: Place,
    target: str | None,
    *,
    follow: bool,
    lines: int | None,
    since: str | None,
    level: str,
    as_lines: bool,
) -> None:
    """Print what the fleet's processes log.

    Of all of them, or of one TARGET: a pool, an entity such as orders-1, supervisor, agent, fork-server or
    dev-server. From the files of [fleet] log_dir, in the order of time, or from the journal when the fleet
    runs as a service of systemd."""
    moment = _moment(since) if since is not None else None
    show = as_json if as_lines else as_text
    number = lines if lines is not None or moment is not None else 100
    _allow_open_files()
    try:
        source = _source(place, target, level, moment, follow=follow)
        _print(source.last(number), show)
        if follow:
            _print(source.follow(), show)
    except OSError as error:
        if error.filename is None:
            raise
        raise Failure(f"cannot read {error.filename}: {error.strerror}", _remedy(error)) from error


def _allow_open_files() -> None:
    """As many as there may be: one of each log is open while they are followed, and more with `--since`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _remedy(error: OSError) -> str:
    if error.errno == errno.EMFILE:
        return "ask for one pool or entity, or raise the hard limit of open files: ulimit -Hn"
    if isinstance(error, PermissionError):
        return "run the command as the fleet's user"
    return "see what [fleet] log_dir names, and what stands there"


def _print(lines: Iterator[Line], show: Callable[[Line], str]) -> None:
    for line in lines:
        click.echo(show(line))


def _source(place: Place, target: str | None, level: str, since: float | None, *, follow: bool) -> Source:
    report = _report(place)
    log_dir = _log_dir(place) if report is None else _as_path(report.fleet)
    if target == DEV_SERVER:
        log_dir = _of_dev_server(log_dir, place.run.path)
    known = {*HELPERS}
    if report is not None:
        known |= {pool.name for pool in report.pools} | {entity.id for entity in report.entities}
    if log_dir is not None:
        names = set(log_files.found(log_dir).values())
        if not names:
            raise Failure(
                f"there are no logs in {log_dir}", "it fills when the fleet runs: temporal-fleet up"
            )
        known |= names | {pool for pool in map(log_files.pool_of, names) if pool}
        must_exist("pool, entity or helper", [target] if target else [], known)
        return log_files.LogReader(log_dir, target, Choice(level, since), is_followed=follow)
    if report is None:
        raise Failure(
            f"{place.name} does not run, and has no [fleet] log_dir to look into",
            "if it ran as a service: journalctl -u UNIT",
            "to find its logs here next time, set [fleet] log_dir",
        )
    must_exist("pool, entity or helper", [target] if target else [], known)
    if report.fleet.journal_unit:
        choice = Choice(level, since, target)
        return journal_of(report.fleet.journal_unit, place, choice, user=report.fleet.journal_user)
    raise Failure(
        f"{report.fleet.name} (PID {report.fleet.pid}) logs to the streams that it was started with: a "
        "terminal, or a file of somebody else's",
        "look there, or set [fleet] log_dir and reload: temporal-fleet reload",
    )


def journal_of(unit: str, place: Place, choice: Choice, *, user: bool) -> Journal:
    chooses = choice.target is not None or choice.level != LEVELS[0]
    if chooses and place.config is not None and _configured(place.config, "log_format") == "console":
        say(
            'lines in the journal tell neither entity nor level with [fleet] log_format = "console": a '
            'TARGET and --level miss most of them; "auto" makes them JSON'
        )
    return Journal(unit, user, choice)


def _of_dev_server(log_dir: Path | None, run_dir: Path) -> Path:
    """The folder where it has logged last: its log stands beside the sockets where it could have no other."""
    folders = [run_dir] if log_dir is None else [log_dir, run_dir]
    logs = [
        path for folder in folders for path, name in log_files.found(folder).items() if name == DEV_SERVER
    ]
    if not logs:
        raise Failure(
            f"there is no log of a dev server in {listed([str(folder) for folder in folders])}",
            "a fleet has a dev server with [cluster.embedded]",
            "when log_dir changes, it logs on where it did, until its next start",
        )
    return max(logs, key=lambda path: path.lstat().st_mtime).parent


def _report(place: Place) -> StatusReport | None:
    """None: nobody answers."""
    try:
        with Supervisor(place) as supervisor:
            return supervisor.status()
    except Failure as failure:
        if place.config is None:
            raise
        say(failure.message)
        return None


def _as_path(fleet: FleetReport) -> Path | None:
    return Path(fleet.log_dir) if fleet.log_dir is not None else None


def _log_dir(place: Place) -> Path | None:
    assert place.config is not None
    folder = _configured(place.config, "log_dir")
    return place.config.absolute().parent / Path(folder).expanduser() if isinstance(folder, str) else None


def _configured(config: Path, key: str) -> object:
    """A key of [fleet] as the config file says it now, where it can be read that far: `place` has read it."""
    given = tomllib.loads(config.read_text(encoding="utf-8")).get("fleet")
    return given.get(key) if isinstance(given, dict) else None


def _moment(text: str) -> float:
    try:
        return time.time() - parse_duration(text)
    except UnitError as error:
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is neither a duration ({error}) nor a time such as 2026-11-27T15:04",
                param_hint="--since",
            ) from None
