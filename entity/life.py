"""One life of one entity, from the fork to `os._exit`: the order of things, and what each end is called.

The parts (link, connection, worker, vitals, streams) know nothing of each other; they meet here.
"""

import asyncio
import inspect
import logging
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, NoReturn

from temporalio.runtime import Runtime

from temporal_fleet.entity import connection
from temporal_fleet.entity.credentials import Credentials
from temporal_fleet.entity.evictor import Evictor
from temporal_fleet.entity.executions import Executions
from temporal_fleet.entity.farewell import see_off
from temporal_fleet.entity.link import Link
from temporal_fleet.entity.logs import CORE_LOGGER, EntityLog, configure_logging, entity_lines
from temporal_fleet.entity.metrics import EntityMetrics
from temporal_fleet.entity.process import keep_signals_from_children
from temporal_fleet.entity.program import LoadedProgram, client_plugins, worker_arguments
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.references import ProgramError, resolve, summary
from temporal_fleet.entity.runtime import entity_runtime
from temporal_fleet.entity.stacks import register_stack_dumper
from temporal_fleet.entity.standstill import standstill
from temporal_fleet.entity.sticky import find_sticky_queue
from temporal_fleet.entity.streams import flush_streams
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.entity.worker import EntityWorker
from temporal_fleet.protocol.blackbox import BlackBoxWriter
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.loglines import LogLines
from temporal_fleet.protocol.messages import Evict, Heartbeat
from temporal_fleet.protocol.process import own_identity
from temporal_fleet.protocol.rundir import RunDirectory, routing_id
from temporal_fleet.protocol.spec import EntitySpec, LogFiles
from temporal_fleet.protocol.title import set_short_name, set_title

_CONNECT_TIMEOUT = 10.0
_HEARTBEAT_INTERVAL = 1.0
_CANCELLATION_GRACE = 5.0
"""From the cancellation of activities to the kill, when no supervisor is there to do it."""


class _Cause(Enum):
    """Why an entity drains."""

    TOLD = "the supervisor told it to"
    SIGNAL = "it got a signal"
    ORPHANED = "no supervisor came back in time"


@dataclass(frozen=True)
class _Ending:
    code: ExitCode
    reason: str
    error: BaseException | None = None
    """Shown with its traceback."""


def live(spec: EntitySpec, loaded: LoadedProgram) -> NoReturn:
    """Be this entity, in a freshly forked process that leads a session of its own, until the process ends."""
    code = ExitCode.CRASHED
    lines = entity_lines(spec)
    try:
        code = _live(spec, loaded, lines)
    # Whatever it is, SystemExit included: below is the only way out.
    except BaseException as error:
        _say_early(spec, lines, f"it cannot live: {summary(error)}")
    finally:
        os._exit(code)


def _live(spec: EntitySpec, loaded: LoadedProgram, lines: LogLines) -> ExitCode:
    files = RunDirectory(spec.run_dir)
    blackbox = files.blackbox(spec.entity, spec.incarnation)
    stacks = files.stacks(spec.entity, spec.incarnation)
    try:
        box = BlackBoxWriter(blackbox, spec.entity, spec.incarnation, own_identity(), spec.gpus)
        register_stack_dumper(stacks)
    except OSError as error:
        _say_early(spec, lines, f"it cannot write to {files.entities}: {error.strerror}")
        return ExitCode.NO_BLACK_BOX
    if _is_superseded(spec, files):
        _say_early(spec, lines, "another supervisor has its place by now: it leaves")
        for file in (blackbox, stacks):
            # As another user we may make no files there, and remove none: the next supervisor does.
            with suppress(PermissionError):
                file.unlink(missing_ok=True)
        return ExitCode.STOPPED
    set_short_name(spec.entity)
    log = configure_logging(spec, lines)
    life = _Life(spec, loaded, box, log)
    ending = life.run()
    box.write_last_words(lines.secrets.hide(ending.reason))
    drained = ending.code in (ExitCode.STOPPED, ExitCode.ORPHANED)
    if drained:
        # It took leave of the Cluster. Who finds the box later, with no exit status, has nothing to recover.
        box.write_identity("")
    log.logger.log(
        logging.INFO if drained else logging.ERROR,
        ending.reason,
        exit=ending.code.name.lower(),
        exc_info=ending.error,
    )
    life.close()
    see_off(ending.code, life.loop if drained else None)
    return ending.code


