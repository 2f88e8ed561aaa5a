"""The operators' sockets: a ROUTER for requests, a PUB for events. Frames in, requests out."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog
import zmq

from temporal_fleet.protocol.codec import REPLY_LIMIT, SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.control import ControlReply, ControlRequest, Event, Rejected
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc
from temporal_fleet.supervisor.shell.bus import AT_ONCE, router

_log = structlog.get_logger()

_LINGER_MS = 200


@dataclass(frozen=True)
class Asked:
    """A request, and where its replies go."""

    operator: bytes
    request: ControlRequest


class Control:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], paths: RunDirectory) -> None:
        self.socket = router(context)
        self.socket.bind(ipc(paths.control))
        self._events = context.socket(zmq.PUB)
        self._events.setsockopt(zmq.LINGER, _LINGER_MS)
        self._events.setsockopt(zmq.MAXMSGSIZE, SIZE_LIMIT)
        self._events.bind(ipc(paths.events))
        self.dropped = 0
        self._decoder = Decoder[ControlRequest](ControlRequest)

    def receive(self) -> Iterator[Asked]:
        """What was asked since the last time. Not for ever: the rest of a flood is there the next time."""
        for _ in range(AT_ONCE):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                if len(frames) != 2:
                    raise PeerRubbish(f"{len(frames)} frames, one request has 2")
                yield Asked(frames[0], self._decoder.decode(frames[1]))
            except PeerRubbish:
                self.dropped += 1

    def reply(self, operator: bytes, reply: ControlReply) -> None:
        """An operator that went away, or reads nothing, loses its reply. One whose reply fits no frame is
        told so."""
        try:
            frame = encode(reply, REPLY_LIMIT)
        except ProtocolMisuse as misuse:
            self.dropped += 1
            _log.exception("a reply to an operator cannot be sent", reply=type(reply).__name__)
            frame = encode(Rejected(id=reply.id, problems=[f"the reply cannot be sent: {misuse}"]))
        try:
            self.socket.send_multipart([operator, frame], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    def publish(self, report: EventReport) -> None:
        try:
            self._events.send(encode(Event(report=report)), zmq.NOBLOCK)
        except (zmq.Again, ProtocolMisuse):
            self.dropped += 1

    def close(self) -> None:
        # What was replied last is still on its way.
        self.socket.close(linger=_LINGER_MS)
        self._events.close()
