"""Signals as something a poller can wait for. Handlers only wake the loop; what a signal means is not
decided here."""

import contextlib
import signal
import socket
from types import FrameType

HANDLED = (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def hold_signals() -> None:
    """Until the next Wakeup, which may be that of another program in this process: none is lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def release_signals() -> None:
    """Those that were held come now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


class Wakeup:
    """Takes over the process's handling of HANDLED until `close`."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._received: set[int] = set()
        # The bytes in the pair only wake: which signal it was, a full pair would lose.
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._note) for number in HANDLED}
        # Who was this process before may have held them back.
        release_signals()

    def fileno(self) -> int:
        return self._reader.fileno()

    def received(self) -> set[int]:
        """The signals since the last time, each once for a repetition that nobody could tell apart."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        numbers, self._received = self._received, set()
        return numbers

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received.add(number)
