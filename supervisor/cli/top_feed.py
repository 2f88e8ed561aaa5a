"""What `top` hears of a fleet, whoever supervises it: reports once a second, events as they come, and that
nobody is there. In threads, since whoever waits for a supervisor that hangs must still hear the keys.
"""

import os
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from temporal_fleet.protocol.report import EventReport, StatusReport
from temporal_fleet.supervisor.cli import client
from temporal_fleet.supervisor.cli.client import Supervisor
from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.place import Place
from temporal_fleet.supervisor.cli.status import Reports

_EVERY = 1.0
_TRY_AGAIN = 1.0


@dataclass(frozen=True)
class Gone:
    """Nobody answers."""

    reason: str


Heard = StatusReport | EventReport | Gone


class Feed:
    """Its descriptor is readable when there is something to take, or somebody woke it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for work in (self._ask, self._listen):
            threading.Thread(target=work, name=f"top {work.__name__}", daemon=True).start()

    def fileno(self) -> int:
        return self._reader

    def take(self) -> list[Heard]:
        """All since the last time."""
        with suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        heard = []
        with suppress(queue.Empty):
            while True:
                heard.append(self._heard.get_nowait())
        return heard

    def wake(self) -> None:
        # A pipe that is full wakes as well.
        with suppress(BlockingIOError):
            os.write(self._writer, b".")

    def _tell(self, heard: Heard) -> None:
        self._heard.put(heard)
        self.wake()

    def _ask(self) -> None:
        while True:
            try:
                with Supervisor(self._place) as supervisor:
                    reports = Reports(supervisor)
                    while not supervisor.ended_within(_EVERY):
                        self._tell(reports.next())
                self._tell(Gone(f"the supervisor (PID {supervisor.pid}) has ended"))
            except Failure as failure:
                self._tell(Gone(failure.message))
            time.sleep(_TRY_AGAIN)

    def _listen(self) -> None:
        """Reports tell why there are no events."""
        while True:
            with suppress(Failure):
                for event in client.events(self._place, _nobody):
                    self._tell(event)
            time.sleep(_TRY_AGAIN)


def _nobody(_pid: int) -> None:
    return
