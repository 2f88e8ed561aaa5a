"""An act of `top`: the command of the same name as a process, and what it prints."""

import codecs
import os
import subprocess
import sys
from collections.abc import Sequence

_MOST_LINES = 5000


class RunningAct:
    """Its descriptor is readable when it has printed, or ended."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: the command line after `temporal-fleet`."""
        self.command = " ".join(("temporal-fleet", *words))
        self.lines = [f"$ {self.command}"]
        self._unfinished = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "temporal_fleet.supervisor.cli.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader: subprocess.Popen[bytes] | None = None
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def fileno(self) -> int:
        return self._output.fileno()

    def read(self) -> bool:
        """Take in what it has printed; whether it goes on."""
        data = os.read(self._output.fileno(), 65536)
        *whole, self._unfinished = (self._unfinished + self._decoder.decode(data, final=not data)).split("\n")
        self.lines += whole
        if not data:
            self.lines += [self._unfinished] if self._unfinished else []
            self.lines.append(f"(exit status {self.ended()})")
            self._output.close()
        del self.lines[1:-_MOST_LINES]
        return bool(data)

    def ended(self) -> int:
        """Its exit status; waits for its end, and for that of who reads what it prints."""
        status = self._process.wait()
        if self._reader is not None:
            self._reader.wait()
        return status

    def leave(self) -> None:
        """It goes on, unseen: it was confirmed, and may not have asked for anything yet. Somebody reads what
        it still prints, since it would fail at that."""
        self._reader = subprocess.Popen(
            ["cat"],
            stdin=self._output,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._output.close()
