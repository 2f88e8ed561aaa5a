"""The stack dumper of an entity: on a signal, the Python stacks of every thread go to its stacks file.

In C and without the GIL, so that it answers when nothing else of the entity does.
"""

import faulthandler
import os
import signal
from pathlib import Path

from temporal_fleet.protocol.signals import DUMP_STACKS, NOT_YET, TAKES_SIGNAL


def register_stack_dumper(path: Path) -> None:
    """Raises OSError when the file cannot be created."""
    # Kept open: what the handler writes to must be there when no code of ours can run any more.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, NOT_YET)
    faulthandler.register(DUMP_STACKS, file=descriptor, all_threads=True, chain=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [DUMP_STACKS])
    # Who asks for stacks knows by it that the signal is not deadly any more. A word in the file would be a
    # page less for black boxes.
    os.fchmod(descriptor, TAKES_SIGNAL)
    if not faulthandler.is_enabled():
        faulthandler.enable(file=2, all_threads=True)
