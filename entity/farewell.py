"""What an entity does for its program at the end of its process, as the interpreter would: tasks, children,
exit hooks, streams. Within a time limit; how the Worker ends is in departure."""

import asyncio
import atexit
import logging
import os
import signal
from functools import partial
from types import FrameType

from temporal_fleet.entity.streams import flush_streams

_SECONDS = 5
_TASKS_SECONDS = 2.0
"""Of these, for tasks that were cancelled, and for generators."""

_logger = logging.getLogger(__name__)


def see_off(code: int, loop: asyncio.AbstractEventLoop | None) -> None:
    """Exits with that code where it takes too long. `loop`: what the program still has there is ended; None:
    it is not, as of an entity that failed, where its recovery is to find what its Worker still has."""
    signal.signal(signal.SIGALRM, partial(_out_of_time, code))
    signal.alarm(_SECONDS)
    if loop is not None:
        _end_tasks(loop)
    # The workers of a process pool wait for work for ever once their parent is gone.
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    atexit._run_exitfuncs()
    flush_streams()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is there, as `asyncio.run` would, and let it end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_TASKS_SECONDS))
        generators = loop.shutdown_asyncgens()
        loop.run_until_complete(asyncio.wait_for(generators, _TASKS_SECONDS))
    # SystemExit included: whatever a task does about its end, there is more to see to.
    except BaseException as error:
        _logger.warning("what its program left in the event loop did not end", exc_info=error)


def _out_of_time(code: int, _number: int, _frame: FrameType | None) -> None:
    os._exit(code)
