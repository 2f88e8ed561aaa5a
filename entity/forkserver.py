"""The fork server: imports one Worker Program, then forks entities from itself until its pair closes.

It has one thread and never connects to anything. An entity is forked twice over, so that it is orphaned to
the supervisor, which is thereby its real parent. Run as a module, with the descriptor of its end of the
pair as its argument.
"""

# Two are not used here: the SDK asks for them late, and no entity shall import them for itself.
import concurrent.futures.process  # noqa: F401
import errno
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from types import FrameType, ModuleType
from typing import Any, NoReturn

import temporalio.worker.workflow_sandbox._in_sandbox  # noqa: F401
from structlog.stdlib import BoundLogger
from temporalio.runtime import Runtime
from temporalio.worker._worker import load_default_build_id

from temporal_fleet.entity.code import OwnCode
from temporal_fleet.entity.gpus import see_only
from temporal_fleet.entity.heap import settle_heap
from temporal_fleet.entity.life import live
from temporal_fleet.entity.logs import log_beside_programs
from temporal_fleet.entity.output import Output
from temporal_fleet.entity.process import NOT_FOR_HELPERS, leave
from temporal_fleet.entity.program import LoadedProgram, ProgramError, load
from temporal_fleet.entity.streams import flush_streams, guard_streams
from temporal_fleet.entity.threads import require_single_thread, thread_count
from temporal_fleet.entity.trial import Inventory, tried
from temporal_fleet.protocol.channel import Channel, ChannelClosed, inherited_channel
from temporal_fleet.protocol.code import code_digest, distributions, pack
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import (
    Forked,
    ForkEntity,
    ForkRefused,
    LogSettings,
    Prepare,
    Prepared,
    ProgramRefused,
    ToForkServer,
)
from temporal_fleet.protocol.spec import EntitySpec, ProgramSpec
from temporal_fleet.protocol.title import prepare_title, set_title

SignalHandlers = Mapping[int, Any]


def prepare(spec: ProgramSpec) -> tuple[LoadedProgram, Inventory, OwnCode]:
    """Import a program and find out whether it would run, and what code it is. Raises ProgramError."""
    sys.path[:] = [spec.path, *(entry for entry in sys.path if entry != spec.path)]
    sys.argv[:] = [spec.program]
    # The program's own process pools would import the fork server as their main module.
    sys.modules["__main__"] = ModuleType("__main__")
    Runtime.prevent_default()  # type: ignore[no-untyped-call]
    own = OwnCode(spec)
    sys.meta_path.insert(0, own)
    loaded = load(spec)
    own.settle()
    require_single_thread(spec.program)
    flush_streams()
    loaded, inventory = tried(loaded, spec, own)
    # The sandbox ran the program's modules once more.
    require_single_thread(spec.program)
    # The SDK remembers it, and an entity's Worker() would otherwise hash the code of every module.
    load_default_build_id()
    return loaded, inventory, own


