"""The standard output of a command, where it can be written and where it cannot. What is written does not
belong here."""

import io
import os

from temporal_fleet.supervisor.cli.failure import Failure


class Stdout(io.TextIOWrapper):
    """Raises Failure where it cannot be written, but for a reader that went away."""

    def __init__(self, stdout: io.TextIOWrapper) -> None:
        encoding, at_once = stdout.encoding, stdout.line_buffering
        # Not every text that is logged or told can be written in every encoding, nor a lone surrogate in any.
        super().__init__(stdout.detach(), encoding, "backslashreplace", line_buffering=at_once)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> Exception:
        if isinstance(error, BrokenPipeError):
            return error
        # What could not be written is tried again at the end of Python.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        return Failure(f"the output cannot be written: {error.strerror}", "write it to another place")
