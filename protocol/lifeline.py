"""A process that must not outlive another: the kernel ends it, whatever it is stuck in."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
# Looked up beforehand: between fork and exec there is no room for a lookup that fails.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """In a child that was just forked: be killed when its parent, which has this PID, ends.

    Lasts through an exec, and is not inherited by forks. It is the end of the thread that forked that
    counts. A child whose parent is gone already, or that the kernel refuses this, ends here with status 1.
    """
    refused = _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0
    if refused or os.getppid() != parent:
        os._exit(1)
