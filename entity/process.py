"""What a process of ours does about itself at its birth and its end, whatever it is there for."""

import ctypes
import os
import signal
from typing import NoReturn

from temporal_fleet.entity.streams import flush_streams

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, even while it is stuck in foreign code.

    Not inherited by forks. It is the parent's thread that forked us whose end counts.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def leave(code: int) -> NoReturn:
    """End this process without the interpreter's own clean-up, which foreign threads do not survive."""
    flush_streams()
    os._exit(code)
