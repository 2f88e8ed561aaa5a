"""What a process of ours does about itself at its birth and its end, whatever it is there for."""

import os
import signal
from typing import NoReturn

from temporal_fleet.entity.streams import flush_streams

NOT_FOR_HELPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The terminal and the service manager talk to the supervisor; it ends a helper by closing the pair."""


def leave(code: int) -> NoReturn:
    """End this process without the interpreter's own clean-up, which foreign threads do not survive."""
    flush_streams()
    os._exit(code)
