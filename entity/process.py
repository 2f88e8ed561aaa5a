"""What a process of ours does about itself at its birth and its end, whatever it is there for."""

import os
import signal
from functools import partial
from typing import Any, NoReturn

from temporal_fleet.entity.streams import flush_streams

_DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}
NOT_FOR_HELPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The terminal and the service manager talk to the supervisor; it ends a helper by closing the pair."""


def keep_signals_from_children() -> None:
    """Whoever the program forks from now on, as a process pool does, ends by a signal as any process: it
    would inherit a loop's handler, which does nothing there, and its wake-up pipe, which reaches us."""
    ours = {number: signal.getsignal(number) for number in _DEFAULTS}
    os.register_at_fork(after_in_child=partial(_take_back, ours))


def _take_back(ours: dict[signal.Signals, Any]) -> None:
    signal.set_wakeup_fd(-1)
    for number, default in _DEFAULTS.items():
        # The program may have chosen another meanwhile, for who it forks.
        if signal.getsignal(number) == ours[number]:
            signal.signal(number, default)


def leave(code: int) -> NoReturn:
    """End this process without the interpreter's own clean-up, which foreign threads do not survive."""
    flush_streams()
    os._exit(code)
