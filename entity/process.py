"""What a process of ours does about itself at its birth and its end, whatever it is there for."""

import os
import signal
from typing import NoReturn

from temporal_fleet.entity.streams import flush_streams

NOT_FOR_HELPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The terminal and the service manager talk to the supervisor; it ends a helper by closing the pair."""


def keep_signals_from_children() -> None:
    """Whoever the program forks from now on, as a process pool does, ends by a signal as any process: it
    would inherit a loop's handler, which does nothing there, and its wake-up pipe, which reaches us."""
    os.register_at_fork(after_in_child=_take_back_signals)


def _take_back_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(code: int) -> NoReturn:
    """End this process without the interpreter's own clean-up, which foreign threads do not survive."""
    flush_streams()
    os._exit(code)
