"""On SIGUSR1 its main thread, and with it the event loop, hangs."""

import signal
import time
from types import FrameType

from shop import *  # noqa: F403


def stuck_in_here(_number: int, _frame: FrameType | None) -> None:
    while True:
        time.sleep(3600)


def after_fork() -> None:
    signal.signal(signal.SIGUSR1, stuck_in_here)
