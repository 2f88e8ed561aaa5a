"""The signals that one process of the fleet sends another beyond TERM, INT and KILL. Numbers only."""

import signal

DUMP_STACKS = signal.SIGRTMIN + 5
"""To an entity: append the Python stacks of every thread to its stacks file (`rundir.stacks`). It works
while the event loop hangs and while a thread holds the GIL. Real-time, since programs use USR1 and USR2."""

NOT_YET = 0o200
"""Mode of a stacks file whose entity would die of the signal still."""
TAKES_SIGNAL = 0o600
"""Its mode from then on."""
