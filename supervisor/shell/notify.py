"""Talks to the service manager that started us (sd_notify(3)): a datagram for what is new, and signs of life.
Without one it does nothing. What there is to tell is decided in core.service."""

import math
import os
import socket
import time
from collections.abc import Callable, MutableMapping

import structlog

from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.core.service import Stage, extension, next_stage, summary

_log = structlog.get_logger()

EXTEND_EVERY = 5.0
"""Seconds between two requests for more time."""
STATUS_EVERY = 0.5
"""Seconds between two lines about the fleet, at least."""
TRY_AGAIN = 0.2
"""Seconds after which what could not be told is tried again."""
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Notifier:
    """Takes what is meant for this process alone out of `environ`, so that no process of ours inherits it."""

    def __init__(self, environ: MutableMapping[str, str], cached: Callable[[Fleet], int]) -> None:
        """`cached`: how many executions a fleet has in its caches."""
        self.environment = {name: environ.pop(name) for name in _VARIABLES if name in environ}
        """What was taken: for whoever goes on in this process's place."""
        self._cached = cached
        self._manager = _place(self.environment.get("NOTIFY_SOCKET", ""))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._manager else None
        self._alive_every = _watchdog(self.environment) / 2
        self._stage = Stage.STARTING
        self._line = ""
        self._told: Fleet | None = None
        """The fleet that the line is about."""
        self._alive_due = math.inf if self._alive_every == math.inf else -math.inf
        self._status_due = self._extend_due = self._try_again = -math.inf

    def due(self, fleet: Fleet) -> float:
        """When there is something to tell, if nothing happens before."""
        if self._socket is None:
            return math.inf
        status = math.inf if fleet is self._told else self._status_due
        extend = self._extend_due if extension(self._stage, fleet) else math.inf
        return max(self._try_again, min(self._alive_due, status, extend))

    def tell(self, fleet: Fleet, now: float) -> None:
        """Everything that is new, or due. For each turn of the loop: it says that the loop turns."""
        if self._socket is None or now < self._try_again:
            return
        try:
            self._tell(fleet, now)
        except OSError:
            # Its queue is full, or it is being replaced itself. Nothing is lost: what was not told stays due.
            self._try_again = now + TRY_AGAIN

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _tell(self, fleet: Fleet, now: float) -> None:
        if now >= self._alive_due:
            self._send("WATCHDOG=1")
            self._alive_due = now + self._alive_every
        stage = next_stage(self._stage, fleet)
        if stage is not self._stage:
            self._send(*_news(stage))
            self._stage = stage
            self._status_due = self._extend_due = now
        more = extension(self._stage, fleet)
        if more and now >= self._extend_due:
            self._send(f"EXTEND_TIMEOUT_USEC={math.ceil(more * 1_000_000)}")
            self._extend_due = now + EXTEND_EVERY
        if now >= self._status_due:
            line = summary(fleet, self._cached(fleet))
            if line != self._line:
                self._send(f"STATUS={line}")
            self._line, self._told, self._status_due = line, fleet, now + STATUS_EVERY

    def _send(self, *assignments: str) -> None:
        """Never waits: a service manager that stands still is no reason to stand still as well."""
        assert self._socket is not None
        assert self._manager is not None
        self._socket.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, self._manager)


def _news(stage: Stage) -> tuple[str, ...]:
    match stage:
        case Stage.READY:
            return ("READY=1", f"MAINPID={os.getpid()}")
        case Stage.RELOADING:
            return ("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        case Stage.STOPPING:
            return ("STOPPING=1",)
    raise AssertionError(f"no stage leads back to {stage}")


def _place(address: str) -> str | None:
    """The address of a unix socket, as sockets take it."""
    if not address:
        return None
    if address[0] not in "/@":
        _log.warning("NOTIFY_SOCKET is neither a path nor abstract: nobody is told", address=address)
        return None
    return f"\0{address[1:]}" if address[0] == "@" else address


def _watchdog(environment: MutableMapping[str, str]) -> float:
    """Seconds within which a sign of life is expected; infinite: none is, or not of us."""
    text = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID", "")
    if meant_for and meant_for != str(os.getpid()):
        return math.inf
    return int(text) / 1e6 if text.isdecimal() and int(text) else math.inf
