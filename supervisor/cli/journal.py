"""The journal of systemd, where the lines of a fleet are that runs as a service: read by journalctl, which
knows who may."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.log_lines import Choice, Line, read_line


@dataclass
class Journal:
    """Of one unit."""

    unit: str
    user: bool
    """It is a unit of the user's own service manager."""
    choice: Choice
    _cursor: str = field(default="", init=False)

    def last(self, number: int | None) -> Iterator[Line]:
        """The last of what is there; None: all, which is read while it is taken."""
        if number is None:
            return self._all()
        lines: list[Line] = []
        for entry in self._entries("--reverse", *self._since()):
            self._cursor = self._cursor or entry["__CURSOR"]
            if len(lines) == number:
                break
            line = _line(entry)
            if self.choice.takes(line):
                lines.append(line)
        return reversed(lines)

    def _all(self) -> Iterator[Line]:
        for entry in self._entries(*self._since()):
            self._cursor = entry["__CURSOR"]
            line = _line(entry)
            if self.choice.takes(line):
                yield line

    def follow(self) -> Iterator[Line]:
        """What comes after `last`, until journalctl ends."""
        after = [f"--after-cursor={self._cursor}"] if self._cursor else self._since()
        for entry in self._entries("--follow", "--lines=all", *after):
            line = _line(entry)
            if self.choice.takes(line):
                yield line

    def _since(self) -> list[str]:
        return [] if self.choice.since is None else [f"--since=@{self.choice.since:.6f}"]

    def _entries(self, *arguments: str) -> Iterator[dict[str, Any]]:
        command = ["journalctl", *(("--user",) if self.user else ()), f"--unit={self.unit}"]
        command += ["--output=json", "--output-fields=MESSAGE", "--all", "--quiet", *arguments]
        try:
            reading = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise Failure(
                f"journalctl, which reads the journal of {self.unit}, cannot be run: {error.strerror}",
                "install it, or give the fleet files of its own: [fleet] log_dir",
            ) from error
        assert reading.stdout is not None
        assert reading.stderr is not None
        with reading:
            try:
                for text in reading.stdout:
                    yield json.loads(text)
                complaint = reading.stderr.read().decode("utf-8", "replace").strip()
                if reading.wait() != 0:
                    raise Failure(
                        f"journalctl does not show the journal of {self.unit}: {complaint}",
                        "a member of the group systemd-journal may read it",
                    )
            finally:
                reading.kill()


def _line(entry: dict[str, Any]) -> Line:
    message = entry.get("MESSAGE") or ""
    # What is no UTF-8 comes as a list of bytes; several fields of that name as a list of those.
    text = bytes(message) if isinstance(message, list) and all(isinstance(b, int) for b in message) else None
    encoded = str(message).encode("utf-8", "backslashreplace") if text is None else text
    return read_line(encoded, int(entry["__REALTIME_TIMESTAMP"]) / 1e6, {})
