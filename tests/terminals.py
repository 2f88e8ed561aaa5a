"""A command in a terminal of its own, as its user sees it: a real pseudo-terminal, and an emulator that keeps
the screen."""

import fcntl
import os
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyte

from tests.conftest import end_process
from tests.waiting import wait_until

_REAL_SCREEN = b"\x1b[?1049l"
_OTHER_SCREEN = b"\x1b[?1049h"
_CURSOR = b"\x1b[?25h"
_NO_CURSOR = b"\x1b[?25l"


class Terminal:
    def __init__(
        self, process: subprocess.Popen[bytes], ours: int, theirs: int, size: tuple[int, int]
    ) -> None:
        self.process = process
        self.sent = b""
        """All that the command has written to it."""
        self._ours = ours
        self._theirs = theirs
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the command by SIGWINCH."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)

    def lines(self) -> list[str]:
        """The screen as it is now."""
        while select.select([self._ours], [], [], 0)[0]:
            data = os.read(self._ours, 65536)
            self.sent += data
            self._stream.feed(data)
        return [line.rstrip() for line in self._screen.display]

    def see(self, text: str, within: float = 20.0) -> list[str]:
        """The first screen that shows it."""

        def seen() -> list[str] | None:
            lines = self.lines()
            return lines if any(text in line for line in lines) else None

        try:
            return wait_until(seen, within=within, what=f"{text!r} on the screen")
        except AssertionError as error:
            error.add_note("\n".join(self.lines()))
            raise

    def ended(self, within: float = 10.0) -> int:
        """The exit status, once the command is gone."""
        wait_until(lambda: self.lines() and self.process.poll() is not None, within=within, what="its end")
        self.lines()
        return self.process.wait()

    def mode(self) -> list[object]:
        """Of the terminal, as of termios."""
        return termios.tcgetattr(self._theirs)

    def is_as_before(self) -> bool:
        """Whether the screen and the cursor that were there before are back."""
        return self.sent.rfind(_REAL_SCREEN) > self.sent.rfind(_OTHER_SCREEN) and self.sent.rfind(
            _CURSOR
        ) > self.sent.rfind(_NO_CURSOR)


@contextmanager
def terminal(
    command: Sequence[str | Path],
    *,
    size: tuple[int, int] = (120, 30),
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Terminal]:
    """`size`: columns and lines. The command is killed at the end when it still runs."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        # Which may say something else of its size than the terminal itself.
        env={**environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        start_new_session=True,
        # It is the terminal that sends SIGWINCH, to who is controlled by it.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one Python thread
    )
    try:
        yield Terminal(process, ours, theirs, size)
    finally:
        end_process(process)
        for descriptor in (ours, theirs):
            with suppress(OSError):
                os.close(descriptor)