def _is_superseded(spec: EntitySpec, files: RunDirectory) -> bool:
    """Whether the run directory has another supervisor than the one that ordered this life.

    That one wrote its PID down before it looked for black boxes; we look for it after we made ours: so it has
    found us, or we see it. It adopts whom it found; whom it did not find it cannot wait for, since nobody can
    tell it whether there was a fork, and without this a life that was slow to begin would be a second one. To
    leave costs nothing: nothing was asked of the Cluster yet.
    """
    try:
        holder = files.pid.read_text().strip()
    except FileNotFoundError:
        return False
    return holder not in {"", str(spec.supervisor_pid)}


def _say_early(spec: EntitySpec, lines: LogLines, text: str) -> None:
    """What has to be said before there is a log."""
    line = lines.text({"level": "error", "event": text}, spec.log_format)
    with suppress(OSError):
        os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))


class _Life:
    """The event loop and what runs on it. Listens to its Link."""

    def __init__(
        self,
        spec: EntitySpec,
        loaded: LoadedProgram,
        box: BlackBoxWriter,
        log: EntityLog,
    ) -> None:
        self._spec = spec
        self._loaded = loaded
        self._box = box
        self._log = log.logger
        self._output = log.output
        self._secrets = log.output.lines.secrets
        self._core_noise = log.core_noise
        self._log_levels = log.levels
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._leave, _Cause.SIGNAL)
        keep_signals_from_children()
        # Whoever forked us may have held signals back until we can take them.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._link = Link(spec, self, self.loop)
        files = RunDirectory(spec.run_dir)
        self._metrics = EntityMetrics(files.metrics(spec.entity), spec.entity, spec.incarnation)
        self._vitals = Vitals(spec.program.task_queue, self._metrics)
        self._executions = Executions(box)
        self._title = ""
        self._entitle()
        self._evictor = Evictor(self._executions, self._request_eviction)
        self._errands: set[asyncio.Task[None]] = set()
        self._worker: EntityWorker | None = None
        self._quieted: asyncio.Future[None] = self.loop.create_future()
        self._leaving: asyncio.Future[_Cause] = self.loop.create_future()
        self._orphaned_at: asyncio.TimerHandle | None = None
        self._overdue_at: asyncio.TimerHandle | None = None
        self._where: connection.Endpoint | None = None

    def run(self) -> _Ending:
        try:
            self.loop.run_until_complete(self._main())
        except connection.Unreachable as trouble:
            return _Ending(ExitCode.CLUSTER_UNREACHABLE, trouble.reason)
        except connection.Refused as trouble:
            return _Ending(ExitCode.CLUSTER_REFUSED, trouble.reason)
        except ProgramError as error:
            return _Ending(ExitCode.PROGRAM_UNUSABLE, error.reason)
        except _WorkerFailed as failed:
            return _Ending(ExitCode.WORKER_FAILED, str(failed), failed.__cause__)
        # SystemExit included: the program's code runs on this loop.
        except BaseException as error:
            return _Ending(ExitCode.CRASHED, f"it crashed: {summary(error)}", error)
        cause = self._leaving.result()
        code = ExitCode.ORPHANED if cause is _Cause.ORPHANED else ExitCode.STOPPED
        return _Ending(code, f"drained: {cause.value}")

    def close(self) -> None:
        if self._overdue_at is not None:
            self._overdue_at.cancel()
        self._measure()
        self._metrics.close()
        self._link.close()

    def drain_ordered(self) -> None:
        self._leave(_Cause.TOLD)

    def quiet_ordered(self) -> None:
        if not self._quieted.done():
            self._quieted.set_result(None)

    def settings_changed(self, log_level: str, log_files: LogFiles | None) -> None:
        self._log_levels.follow(log_level)
        self._output.use(log_files)

    def eviction_ordered(self, order: Evict) -> None:
        self._run_errand(self._evict(order))

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        """Beside the work, and not beyond it."""
        task = self.loop.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _evict(self, order: Evict) -> None:
        try:
            self._link.evicted(await self._evictor.evict(order))
        # Whatever it is, the executions that it was to evict are none the worse for it.
        except Exception as error:
            self._log.error("it could not evict as it was told to", exc_info=error)

    def _request_eviction(self, run_id: str) -> None:
        # Nothing is cached before there is a Worker.
        assert self._worker is not None
        self._worker.request_eviction(run_id)

    def supervisor_lost(self) -> None:
        self._log.warning("the supervisor is gone; working on for a while", orphan_s=self._spec.orphan)
        self._orphaned_at = self.loop.call_later(self._spec.orphan, self._leave, _Cause.ORPHANED)

    def supervisor_found(self) -> None:
        self._log.info("a supervisor is there again")
        if self._orphaned_at is not None:
            self._orphaned_at.cancel()

    def _leave(self, cause: _Cause) -> None:
        if self._leaving.done():
            return
        self._leaving.set_result(cause)
        self._link.draining(cause.name.lower())

    async def _main(self) -> None:
        # The program's own clients, made without a runtime, share it.
        runtime = entity_runtime(self._vitals.buffer, CORE_LOGGER)
        Runtime.set_default(runtime)
        if self._spec.program.after_fork is None:
            # Connecting is mostly waiting: the link is made meanwhile.
            boot = asyncio.create_task(self._boot(runtime))
            await asyncio.sleep(0)
            self._link.open(self._spec.supervisor_pid)
        else:
            # The hook may hold the loop for long: the supervisor hears of us before.
            self._link.open(self._spec.supervisor_pid)
            boot = asyncio.create_task(self._boot(runtime))
        work = asyncio.create_task(self._work(boot))
        pulse = asyncio.create_task(self._pulse())
        # The pulse ends by an error alone, and without it the entity would be killed for a hang.
        await _first(work, pulse)
        self._vitals.drain()
        for task in self._errands:
            task.cancel()
        if pulse.done():
            pulse.result()
        work.result()

    async def _work(self, boot: asyncio.Task[EntityWorker]) -> None:
        await _first(boot, self._leaving)
        if not boot.done():
            boot.cancel()
            return
        worker = boot.result()
        running = asyncio.create_task(self._run(worker))
        polling = asyncio.create_task(worker.polling())
        await _first(running, polling, self._leaving)
        if polling.done() and not running.done():
            polling.result()
            self._link.ready()
            self._beat()
            if worker.has_sticky_queue:
                self._run_errand(self._learn_sticky_queue(worker))
            await _first(running, self._quieted, self._leaving)
        polling.cancel()
        if self._quieted.done() and not running.done() and not self._leaving.done():
            await self._be_quiet(worker, running)
        if not running.done():
            self._log.info("it drains", activities_have_s=self._spec.drain)
            worker.drain()
            grace = self._spec.drain + _CANCELLATION_GRACE
            self._overdue_at = self.loop.call_later(grace, self._overdue)
        await running

    async def _learn_sticky_queue(self, worker: EntityWorker) -> None:
        name = await find_sticky_queue(worker.identity)
        if name is None:
            self._log.warning(
                "the name of its sticky queue is not known: after its death what comes for its executions "
                "may wait for the sticky time-out; please report this"
            )
        else:
            worker.name_sticky_queue(name)
            self._box.write_sticky_queue(name)

    async def _be_quiet(self, worker: EntityWorker, running: asyncio.Task[None]) -> None:
        """Until it is to leave, though all that it had may have ended long before; or its Worker fails."""
        self._log.info("it is quiet: it stops polling, and works on at what it has")
        worker.quiet()
        self._link.ready(quiet=True)
        await _first(running, self._leaving)
        if running.done() and running.exception() is None:
            await self._leaving

    async def _boot(self, runtime: Runtime) -> EntityWorker:
        spec = self._spec
        if spec.program.after_fork is not None:
            # It may read the same files, and fail with what they hold.
            self._secrets.learn(connection.known_secrets(spec.cluster))
            made = resolve(spec.program.after_fork, "after_fork")()
            if inspect.isawaitable(made):
                await made
        identity = connection.identity(spec.fleet, routing_id(spec.entity, spec.incarnation))
        self._box.write_identity(identity)
        self._where = connection.endpoint(spec.cluster)
        connect = partial(
            connection.connect,
            runtime=runtime,
            identity=identity,
            timeout=_CONNECT_TIMEOUT,
            plugins=client_plugins(self._loaded),
            learn=self._secrets.learn,
        )
        converter = connection.load_data_converter(spec.cluster.data_converter)
        client = await connect(self._where, data_converter=converter)
        arguments = await worker_arguments(self._loaded, spec.program, client, self._executions)
        recorder = Recorder(self._box, self._executions, self._empty_buffer)
        self._worker = EntityWorker(spec, arguments, client, self._vitals, recorder)
        credentials = Credentials(spec.cluster, self._where, client, connect, self._worker.reconnected)
        self._run_errand(credentials.watch(self._credentials_tried))
        return self._worker

    def _credentials_tried(self, problem: str) -> None:
        # A plugin's own words.
        self._link.credentials_tried(self._secrets.hide(problem))

    async def _run(self, worker: EntityWorker) -> None:
        try:
            await worker.run()
        except Exception as error:
            assert self._where is not None
            # What the core raises. Anything else comes from the program's plugins.
            trouble = connection.judge(error, self._where) if isinstance(error, RuntimeError) else None
            if trouble is not None:
                raise trouble from error
            raise _WorkerFailed(f"its Worker failed: {summary(error)}") from error

    async def _pulse(self) -> None:
        """Take in the metrics as often as they need it, and beat once a second."""
        next_beat = self.loop.time() + _HEARTBEAT_INTERVAL
        while True:
            pause = self._vitals.drain()
            self._metrics.write(self.loop.time())
            await asyncio.sleep(min(pause, max(0.0, next_beat - self.loop.time())))
            if self.loop.time() >= next_beat:
                self._beat()
                self._tidy()
                # Beats that a stall swallowed are not made up for.
                next_beat = self.loop.time() + _HEARTBEAT_INTERVAL

    def _empty_buffer(self) -> None:
        """Before a burst of tasks fills it, between two beats of the pulse: once it is full, the SDK loses
        the beginning of a series, and with it all that comes together with the rest of it."""
        self._vitals.drain()

    def _tidy(self) -> None:
        try:
            self._evictor.tidy()
        # No thread to be had, no memory: it is tried again, and what works goes on working.
        except Exception as error:
            self._log.warning("memory of evicted executions was not given back", reason=summary(error))

    def _beat(self) -> None:
        self._vitals.drain()
        self._vitals.dropped(self._core_noise.dropped_metrics)
        self._measure()
        self._entitle()
        executions = self._executions
        worker = self._worker
        recorder = worker.recorder if worker else None
        self._link.heartbeat(
            Heartbeat(
                entity=self._spec.entity,
                incarnation=self._spec.incarnation,
                cached_executions=executions.cached,
                blocked_executions=executions.blocked,
                evictions=executions.evictions,
                resurrections=executions.resurrections,
                inflight_activities=recorder.inflight_activities if recorder else 0,
                # The last of its metrics may be lost in the flood of polls that are refused.
                pollers=0 if worker is not None and worker.is_ending else self._vitals.pollers,
                metrics_dropped=self._core_noise.dropped_metrics,
                tasks=recorder.tasks if recorder else 0,
                unrecorded=self._box.unrecorded,
                standstill=standstill(self._vitals, worker.recorder, worker.polled) if worker else None,
                workflow_slots=self._vitals.usage("workflow_task"),
                activity_slots=self._vitals.usage("activity_task"),
            )
        )

    def _entitle(self) -> None:
        title = f"{self._spec.entity} {self._link.standing} {self._executions.cached} cached"
        if title != self._title:
            self._title = title
            set_title(self._spec.fleet, title)

    def _measure(self) -> None:
        """What of ours only grows, for whoever looks at rates."""
        executions = self._executions
        recorder = self._worker.recorder if self._worker else None
        self._metrics.count("evictions", executions.evictions)
        self._metrics.count("resurrections", executions.resurrections)
        self._metrics.count("tasks", recorder.tasks if recorder else 0)
        while executions.resurrected:
            self._metrics.resurrected(executions.resurrected.popleft())

    def _overdue(self) -> None:
        """Activities run on although they were cancelled. A supervisor kills such an entity; an orphan has to
        do it itself: by a signal, since a death by signal is what gets its work recovered."""
        if self._link.has_supervisor:
            self._overdue_at = self.loop.call_later(_HEARTBEAT_INTERVAL, self._overdue)
            return
        reason = "orphaned, and its activities did not end when they were cancelled: it killed itself"
        self._box.write_last_words(reason)
        self._log.error(reason)
        flush_streams()
        os.kill(os.getpid(), signal.SIGKILL)


class _WorkerFailed(Exception):
    """The SDK's Worker failed, by no fault of the Cluster."""


async def _first(*futures: asyncio.Future[Any]) -> None:
    """Return when one of them is done, whatever with."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
