"""A helper that floods its pair with what is no message, and stays when it cannot any more."""

import contextlib
import os
import signal
import sys

with contextlib.suppress(OSError):
    while True:
        os.write(int(sys.argv[1]), b"rubbish")
signal.pause()
