"""`evict`: blocked executions leave the caches of a pool or an entity, and their memory comes back."""

from collections import Counter
from collections.abc import Callable

import click
import msgspec

from temporal_fleet.protocol.control import EvictExecutions, EvictionReply
from temporal_fleet.protocol.report import EvictionReport, StatusReport
from temporal_fleet.supervisor.cli import caches
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.columns import lines
from temporal_fleet.supervisor.cli.completion import targets
from temporal_fleet.supervisor.cli.failure import Interrupted, Problems, must_exist, say
from temporal_fleet.supervisor.cli.human import count, size
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.config.units import UnitError, parse_duration

_COLUMNS: dict[str, Callable[[EvictionReport], str]] = {
    "entity": lambda report: report.entity,
    "evicted": lambda report: _told(report, str(report.evicted)),
    "passed over": lambda report: _told(report, str(report.passed_over)),
    "remain": lambda report: _told(report, str(report.cached)),
    "came back": lambda report: _told(report, _signed(report.freed_bytes)),
    "PSS": lambda report: _told(report, size(report.pss_bytes)),
}


def _seconds(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except UnitError as error:
        raise click.BadParameter(str(error)) from error


def _run_ids(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> list[str]:
    for word in words:
        if not word or len(word) > 256:
            raise click.BadParameter(f"{word[:40]!r} cannot be the id of a run")
    return list(dict.fromkeys(words))


@click.command()
@click.argument("target", metavar="POOL|ENTITY", shell_complete=targets)
@fleet_options
@click.option(
    "--idle",
    metavar="DURATION",
    callback=_seconds,
    help='Those to which nothing has happened for so long, such as "60s".',
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="N",
    help="All but the N most recently active of each entity.",
)
@click.option("--all", "everything", is_flag=True, help="All that are blocked.")
@click.option(
    "--run", "run_ids", metavar="RUN_ID", multiple=True, callback=_run_ids, help="This one; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evict(
    place: Place,
    target: str,
    idle: float | None,
    keep: int | None,
    everything: bool,
    run_ids: list[str],
    as_json: bool,
) -> None:
    """Evict blocked executions and give their memory back.

    The least recently active go first. Each resurrects when an event comes for it: nothing is lost but the
    time of a replay. Say which: --idle, --keep (with both: what both allow), --all, or --run."""
    _must_choose(conditions=idle is not None or keep is not None, everything=everything, runs=bool(run_ids))
    with Supervisor(place) as supervisor:
        report = supervisor.status()
        known = [*(pool.name for pool in report.pools), *(entity.id for entity in report.entities)]
        must_exist("pool or entity", [target], known)
        held = _holders(run_ids, report, target)
        request = EvictExecutions(
            id=new_id(), target=target, run_ids=run_ids, idle=idle or 0.0, keep=keep or 0
        )
        say(f"evicts from {target}, and waits until the memory has come back")
        try:
            reports = supervisor.ask(request, EvictionReply).entities
        except KeyboardInterrupt:
            say(f"\nthe eviction goes on by itself; look at it with: {place.command(f'executions {target}')}")
            raise Interrupted from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"entities": reports}), indent=2))
    else:
        for line in lines(reports, _COLUMNS, numbers=[*_COLUMNS][1:]):
            click.echo(line)
        click.echo(f"\n{_total(reports)}")
    problems = [f"{report.entity}: {report.problem}" for report in reports if report.problem]
    if run_ids:
        problems += [_stayed(report) for report in reports if report.passed_over]
    problems += [f"run {each}: in no cache of {target}" for each in _nowhere(run_ids, held, reports)]
    if problems:
        look = place.command(f"executions {target}")
        raise Problems("not all of it could be evicted:", problems, f"look with: {look}")


def _must_choose(*, conditions: bool, everything: bool, runs: bool) -> None:
    chosen = conditions + everything + runs
    if not chosen:
        raise click.UsageError("say which executions: --idle 60s, --keep 100, --run RUN_ID or --all")
    if chosen > 1:
        raise click.UsageError(
            "--all, --run, and --idle with --keep are three ways to choose: give one of them"
        )


def _holders(run_ids: list[str], report: StatusReport, target: str) -> Counter[str]:
    """How many entities have each of these runs cached, as far as their black boxes tell."""
    if not run_ids:
        return Counter()
    asked = frozenset(run_ids)
    return Counter(e.run_id for e in caches.read(report, target).executions if e.run_id in asked)


def _nowhere(run_ids: list[str], held: Counter[str], reports: list[EvictionReport]) -> list[str]:
    """The runs that no entity had. One that its black box had no room for may have been evicted all the same:
    then more were dealt with than stood in the black boxes."""
    missing = [run_id for run_id in run_ids if not held[run_id]]
    dealt_with = sum(report.evicted + report.passed_over for report in reports)
    return missing if dealt_with - held.total() < len(missing) else []


def _stayed(report: EvictionReport) -> str:
    return (
        f"{report.entity}: {report.passed_over} of these runs not evicted: running, and only what is blocked "
        "can be; try again when it is"
    )


def _total(reports: list[EvictionReport]) -> str:
    evicted = sum(report.evicted for report in reports)
    back = sum(report.freed_bytes for report in reports)
    answered = sum(not report.problem for report in reports)
    told = f"evicted {count(evicted, 'execution')} from {count(answered, 'entity', 'entities')}"
    return f"{told}; {size(back) if back > 0 else 'no memory'} came back"


def _told(report: EvictionReport, cell: str) -> str:
    return "-" if report.problem else cell


def _signed(amount: int) -> str:
    """It may have grown meanwhile."""
    return size(amount) if amount >= 0 else f"-{size(-amount)}"
