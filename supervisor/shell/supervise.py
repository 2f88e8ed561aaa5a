"""One supervisor from its start to its end: takes the run directory, puts the parts together, runs the loop,
leaves nothing behind. The only place that knows all the parts."""

import os
import sys
import time
from pathlib import Path
from typing import Literal

import structlog
import zmq

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.report import StatusReport
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.title import prepare_title, set_title
from temporal_fleet.supervisor.config.reader import Config
from temporal_fleet.supervisor.config.specs import log_files, log_format, secrets
from temporal_fleet.supervisor.core.books import Books
from temporal_fleet.supervisor.core.events import Started
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.shell import log, reports
from temporal_fleet.supervisor.shell.announcer import Announcer
from temporal_fleet.supervisor.shell.books_file import BooksFile
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children, become_subreaper
from temporal_fleet.supervisor.shell.configuration import Configuration
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.dead import Dead
from temporal_fleet.supervisor.shell.dev_server import DevServerImpossible, DevServerPlan, settle
from temporal_fleet.supervisor.shell.evictions import Evictions
from temporal_fleet.supervisor.shell.examinations import Examinations
from temporal_fleet.supervisor.shell.heartbeats import Heartbeats
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.inherited import Inherited
from temporal_fleet.supervisor.shell.journal import journal_place
from temporal_fleet.supervisor.shell.live_settings import LiveSettings
from temporal_fleet.supervisor.shell.loop import Loop
from temporal_fleet.supervisor.shell.notify import Notifier
from temporal_fleet.supervisor.shell.perform import Performer
from temporal_fleet.supervisor.shell.requests import Requests
from temporal_fleet.supervisor.shell.run_directory import LOCK_VARIABLE, OwnedRunDirectory, RunDirectoryTaken
from temporal_fleet.supervisor.shell.stack_log import StackLog
from temporal_fleet.supervisor.shell.suspects import SuspectsFile
from temporal_fleet.supervisor.shell.tally import Tally
from temporal_fleet.supervisor.shell.upgrade import Upgrade, become_the_new_code
from temporal_fleet.supervisor.shell.vitals import Vitals
from temporal_fleet.supervisor.shell.wakeup import Wakeup

_log = structlog.get_logger()


class CannotStart(Exception):
    """The fleet was not started. The message names the place and the remedy."""


def supervise(config: Config) -> int:
    """Run a fleet in the foreground until it is told to stop; the exit status.

    Raises CannotStart.
    """
    inherited = Inherited.replaced()
    prepare_title()
    set_title(config.fleet.name, "supervisor")
    lock = os.environ.pop(LOCK_VARIABLE, "")
    try:
        run = OwnedRunDirectory(RunDirectory(config.fleet.run_dir), int(lock) if lock.isdecimal() else None)
    except (ProtocolMisuse, RunDirectoryTaken) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(
            f"{config.fleet.run_dir}: {error.strerror}; set [fleet] run_dir to a folder that can be made"
        ) from error
    try:
        environment = _supervise(config, run, inherited)
        if environment is not None:
            inherited.restore()
            become_the_new_code(run.lock, environment)
    finally:
        run.release()
    return 0


