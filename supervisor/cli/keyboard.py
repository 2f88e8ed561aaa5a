"""The keys of a terminal, one by one and unseen, as names. What they mean is not known here."""

import codecs
import os
import re
import select
import termios
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Final, Self

_NAMES: Final = {
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
"""A control sequence (ECMA-48), a key of a keypad, or one character."""
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
_REST_WITHIN = 0.03
"""Seconds in which a terminal sends the rest of a sequence; the key Escape sends nothing more."""


def names(text: str) -> list[str]:
    """`up`, `enter`, `q`, …: what a terminal sent. What has no name is left out."""
    found = (_NAMES.get(key, key) for key in _KEY.findall(text))
    return [key for key in found if key.isprintable()]


class Keyboard(AbstractContextManager["Keyboard"]):
    """A terminal that shows nothing of what is typed and does not wait for the end of a line, until it is
    left as it was. Ctrl-C stays what it is; Ctrl-Z and Ctrl-\\ are keys without a name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def __enter__(self) -> Self:
        self._former = termios.tcgetattr(self._descriptor)
        mode = termios.tcgetattr(self._descriptor)
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6] = [*mode[6]]
        # Nobody would restore the terminal for the shell that it goes back to.
        disabled = os.fpathconf(self._descriptor, "PC_VDISABLE").to_bytes(1, "little")
        mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = disabled
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What was typed meanwhile is not for the shell. A terminal that is gone has no state.
        with suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, self._former)

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[str]:
        """The keys that were pressed; waits for one. Raises EOFError when the terminal is gone."""
        text = self._more()
        while _UNFINISHED.search(text) and select.select([self._descriptor], [], [], _REST_WITHIN)[0]:
            text += self._more()
        return names(text)

    def _more(self) -> str:
        try:
            data = os.read(self._descriptor, 1024)
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return self._decoder.decode(data)
