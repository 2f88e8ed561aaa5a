"""An act of `top`: the command of the same name as a process, and what it prints."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

_MOST_LINES = 5000


class RunningAct:
    """Its descriptor is readable when it has printed, or ended."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: the command line after `temporal-fleet`."""
        self.command = " ".join(("temporal-fleet", *words))
        self.lines = [f"$ {self.command}"]
        self._unfinished = ""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "temporal_fleet.supervisor.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def fileno(self) -> int:
        return self._output.fileno()

    def read(self) -> bool:
        """Take in what it has printed; whether it goes on."""
        data = os.read(self._output.fileno(), 65536)
        *whole, self._unfinished = (self._unfinished + data.decode("utf-8", "replace")).split("\n")
        self.lines += whole
        if not data:
            self.lines += [self._unfinished] if self._unfinished else []
            self.lines.append(f"(exit status {self._process.wait()})")
            self._output.close()
        del self.lines[1:-_MOST_LINES]
        return bool(data)

    def leave(self) -> None:
        """It is not waited for: what it asked for goes on by itself, as after Ctrl-C."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._output.close()