def _supervise(config: Config, run: OwnedRunDirectory, inherited: Inherited) -> dict[str, str] | None:
    """Until the fleet has stopped; or until other code is to go on with it, and with these variables besides
    the environment."""
    chosen = _open_log(config)
    heartbeats = Heartbeats()
    # Before anything is started that would inherit what is meant for this process.
    notifier = Notifier(os.environ, heartbeats.cached)
    dev_server = _dev_server(config, run.paths)
    kept = BooksFile(run)
    known = _known(kept)
    become_subreaper()
    configuration = Configuration(
        config,
        dict(os.environ),
        cluster_address=dev_server.address if dev_server else None,
        supervisor_pid=os.getpid(),
        log_format=chosen,
    )
    wakeup = Wakeup()
    children = Children()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    bus = Bus(context, run.paths)
    _admit_users(run, bus)
    control = Control(context, run.paths)
    examinations = Examinations(control)
    helpers = Helpers(
        children,
        configuration.watch(),
        dev_server,
        log_format=chosen,
        log_files=log_files(config),
        run_dir=run.paths.path,
        inherited=inherited,
        examined=examinations.answer,
    )
    tally = Tally()
    announcer = Announcer(control, time.time)
    evictions = Evictions(bus, control, announcer, heartbeats)
    stacks = StackLog(run.paths, children)
    suspects, vitals = SuspectsFile(config.fleet.state_dir), Vitals()
    upgrade = Upgrade(control, children, configuration)
    loop = Loop(
        Fleet(embedded=dev_server is not None),
        books=kept,
        wakeup=wakeup,
        bus=bus,
        control=control,
        children=children,
        helpers=helpers,
        evictions=evictions,
        examinations=examinations,
        heartbeats=heartbeats,
        announcer=announcer,
        stacks=stacks,
        upgrade=upgrade,
        notifier=notifier,
        tally=tally,
    )
    started = time.monotonic()

    def report(pss: bool) -> StatusReport:
        heard = helpers.cluster_state
        embedded = dev_server.address if dev_server else None
        surroundings = reports.Surroundings(
            name=config.fleet.name,
            pid=os.getpid(),
            config=_text(config.path),
            run_dir=str(run.paths.path),
            address=heard.address if heard else embedded or configuration.config.cluster.address or "",
            namespace=heard.namespace if heard else configuration.config.cluster.namespace or "",
            ui=dev_server.ui if dev_server else None,
            started=started,
            dropped=bus.dropped + control.dropped,
            log_dir=_text(configuration.config.fleet.log_dir),
            journal=journal_place(os.environ),
        )
        return reports.status(loop.fleet, surroundings, heartbeats, vitals, time.monotonic(), pss=pss)

    requests = Requests(
        control,
        configuration,
        helpers,
        children,
        evictions,
        examinations,
        upgrade,
        run.paths,
        report,
        tally,
    )
    settings = LiveSettings(configuration, bus, children, helpers)
    performer = Performer(
        run=run,
        books=kept,
        children=children,
        helpers=helpers,
        bus=bus,
        requests=requests,
        evictions=evictions,
        dead=Dead(run, helpers, time.time, configuration.task_queue),
        stacks=stacks,
        suspects=suspects,
        announcer=announcer,
        make_spec=configuration.entity_spec,
        settings=settings,
        supervisor_pid=os.getpid(),
    )
    _log.info(
        "starts",
        config=_text(config.path),
        run_dir=str(run.paths.path),
        pools=len(config.pools),
        cluster=dev_server.address if dev_server else None,
        ui=dev_server.ui if dev_server else None,
        python=sys.version.split()[0],
    )
    try:
        begun = Started(
            configuration.pools(),
            configuration.budget(),
            suspects.load(),
            settings.http,
            known,
            in_place=run.is_handed_over,
        )
        loop.run(performer, requests, begun, run.inherited())
        if upgrade.is_due:
            upgrade.hand_over(loop.fleet, helpers, run)
        else:
            children.kill_everything()
    except BaseException:
        _log.exception("the supervisor failed: entities work on for [fleet] orphan, then drain")
        raise
    finally:
        control.close()
        bus.socket.close()
        context.term()
        wakeup.close()
        notifier.close()
    return notifier.environment if upgrade.is_due else None


def _admit_users(run: OwnedRunDirectory, bus: Bus) -> None:
    """Of those that live on, each looks for us where it found the one before us."""
    for uid in run.users():
        run.let_in()
        bus.admit(uid)


def _open_log(config: Config) -> Literal["console", "json"]:
    """The form of its lines."""
    chosen = log_format(config, terminal=sys.stderr.isatty())
    log.configure(chosen, config.fleet.name, config.fleet.log_level)
    log.hide(secrets(config))
    log.use(log_files(config))
    return chosen


def _known(kept: BooksFile) -> Books:
    try:
        return kept.load()
    except RunDirectoryTaken as error:
        raise CannotStart(str(error)) from error


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _dev_server(config: Config, paths: RunDirectory) -> DevServerPlan | None:
    embedded = config.cluster.embedded
    if embedded is None:
        return None
    database, state_dir = embedded.database, config.fleet.state_dir
    if database is not None and database.parent == state_dir:
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotStart(
                f"the folder of [cluster.embedded] database cannot be made: {error}; make it for this user, "
                "or set [fleet] state_dir to another"
            ) from error
    try:
        return settle(
            embedded.port,
            embedded.ui_port,
            database,
            config.cluster.namespace or "default",
            paths.path,
        )
    except DevServerImpossible as error:
        raise CannotStart(str(error)) from error
