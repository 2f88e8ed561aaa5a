"""A helper that closes its end of the pair and stays."""

import os
import signal
import sys

os.close(int(sys.argv[1]))
signal.pause()
