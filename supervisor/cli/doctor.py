"""`doctor`: what is wrong, or about to be, with this host, with a config and with the fleet that runs, and
what to do about it. Puts together what is looked at; what is good or bad of it is judged in core."""

import os
import pwd
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from temporal_fleet.protocol import blackbox
from temporal_fleet.protocol.blackbox import BlackBoxContents, read_blackbox, read_head
from temporal_fleet.protocol.control import ExaminationReply, ExamineCluster
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.examination import Examination
from temporal_fleet.protocol.process import is_alive
from temporal_fleet.protocol.report import PoolReport, StatusReport
from temporal_fleet.protocol.rundir import RunDirectory, routing_id
from temporal_fleet.supervisor import __version__
from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.failure import Failure, Problems, say
from temporal_fleet.supervisor.cli.human import count
from temporal_fleet.supervisor.cli.place import Place, config_option, fleet_option, locate
from temporal_fleet.supervisor.cli.presence import Absent, Forbidden, Presence, look
from temporal_fleet.supervisor.core.cluster_health import cluster_findings
from temporal_fleet.supervisor.core.findings import Finding, Level, ok, problem, unseen, worst_first
from temporal_fleet.supervisor.core.fleet_health import Leftover, fleet_findings, leftover_findings
from temporal_fleet.supervisor.core.host_health import Demand, host_findings

if TYPE_CHECKING:
    from temporal_fleet.supervisor.cli.unit_files import Service
    from temporal_fleet.supervisor.config.reader import Config

_EXAMINED_WITHIN = 35.0
"""Seconds: longer than a supervisor waits for its agent."""
_HELPERS_THAT_LOG = 2
"""Besides entities and the fork servers of pools: supervisor and agent."""


