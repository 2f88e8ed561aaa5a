"""Where the log lines of this process go: to the streams that it inherited, or into a file of its own; that
may change in the middle of its life. How loggers come here is decided in logs.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from temporal_fleet.entity.streams import GuardedOutput, guard_streams, tell_lines
from temporal_fleet.entity.tasks import task_ids
from temporal_fleet.protocol.logfile import LogFile
from temporal_fleet.protocol.loglevels import LEVELS
from temporal_fleet.protocol.loglines import LogLines
from temporal_fleet.protocol.spec import LogFiles

_LEVELS = {1: "info", 2: "warning"}
_STREAMS = {1: "stdout", 2: "stderr"}


class Output:
    """Takes standard output and error over: what is printed becomes lines as well. What goes to descriptors 1
    and 2 by another way (a C library, a child process) passes as it is, to where the lines go.

    `name`: of the file, as of protocol.logfile.
    """

    def __init__(self, lines: LogLines, stream_format: str, name: str) -> None:
        self.lines = lines
        self._stream_format = stream_format
        self._name = name
        self._streams = {1: GuardedOutput(_inherited(1)), 2: GuardedOutput(_inherited(2))}
        self._colours = self._streams[2].isatty()
        self._file: LogFile | None = None
        self._follows: tuple[LogFiles | None] | None = None
        """What `use` was told last."""

    def use(self, files: LogFiles | None) -> None:
        """Log there from now on; None: to the inherited streams. Never raises: the log says what is wrong."""
        if (files,) == self._follows:
            return
        self._follows = (files,)
        former = self._file
        if files is None:
            self._file = None
            for descriptor, stream in self._streams.items():
                os.dup2(stream.fileno(), descriptor)
        else:
            self._file = LogFile(files, self._name, self._streams[2].fileno(), self._own_line, (1, 2))
        if former is not None:
            former.close()

    def close(self) -> None:
        """In a process that has another one in its place."""
        if self._file is not None:
            self._file.close()

    def take_prints(self) -> None:
        """What is printed becomes lines from now on."""
        guard_streams()
        tell_lines(self._printed)

    def render(self, event: Mapping[str, Any]) -> str:
        if self._file is not None:
            return self.lines.json(event)
        return self.lines.text(event, self._stream_format, colours=self._colours)

    def write(self, line: str, descriptor: int = 2) -> None:
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        if self._file is not None:
            self._file.write(data)
        else:
            stream = self._streams[descriptor]
            if lost := stream.lost_bytes:
                told = self._own_line(f"{lost} bytes were lost here: nobody read them")
                stream.write(b"\n" + told if stream.is_torn else told)
                if stream.lost_bytes == lost:
                    stream.lost_bytes = 0
            stream.write(data)

    def _printed(self, descriptor: int, line: bytes) -> None:
        event = {"level": _LEVELS[descriptor], **_understood(line), "stream": _STREAMS[descriptor]}
        self.write(self.render({**event, **task_ids()}), descriptor)

    def _own_line(self, text: str) -> bytes:
        return f"{self.lines.json({'level': 'error', 'event': text})}\n".encode("utf-8", "backslashreplace")


def _understood(line: bytes) -> dict[str, Any]:
    """Of a line that is a JSON object, as programs print them that log in JSON, what it holds."""
    text = line.decode("utf-8", "backslashreplace").rstrip()
    if not text.startswith("{"):
        return {"event": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {"event": text}
    event = next((found.pop(key) for key in ("event", "message", "msg") if key in found), "")
    level = str(found.pop("level", found.pop("severity", ""))).lower()
    return {**found, "event": event, **({"level": level} if level in LEVELS else {})}


_kept: dict[int, int] = {}


def _inherited(descriptor: int) -> int:
    """What a standard descriptor was when this process began, kept when a file takes its place."""
    if descriptor not in _kept:
        stream = sys.stdout if descriptor == 1 else sys.stderr
        if stream is not None:
            stream.flush()
        try:
            _kept[descriptor] = os.dup(descriptor)
        except OSError:
            # It is closed: what goes there goes nowhere.
            _kept[descriptor] = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    return _kept[descriptor]
