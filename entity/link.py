"""The entity's link to its supervisor: the socket, and the watch on the supervisor's life.

It tells and hears; what to do about an order or a death is decided by who listens. A supervisor that does
not read, or is not there, costs the entity nothing: whatever cannot be sent at once is not sent.
"""

import asyncio
import os
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import zmq

from temporal_fleet.protocol.codec import SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.messages import (
    Credentials,
    Drain,
    Draining,
    EntityMessage,
    Evict,
    Evicted,
    Heartbeat,
    Hello,
    Quiet,
    Ready,
    Settings,
    SupervisorMessage,
    Welcome,
)
from temporal_fleet.protocol.rundir import RunDirectory, bus_of, ipc, routing_id
from temporal_fleet.protocol.spec import EntitySpec, LogFiles

HELLO_INTERVAL = 0.5
"""Between two greetings to a supervisor that may have come in the place of the dead one."""

_QUEUED_MESSAGES = 64
_LINGER_MS = 200
_FIRST_CONNECTION_MS = 20

# Made before the fork, and subscripted nowhere: either would cost each entity some 40 pages of memory.
_decoder: Decoder[SupervisorMessage] = Decoder(SupervisorMessage)


class Listener(Protocol):
    """Who is told what the link learns."""

    def drain_ordered(self) -> None: ...

    def quiet_ordered(self) -> None: ...

    def settings_changed(self, log_level: str, log_files: LogFiles | None) -> None: ...

    def eviction_ordered(self, order: Evict) -> None: ...

    def supervisor_lost(self) -> None: ...

    def supervisor_found(self) -> None: ...


class _Contact(Enum):
    """What the supervisor of now knows of us."""

    NONE = "none"
    GREETED = "greeted"
    WELCOMED = "welcomed"


