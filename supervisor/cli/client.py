"""The operator's connection to a supervisor: requests, their progress and replies, the stream of events.

Knows the wire and how to tell a supervisor that works from one that is gone, hung or stopped. What a
command does with a reply does not belong here.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from types import TracebackType
from typing import Self, TypeVar

import zmq

from temporal_fleet.protocol import codec
from temporal_fleet.protocol.control import (
    ControlReply,
    ControlRequest,
    DumpStacks,
    Event,
    ExamineCluster,
    Failed,
    GetChanges,
    GetPlan,
    GetStatus,
    Progress,
    Rejected,
    Reply,
    StatusReply,
)
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.report import EventReport, StatusReport
from temporal_fleet.protocol.rundir import ipc
from temporal_fleet.supervisor.cli.failure import Failure, Problems, say
from temporal_fleet.supervisor.cli.line import Ended, Line
from temporal_fleet.supervisor.cli.place import Place, named_otherwise
from temporal_fleet.supervisor.cli.presence import Absent, Busy, Forbidden, Listening, look, process_state

PATIENCE = 5.0
"""Seconds without a word from the supervisor before it is taken for hung. A request that takes longer is
no reason: while it is under way the supervisor is asked for signs of life."""
_PING_AFTER = 1.0
_PATIENCES = 2
"""For a report: it is made at once, and signs of life are no answer."""
_AGAIN = 0.25
_LOOK = 1.0

R = TypeVar("R", bound=Reply)


_LOOKS = (GetStatus, GetPlan, GetChanges, DumpStacks, ExamineCluster)
"""Requests that change nothing."""


class Refused(Problems):
    """The supervisor rejected a request."""


class ChangeFailed(Problems):
    """A change was in force, and could not be carried through. `restored`: what was before it is again."""

    def __init__(
        self, message: str, problems: Sequence[str], *remedies: str, change: int, restored: bool
    ) -> None:
        super().__init__(message, problems, *remedies)
        self.change = change
        self.restored = restored


class SupervisorGone(Failure):
    """The supervisor ended while we talked to it."""


def _say_progress(progress: Progress) -> None:
    say(progress.message)


def find(place: Place) -> Listening:
    """The supervisor to talk to. Raises Failure, which says why there is none."""
    presence = look(place.run)
    match presence:
        case Listening():
            return presence
        case Busy(pid=pid):
            raise Failure(
                f"the supervisor in {place.run.path} (PID {pid}) is starting or ending: it takes no commands",
                "try again in a moment",
            )
        case Forbidden(owner=owner):
            raise Failure(
                f"{place.run.path} belongs to {owner}, and you may not enter it",
                f"run the command as {owner}",
            )
        case Absent(orphans=()):
            raise Failure(f"no fleet runs in {place.run.path}", *_how_to_start(place))
        case Absent(orphans=orphans):
            pids = ", ".join(f"{orphan.entity} (PID {orphan.pid})" for orphan in orphans)
            raise Failure(
                f"no fleet runs in {place.run.path}: its supervisor died, and left entities that work on for "
                f"[fleet] orphan and then drain by themselves, unless another supervisor adopts them: {pids}",
                *_how_to_start(place),
            )


def _how_to_start(place: Place) -> tuple[str, ...]:
    start = place.start or f"temporal-fleet run PROGRAM -q QUEUE --name {place.name}"
    elsewhere = "if it runs elsewhere (as another user, or under systemd): set [fleet] run_dir in its file"
    is_told = place.service is not None or place.config is None
    return (f"start it with: {start}", *(() if is_told else (elsewhere,)), *named_otherwise())


class Supervisor(AbstractContextManager["Supervisor"]):
    """A connection to the supervisor of one fleet.

    Raises Failure at once when nobody is there.
    """

    def __init__(self, place: Place, patience: float = PATIENCE) -> None:
        self.place = place
        self.pid = find(place).pid
        self._patience = patience
        self._line = Line(zmq.DEALER, ipc(place.run.control), self.pid)
        self._decoder: codec.Decoder[ControlReply] = codec.Decoder(ControlReply, codec.REPLY_LIMIT)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        self._line.close()

    def ask(
        self,
        request: ControlRequest,
        expected: type[R],
        progress: Callable[[Progress], None] = _say_progress,
        meanwhile: Callable[[StatusReport], None] | None = None,
        within: float = math.inf,
    ) -> R:
        """The final reply to a request; what is told on the way goes to `progress`, and how the fleet stands
        while nothing is told, to `meanwhile`. `within`: seconds for which it is waited for, however lively
        the supervisor is; one of another version may not know the request, and says nothing to it.

        Raises Refused when the supervisor rejects it, ChangeFailed, SupervisorGone, or Failure when it does
        not answer.
        """
        self._send(request)
        reply = self._await(request, progress, meanwhile, within)
        if isinstance(reply, Failed):
            heading, *problems = reply.problems
            raise ChangeFailed(heading, problems, change=reply.change, restored=reply.restored)
        if isinstance(reply, Rejected):
            changes_nothing = isinstance(request, _LOOKS)
            heading = (
                "the fleet refused:" if changes_nothing else "the fleet refused, and nothing was changed:"
            )
            raise Refused(heading, reply.problems)
        if not isinstance(reply, expected):
            raise Failure(
                f"the supervisor (PID {self.pid}) answered a {type(request).__name__} with a "
                f"{type(reply).__name__}: it is of another version",
                "use the temporal-fleet of its own installation",
            )
        return reply

    def status(self, *, memory: bool = False) -> StatusReport:
        """Raises what `ask` does; one that lives and does not answer is not waited for."""
        request = GetStatus(id=new_id(), memory=memory)
        return self.ask(request, StatusReply, within=_PATIENCES * self._patience).report

    def next_status(self, within: float) -> StatusReport:
        """The first that anybody answers from now on: other code may go on in the process that we talked to.

        Raises SupervisorGone, or Failure when nobody answers within so many seconds.
        """
        waited = 0.0
        while waited < within:
            self._send(GetStatus(id=new_id(), memory=False))
            began = time.monotonic()
            reply = self._receive(_AGAIN)
            waited += min(time.monotonic() - began, _AGAIN)
            if isinstance(reply, StatusReply):
                return reply.report
        raise self._silent(within)

    def ended_within(self, seconds: float) -> bool:
        """Waits for the supervisor to end, at most so long."""
        return self._line.life.ended_within(seconds)

    def _send(self, request: ControlRequest) -> None:
        self._line.send(codec.encode(request))

    def _await(
        self,
        request: ControlRequest,
        progress: Callable[[Progress], None],
        meanwhile: Callable[[StatusReport], None] | None,
        within: float,
    ) -> ControlReply:
        # Counted by what was waited, which leaves out for how long we ourselves were stopped, or starved.
        waited = silent = 0.0
        look = self._patience / 10
        pinged = time.monotonic()
        while True:
            if waited >= within:
                raise Failure(
                    f"the supervisor (PID {self.pid}) lives, and did not answer {type(request).__name__} "
                    f"within {within:.0f} s",
                    "if it is of another version: temporal-fleet upgrade",
                )
            if silent >= self._patience:
                raise self._silent(silent)
            began = time.monotonic()
            reply = self._receive(look)
            now = time.monotonic()
            waited += min(now - began, look)
            silent += min(now - began, look)
            if reply is not None:
                silent, pinged = 0.0, now
                if reply.id != request.id:
                    if meanwhile is not None and isinstance(reply, StatusReply):
                        meanwhile(reply.report)
                    continue
                if not isinstance(reply, Progress):
                    return reply
                progress(reply)
            elif now - pinged > _PING_AFTER:
                pinged = now
                self._send(GetStatus(id=new_id(), memory=False))

    def _receive(self, within: float) -> ControlReply | None:
        try:
            frame = self._line.receive(within)
            return None if frame is None else self._decoder.decode(frame)
        except Ended:
            raise SupervisorGone(
                f"the supervisor (PID {self.pid}) ended before it answered", "its last log lines say why"
            ) from None
        except PeerRubbish as error:
            raise Failure(
                f"the supervisor (PID {self.pid}) does not speak our protocol: {error}",
                "use the temporal-fleet of its own installation",
            ) from error

    def _silent(self, seconds: float) -> Failure:
        state = process_state(self.pid) if self.pid else None
        where = f"the supervisor in {self.place.run.path} (PID {self.pid or 'unknown'})"
        said = f"{where} has not answered for {seconds:.0f} s"
        if state is None:
            return Failure(said, "its process is not visible from here: look where it runs")
        if "(state T)" in state:
            return Failure(f"{said}: it is {state}", f"let it go on with: kill -CONT {self.pid}")
        return Failure(
            f"{said}: it is {state}",
            f"its log says what it does; as a last resort: kill -KILL {self.pid} (its entities work on for "
            "[fleet] orphan, and the next supervisor adopts them)",
        )


def events(place: Place, on_listening: Callable[[int], None]) -> Iterator[EventReport]:
    """The events of a fleet from now on, until its supervisor ends."""
    pid = find(place).pid
    decoder: codec.Decoder[Event] = codec.Decoder(Event)
    with closing(Line(zmq.SUB, ipc(place.run.events), pid)) as line:
        if not line.answered_within(PATIENCE):
            problem = f"nobody answers on {place.run.events} within {PATIENCE:.0f} s"
            raise Failure(problem, "see whether the supervisor works: temporal-fleet status")
        on_listening(pid)
        with suppress(Ended):
            while True:
                frame = line.receive(_LOOK)
                try:
                    if frame is not None:
                        yield decoder.decode(frame).report
                except PeerRubbish as error:
                    say(f"dropped an event that is not of our protocol: {error}")


def new_id() -> str:
    return os.urandom(8).hex()