class ForkServer:
    """Forks entities of one prepared program."""

    def __init__(
        self,
        channel: Channel[ToForkServer],
        loaded: LoadedProgram,
        handlers: SignalHandlers,
        log: BoundLogger,
        output: Output,
    ) -> None:
        self._log = log
        self._output = output
        self._channel = channel
        self._loaded = loaded
        self._handlers = handlers
        # Blocked, so that one sent to a newborn entity waits until it has its own handlers, and unblocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_HELPERS)
        self._collects = gc.isenabled()
        gc.disable()
        settle_heap()

    def serve(self) -> NoReturn:
        """Until the pair closes; raises ChannelClosed."""
        while True:
            match self._channel.receive():
                case ForkEntity(spec=spec):
                    self._fork(spec)
                case LogSettings(files=files):
                    self._output.use(files)
                case Prepare():
                    self._log.error("a fork server prepares one program only")

    def _fork(self, spec: EntitySpec) -> None:
        threads = thread_count()
        if threads != 1:
            self._refuse(spec, f"the fork server has {threads} threads, and cannot be forked safely")
            return
        flush_streams()
        try:
            intermediate = os.fork()
        except OSError as error:
            self._refuse(spec, _name_and_text(error))
            return
        if intermediate == 0:
            self._fork_again(spec)
        _, status = os.waitpid(intermediate, 0)
        if status != 0:
            # Nobody can tell whether it forked the entity before. Our own end makes the supervisor look.
            why = f"the process that forks {spec.entity} ended with wait status {status}"
            self._log.error(f"{why}, so its fork server ends too")
            leave(ExitCode.CRASHED)

    def _fork_again(self, spec: EntitySpec) -> NoReturn:
        """In the intermediate process: it announces the entity, so that even if the fork server is killed
        meanwhile no entity goes unannounced."""
        try:
            try:
                pid = os.fork()
            except OSError as error:
                self._refuse(spec, _name_and_text(error))
            else:
                if pid == 0:
                    self._become_entity(spec)
                self._channel.send(Forked(entity=spec.entity, incarnation=spec.incarnation, pid=pid))
        except ChannelClosed:
            # The supervisor is gone; the entity finds out by itself and knows what to do.
            pass
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _refuse(self, spec: EntitySpec, reason: str) -> None:
        self._channel.send(ForkRefused(entity=spec.entity, incarnation=spec.incarnation, reason=reason))

    def _become_entity(self, spec: EntitySpec) -> NoReturn:
        try:
            os.setsid()
            self._channel.close()
            self._output.close()
            signal.set_wakeup_fd(-1)
            set_handlers(self._handlers)
            reseed()
            if self._collects:
                gc.enable()
            see_only(spec.gpus)
            live(spec, self._loaded)
        except BaseException:
            traceback.print_exc()
        leave(ExitCode.CRASHED)


def _name_and_text(error: OSError) -> str:
    return f"{errno.errorcode.get(error.errno or 0, error.errno)}: {error.strerror}"


def reseed() -> None:
    """Give an entity random numbers of its own: Python's own module sees to itself after a fork."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def current_handlers() -> dict[int, Any]:
    """Of each signal whose handler Python knows."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {number: handler for number, handler in handlers.items() if handler is not None}


def set_handlers(handlers: SignalHandlers) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def main() -> NoReturn:
    prepare_title()
    guard_streams()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    handlers = current_handlers()
    deaf: dict[int, Any] = dict.fromkeys(NOT_FOR_HELPERS, _do_nothing)
    set_handlers(deaf)
    channel = inherited_channel(int(sys.argv[1]), ToForkServer)
    try:
        request = channel.receive()
        if not isinstance(request, Prepare):
            raise TypeError(f"a fork server must Prepare first, and was sent {type(request).__name__}")
        set_title(request.log.fleet, f"fork server {request.program.program}")
        log, output = log_beside_programs(request.log, request.program)
        began = time.monotonic()
        try:
            loaded, inventory, own = prepare(request.program)
        except ProgramError as refused:
            hide = output.lines.secrets.hide
            channel.send(ProgramRefused(reason=hide(refused.reason), detail=hide(refused.detail)))
            leave(ExitCode.PROGRAM_UNUSABLE)
        for warning in loaded.warnings:
            log.warning(warning)
        # The program may have set handlers when it was imported, for the process that it thought it had.
        set_handlers({**handlers, **deaf})
        server = ForkServer(channel, loaded, handlers, log, output)
        files = own.files()
        search_path = [os.fsencode(folder) for folder in sys.path]
        channel.send(
            Prepared(
                workflows=inventory.workflows,
                activities=inventory.activities,
                nexus_services=inventory.nexus_services,
                seconds=time.monotonic() - began,
                code=code_digest(files, distributions(search_path)),
                files=pack(files),
                search_path=search_path,
            )
        )
        server.serve()
    except ChannelClosed:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        leave(ExitCode.CRASHED)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN it is not inherited by what the program executes."""


if __name__ == "__main__":
    main()
