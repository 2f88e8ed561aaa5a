"""That a process has one thread, as it must before it forks: a lock that another thread holds at that
instant stays locked for ever in the child.

Native threads that their library ends at each fork (OpenBLAS does, by pthread_atfork) are harmless, and are
told from others by forking once to see. Every other thread is a refusal.
"""

import os
import sys
import threading
from pathlib import Path
from types import FrameType

from temporal_fleet.entity.references import ProgramError

_TASKS = Path("/proc/self/task")


def thread_count() -> int:
    # Asked before each fork, where a Path for each entry would be most of the cost.
    return len(os.listdir(_TASKS))  # noqa: PTH208


def require_single_thread(program: str) -> None:
    """Raise ProgramError, naming the threads, if the program that was imported left any."""
    if thread_count() == 1:
        return
    names = _python_threads()
    if not names:
        _fork_and_forget()
        if thread_count() == 1:
            return
        names = _native_threads()
    raise ProgramError(
        f'program = "{program}" leaves {len(names)} thread{"s" * (len(names) != 1)} running when it is '
        f"imported ({'; '.join(names)}), and a process with threads cannot be forked safely; start threads, "
        "Temporal clients and runtimes in `after_fork` or in a `module:factory`: each entity calls them"
    )


def _fork_and_forget() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _python_threads() -> list[str]:
    known = {thread.ident: thread for thread in threading.enumerate()}
    return [
        _describe(known.get(identifier), frame)
        for identifier, frame in sys._current_frames().items()
        if identifier != threading.get_ident()
    ]


def _describe(thread: threading.Thread | None, frame: FrameType) -> str:
    """Its name, and where its code begins: past the standard library's own frames."""
    outermost = frame
    while outermost.f_back is not None and outermost.f_back.f_code.co_filename != threading.__file__:
        outermost = outermost.f_back
    name = thread.name if thread is not None else "a thread without a name"
    return f"{name}, {outermost.f_code.co_filename}:{outermost.f_code.co_firstlineno}"


def _native_threads() -> list[str]:
    own = str(os.getpid())
    return [(task / "comm").read_text().strip() for task in sorted(_TASKS.iterdir()) if task.name != own]
