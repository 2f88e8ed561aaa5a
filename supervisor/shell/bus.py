"""The entities' socket: a ROUTER. Frames in, messages out; garbage is counted and dropped."""

import os
from collections.abc import Iterator

import zmq

from temporal_fleet.protocol.codec import SIZE_LIMIT, Decoder, encode
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.messages import EntityMessage, SupervisorMessage
from temporal_fleet.protocol.rundir import RunDirectory, bus_of, ipc, routing_id

AT_ONCE = 1000
"""Messages that are taken from one socket before the loop turns to the others."""


def router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A ROUTER that no peer can hurt: a size limit, and no waiting for anybody."""
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, SIZE_LIMIT)
    # One that reconnects must get through before its old connection is noticed to be gone.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket


class Bus:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], paths: RunDirectory) -> None:
        self.socket = router(context)
        self.socket.bind(ipc(paths.bus))
        self._paths = paths
        self._admitted: set[int] = set()
        self.dropped = 0
        self._decoder = Decoder[EntityMessage](EntityMessage)

    def admit(self, uid: int) -> None:
        """Entities of another user: by a path of their own, where that user alone may connect.

        Raises OSError.
        """
        if uid in self._admitted:
            return
        path = bus_of(self._paths.path, uid)
        try:
            self.socket.bind(ipc(path))
        except zmq.ZMQError as error:
            raise OSError(error.errno, str(error), str(path)) from error
        path.chmod(0o600)
        os.chown(path, uid, -1)
        self._admitted.add(uid)

    def receive(self) -> Iterator[EntityMessage]:
        """What is there now. Not for ever: the rest of a flood is there the next time."""
        for _ in range(AT_ONCE):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                if len(frames) != 2:
                    raise PeerRubbish(f"{len(frames)} frames, one message has 2")
                message = self._decoder.decode(frames[1])
                if routing_id(message.entity, message.incarnation).encode() != frames[0]:
                    raise PeerRubbish(f"{frames[0]!r} speaks for {message.entity}.{message.incarnation}")
            except PeerRubbish:
                self.dropped += 1
                continue
            yield message

    def send(self, message: SupervisorMessage) -> None:
        """To an entity that is connected; to one that is not, the message is lost, and its next Hello
        brings it again."""
        target = routing_id(message.entity, message.incarnation).encode()
        try:
            self.socket.send_multipart([target, encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1