@click.command()
@config_option
@fleet_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, config: Path, fleet: str | None, as_json: bool) -> None:  # noqa: ARG001
    """Find what is wrong, or about to be, and say what to do.

    Looks at this host, at the config, at the fleet if one runs, and at its Cluster: versions, limits, memory,
    disks, clocks, entities, task queues. Works where no fleet runs, too. Exit status 1 when there is a
    problem; warnings are none."""
    findings = worst_first(_all(ctx))
    levels = Counter(finding.level for finding in findings)
    if as_json:
        found = {
            "problems": levels[Level.PROBLEM],
            "warnings": levels[Level.WARNING],
            "findings": findings,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        from temporal_fleet.supervisor.cli import tables
        from temporal_fleet.supervisor.cli.findings_table import findings_table

        tables.console().print(findings_table(findings))
        say(f"{count(levels[Level.PROBLEM], 'problem')}, {count(levels[Level.WARNING], 'warning')}")
    ctx.exit(1 if levels[Level.PROBLEM] else 0)


@dataclass
class _Known:
    """What there is to go by. What could not be had is in the findings."""

    findings: list[Finding] = field(default_factory=list)
    place: Place | None = None
    config: "Config | None" = None
    service: "Service | None" = None
    """Whose unit runs the config."""
    boxes: list[BlackBoxContents] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    """Lives that have a black box, one that cannot be read among them."""
    report: StatusReport | None = None
    presence: Presence | None = None
    """Who owns the run directory; None: nobody knows which one that is."""
    examination: Examination | None = None


def _all(ctx: click.Context) -> Iterator[Finding]:
    known = _Known()
    try:
        known.place = locate(ctx)
    except Failure as failure:
        known.findings.append(problem("config", failure.message, "; ".join(failure.remedies)))
    except ProtocolMisuse as misuse:
        remedy = "give [fleet] run_dir a shorter path; for `--fleet` set a shorter XDG_RUNTIME_DIR"
        known.findings.append(problem("run_dir", str(misuse), remedy))
    if known.place is not None:
        # Before the fleet is asked: who was forked since is then no stray.
        _read_boxes(known, known.place.run)
        _ask_fleet(known, known.place)
    _read_config(known)
    if known.examination is None:
        _look_by_oneself(known)
    yield from known.findings
    yield from _of_fleet(known)
    yield from _of_host(known)
    if known.examination is not None:
        pools = None if known.report is None else _by_queue(known.report)
        yield from cluster_findings(known.examination, pools)


def _ask_fleet(known: _Known, place: Place) -> None:
    presence = look(place.run)
    known.presence = presence
    if isinstance(presence, Absent):
        if not presence.orphans:
            known.findings.append(ok("fleet", f"none runs in {place.run.path}"))
        return
    try:
        with Supervisor(place) as supervisor:
            known.report = supervisor.status()
            if known.report.fleet.version == __version__:
                request = ExamineCluster(id=new_id())
                reply = supervisor.ask(request, ExaminationReply, within=_EXAMINED_WITHIN)
                known.examination = reply.examination
    except Failure as failure:
        what = "Cluster" if known.report is not None else "supervisor"
        told = failure.problems[0] if isinstance(failure, Problems) and failure.problems else failure.message
        known.findings.append(problem(what, told, "; ".join(failure.remedies)))


def _read_config(known: _Known) -> None:
    path = known.place.config if known.place is not None else None
    if path is None and known.report is not None and known.report.fleet.config is not None:
        path = Path(known.report.fleet.config)
    if path is None:
        return
    try:
        known.config = configuration.load(path)
    except Problems as problems:
        known.findings += [
            problem("config", each, "correct it; see: temporal-fleet check") for each in problems.problems
        ]
        return
    known.findings.append(ok("config", f"{path} holds"))
    from temporal_fleet.supervisor.cli import unit_files, unit_state

    service = unit_files.service_of(path)
    if not unit_state.is_run_by(service):
        return
    known.service = service
    remedy = f"make it anew: temporal-fleet systemd install -c {path}"
    known.findings += [
        problem(f"unit {service.unit}", each, remedy)
        for each in unit_state.shortcomings(service, known.config)
    ]


def _look_by_oneself(known: _Known) -> None:
    """At the Cluster, where no fleet does, or one that runs other code, which may not know how."""
    # Who may not see who lives would take everybody for dead.
    if known.config is None or isinstance(known.presence, Forbidden):
        return
    report = known.report
    if known.config.cluster.embedded is not None and report is None:
        known.findings.append(ok("Cluster", "an embedded one, which runs with its fleet"))
        return
    from temporal_fleet.supervisor.cli import own_agent

    say("no agent of a fleet is there to ask; looks at the Cluster itself")
    entities = [] if report is None else [each for each in report.entities if each.pid is not None]
    lives = {routing_id(each.id, each.incarnation) for each in entities}
    known.examination = own_agent.examine(
        known.config,
        None if report is None else report.cluster.address,
        alive=sorted(lives | known.alive),
        resting=[
            routing_id(each.id, each.incarnation) for each in entities if each.state in ("quiet", "draining")
        ],
    )


def _of_fleet(known: _Known) -> Iterator[Finding]:
    report = known.report
    lives = set() if report is None else {(each.id, each.incarnation) for each in report.entities}
    leftovers = [
        Leftover(
            entity=routing_id(box.entity, box.incarnation),
            pid=box.process.pid,
            alive=is_alive(box.process),
            held=len(box.holdings.activities) + len(box.holdings.executions),
        )
        for box in known.boxes
        if (box.entity, box.incarnation) not in lives
    ]
    if report is not None:
        yield from fleet_findings(report)
    # One that hangs knows of what it left.
    if report is not None or isinstance(known.presence, Absent):
        start = (known.place and known.place.start) or "temporal-fleet run"
        yield from leftover_findings(leftovers, supervised=report is not None, start=start)


def _of_host(known: _Known) -> Iterator[Finding]:
    from temporal_fleet.supervisor.cli import host_look, unit_state

    report, config, logs = known.report, known.config, 0
    folders = {"run_dir": known.place.run.path} if known.place is not None else {}
    if config is not None:
        folders["state_dir"] = config.fleet.state_dir
        if config.fleet.log_dir is not None:
            folders["log_dir"] = config.fleet.log_dir
        try:
            logs = _logs_to_come(config)
        except OSError as error:
            yield _unseen("log_dir", error)
    host = host_look.look(
        supervisor=report.fleet.pid if report is not None else None,
        running=report.fleet.version if report is not None else None,
        entities={e.id: e.pid for e in report.entities if e.pid is not None} if report is not None else {},
        folders=folders,
        is_ours=_is_ours(known),
        open_files=unit_state.open_files(known.service.unit) if known.service is not None else None,
    )
    seen = known.examination
    is_told = seen is not None and seen.clock_ahead_s is not None
    yield from host_findings(host, _demand(known, logs), clock_is_told=is_told)


def _is_ours(known: _Known) -> bool:
    """Whether the fleet runs, or would run, as the user who asks."""
    if isinstance(known.presence, Forbidden):
        return False
    me = os.geteuid()
    if known.report is not None:
        try:
            return Path(f"/proc/{known.report.fleet.pid}").stat().st_uid == me
        except FileNotFoundError:
            return True
    if known.service is None:
        return True
    from temporal_fleet.supervisor.cli import unit_state

    return unit_state.user(known.service.unit) in (pwd.getpwuid(me).pw_name, str(me))


def _demand(known: _Known, logs: int) -> Demand | None:
    """What the config asks for; without one, what the fleet that runs does. `logs`: bytes yet to come."""
    config, report = known.config, known.report
    running = 0 if report is None else sum(entity.pid is not None for entity in report.entities)
    if config is not None:
        entities = sum(pool.entities for pool in config.pools.values())
        memory, memory_by = _memory(config)
    elif report is not None:
        entities = sum(pool.desired for pool in report.pools)
        memory, memory_by = report.fleet.memory_budget_bytes, "[fleet] memory_budget"
    else:
        return None
    return Demand(
        entities=entities,
        running=running,
        memory=memory,
        memory_by=memory_by,
        blackbox=blackbox.SMALLEST,
        logs=logs,
    )


def _memory(config: "Config") -> tuple[int | None, str]:
    """What all entities together may take, and by which key."""
    if config.fleet.memory_budget is not None:
        return config.fleet.memory_budget, "[fleet] memory_budget"
    pools = [pool for pool in config.pools.values() if pool.entities]
    limits = [pool.memory.kill_above for pool in pools]
    bounded = [limit for limit in limits if limit is not None]
    if not pools or len(bounded) < len(pools):
        return None, ""
    total = sum(pool.entities * limit for pool, limit in zip(pools, bounded, strict=True))
    return total, "memory.kill_above of the pools"


def _logs_to_come(config: "Config") -> int:
    """Raises OSError where nobody knows what is there."""
    folder = config.fleet.log_dir
    if folder is None:
        return 0
    writers = sum(pool.entities + 1 for pool in config.pools.values()) + _HELPERS_THAT_LOG
    most = writers * config.fleet.log_size * (config.fleet.log_keep + 1)
    return max(0, most - sum(_sizes_of_logs(folder)))


def _sizes_of_logs(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            if ".log" in name:
                # They are rotated meanwhile.
                with suppress(FileNotFoundError):
                    yield Path(parent, name).stat().st_size


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _read_boxes(known: _Known, run: RunDirectory) -> None:
    try:
        paths = sorted(path for path in run.entities.iterdir() if path.suffix == ".blackbox")
    except FileNotFoundError:
        return
    except OSError as error:
        known.findings.append(_unseen("black boxes", error))
        return
    for path in paths:
        # Gone since, never completed, or not ours to read.
        with suppress(OSError, PeerRubbish):
            if is_alive(read_head(path).process):
                known.alive.add(path.stem)
            known.boxes.append(read_blackbox(path))


def _unseen(what: str, error: OSError) -> Finding:
    return unseen(what, f"{error.strerror}: {error.filename}")


def _by_queue(report: StatusReport) -> dict[str, list[PoolReport]]:
    found = defaultdict(list)
    for pool in report.pools:
        found[pool.task_queue].append(pool)
    return dict(found)