class Link:
    """One DEALER socket, from fork to exit, whoever the supervisor is. Only for the event loop's thread."""

    def __init__(self, spec: EntitySpec, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self.rubbish = 0
        """Frames dropped: no message of ours, or for another life."""
        self.unsent = 0
        """Messages dropped because nobody would take them."""
        self._entity = spec.entity
        self._incarnation = spec.incarnation
        self._listener = listener
        self._loop = loop
        self._contact = _Contact.NONE
        self._term = ""
        """Of the supervisor that welcomed us."""
        self._standing: Ready | Draining | None = None
        self._bad_credentials: Credentials | None = None
        self._supervisor = _SupervisorWatch(loop, self._supervisor_died)
        files = RunDirectory(spec.run_dir)
        bus = files.bus if spec.program.limits.user is None else bus_of(files.path, os.geteuid())
        self._endpoint = ipc(bus)
        self._socket: zmq.Socket[bytes] | None = None
        self._next_search: asyncio.TimerHandle | None = None

    @property
    def has_supervisor(self) -> bool:
        return self._supervisor.alive

    @property
    def standing(self) -> str:
        """What we say that we are, as the states of an entity are called."""
        match self._standing:
            case None:
                return "starting"
            case Ready(quiet=quiet):
                return "quiet" if quiet else "ready"
            case Draining():
                return "draining"

    def open(self, supervisor_pid: int) -> None:
        """Greet the supervisor and watch over its life."""
        watched = self._supervisor.watch(supervisor_pid)
        self._socket = self._connect()
        self._loop.add_reader(int(self._socket.getsockopt(zmq.FD)), self._attend)
        # It takes a fraction of this, and the program's hook may hold the loop for long after it.
        self._socket.poll(_FIRST_CONNECTION_MS, zmq.POLLOUT)
        self._attend()
        if not watched and not self._supervisor.alive:
            self._supervisor_died()

    def ready(self, *, quiet: bool = False) -> None:
        self._stand(Ready(entity=self._entity, incarnation=self._incarnation, quiet=quiet))

    def draining(self, cause: str) -> None:
        self._stand(Draining(entity=self._entity, incarnation=self._incarnation, cause=cause))

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        if self._contact is not _Contact.NONE:
            self._send(heartbeat)
        # What came while we sent has told nobody: the send took the descriptor's signal.
        self._attend()

    def credentials_tried(self, problem: str) -> None:
        """Where there is a problem, each supervisor after this one hears of it too, while it lasts."""
        tried = Credentials(entity=self._entity, incarnation=self._incarnation, problem=problem)
        self._bad_credentials = tried if problem else None
        if self._contact is not _Contact.NONE:
            self._send(tried)
        self._attend()

    def evicted(self, answer: Evicted) -> None:
        """To whoever asked, if it still is there."""
        if self._contact is not _Contact.NONE:
            self._send(answer)
        self._attend()

    def close(self) -> None:
        """Give what was sent last a moment to leave."""
        self._supervisor.stop()
        self._stop_search()
        if self._socket is not None:
            self._loop.remove_reader(int(self._socket.getsockopt(zmq.FD)))
            self._socket.close()
            self._socket.context.term()

    def _connect(self) -> zmq.Socket[bytes]:
        connecting: zmq.Socket[bytes] = zmq.Context(io_threads=1).socket(zmq.DEALER)
        # Not as attributes: finding those would cost each entity another 40 pages.
        connecting.setsockopt(zmq.ROUTING_ID, routing_id(self._entity, self._incarnation).encode())
        connecting.setsockopt(zmq.LINGER, _LINGER_MS)
        connecting.setsockopt(zmq.SNDHWM, _QUEUED_MESSAGES)
        connecting.setsockopt(zmq.MAXMSGSIZE, SIZE_LIMIT)
        # Nothing waits in a queue for a supervisor of the future: it is told what holds when it comes.
        connecting.setsockopt(zmq.IMMEDIATE, True)
        connecting.connect(self._endpoint)
        return connecting

    def _stand(self, standing: Ready | Draining) -> None:
        """Say where we stand, to this supervisor and to each one after it."""
        self._standing = standing
        if self._contact is not _Contact.NONE and not self._send(standing):
            self._contact = _Contact.NONE
        self._attend()

    def _greet(self) -> None:
        greeting = Hello(entity=self._entity, incarnation=self._incarnation, pid=os.getpid())
        told = all(
            message is None or self._send(message)
            for message in (greeting, self._standing, self._bad_credentials)
        )
        self._contact = _Contact.GREETED if told else _Contact.NONE

    def _send(self, message: EntityMessage) -> bool:
        assert self._socket is not None
        try:
            self._socket.send(encode(message), zmq.DONTWAIT)
        except zmq.Again:
            self.unsent += 1
            return False
        return True

    def _attend(self) -> None:
        """Read all that came, and greet if somebody is there who does not know us.

        The descriptor tells of changes alone, and sending swallows them too: so look until there is nothing.
        """
        if self._socket is None:
            return
        while events := int(self._socket.getsockopt(zmq.EVENTS)):
            if events & zmq.POLLIN:
                self._hear(self._socket.recv_multipart(zmq.DONTWAIT))
            elif events & zmq.POLLOUT and self._contact is _Contact.NONE:
                self._greet()
            else:
                break

    def _hear(self, frames: list[bytes]) -> None:
        try:
            if len(frames) != 1:
                raise PeerRubbish(f"{len(frames)} frames")
            message = _decoder.decode(frames[0])
        except PeerRubbish:
            self.rubbish += 1
            return
        if (message.entity, message.incarnation) != (self._entity, self._incarnation):
            self.rubbish += 1
            return
        match message:
            case Welcome():
                self._welcomed(message)
            case Settings():
                self._listener.settings_changed(message.log_level, message.log_files)
            case Quiet():
                self._listener.quiet_ordered()
            case Drain():
                self._listener.drain_ordered()
            case Evict():
                self._listener.eviction_ordered(message)

    def _welcomed(self, welcome: Welcome) -> None:
        had_one = self._supervisor.alive
        if not self._supervisor.watch(welcome.supervisor_pid):
            # Whoever sent it is dead by now, or no supervisor: the one we know, if it lives, stays.
            self.rubbish += 1
            return
        is_another = self._contact is _Contact.WELCOMED and welcome.term != self._term
        self._term = welcome.term
        self._contact = _Contact.WELCOMED
        self._stop_search()
        if is_another:
            # Its predecessor, in the same process, may not have read what we said last.
            self._greet()
        self._listener.settings_changed(welcome.log_level, welcome.log_files)
        if not had_one:
            self._listener.supervisor_found()

    def _supervisor_died(self) -> None:
        self._listener.supervisor_lost()
        self._search()

    def _search(self) -> None:
        """Greet again and again, until a supervisor that lives has welcomed us."""
        self._contact = _Contact.NONE
        self._attend()
        if not self._supervisor.alive:
            self._next_search = self._loop.call_later(HELLO_INTERVAL, self._search)

    def _stop_search(self) -> None:
        if self._next_search is not None:
            self._next_search.cancel()
            self._next_search = None


class _SupervisorWatch:
    """Tells when one process ends, at once, by its pidfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        self._loop = loop
        self._ended = ended
        self._descriptor: int | None = None

    @property
    def alive(self) -> bool:
        return self._descriptor is not None

    def watch(self, pid: int) -> bool:
        """Watch this process instead of the former. False, and nothing changed, when it is gone."""
        try:
            descriptor = os.pidfd_open(pid)
        except (OSError, OverflowError):
            return False
        self.stop()
        self._descriptor = descriptor
        self._loop.add_reader(descriptor, self._exited)
        return True

    def stop(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _exited(self) -> None:
        self.stop()
        self._ended()
