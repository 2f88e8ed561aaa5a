"""What the supervisor says: asked over its control socket, as any operator does, and followed over the one of
its events. However many clients there are, it is asked one question of a kind at a time, and at most once a
second."""

import asyncio
import os
import time
from collections import deque
from typing import Any, Generic, TypeVar

import msgspec
import zmq
import zmq.asyncio

from temporal_fleet.protocol.codec import REPLY_LIMIT, Decoder, encode
from temporal_fleet.protocol.control import (
    ControlReply,
    ControlRequest,
    Event,
    GetMetrics,
    GetStatus,
    MetricsReply,
    StatusReply,
)
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.protocol.rundir import RunDirectory, ipc

PATIENCE = 2.0
"""Seconds without an answer after which a supervisor's loop counts as hung."""
FRESH = 1.0
"""Seconds for which an answer is good."""
EVENTS = 50
_GIVE_UP = 30.0
"""Seconds after which a question is put again: the supervisor lives as long as we do, and an answer is lost
only where it found no room."""

R = TypeVar("R", StatusReply, MetricsReply)


class Silent(Exception):
    """The supervisor did not answer in time."""


class Source:
    def __init__(self, run: RunDirectory) -> None:
        self.events: deque[EventReport] = deque(maxlen=EVENTS)
        """The last ones above `debug`, the oldest first."""
        context = zmq.asyncio.Context()
        self._control: Any = context.socket(zmq.DEALER)
        self._control.connect(ipc(run.control))
        self._feed: Any = context.socket(zmq.SUB)
        self._feed.subscribe(b"")
        self._feed.connect(ipc(run.events))
        self._asked: dict[str, asyncio.Future[ControlReply]] = {}
        self.status = _Question(self, GetStatus(id="", memory=False), StatusReply)
        self.metrics = _Question(self, GetMetrics(id=""), MetricsReply)

    async def listen(self) -> None:
        """Take in answers and events, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear_answers())
            tasks.create_task(self._hear_events())

    async def ask(self, request: ControlRequest) -> ControlReply:
        """However long it takes, within reason. Raises TimeoutError."""
        answer: asyncio.Future[ControlReply] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = answer
        try:
            await self._control.send(encode(request))
            async with asyncio.timeout(_GIVE_UP):
                return await answer
        finally:
            del self._asked[request.id]

    async def _hear_answers(self) -> None:
        decoder: Decoder[ControlReply] = Decoder(ControlReply, REPLY_LIMIT)
        while True:
            frames = await self._control.recv_multipart()
            try:
                reply = decoder.decode(frames[-1])
            except PeerRubbish:
                continue
            waiting = self._asked.get(reply.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    async def _hear_events(self) -> None:
        decoder: Decoder[Event] = Decoder(Event)
        while True:
            frames = await self._feed.recv_multipart()
            try:
                report = decoder.decode(frames[-1]).report
            except PeerRubbish:
                continue
            if report.level != "debug":
                self.events.append(report)


class _Question(Generic[R]):
    """One question, its last answer, and who is about to bring the next one."""

    def __init__(self, source: Source, request: GetStatus | GetMetrics, expected: type[R]) -> None:
        self._source = source
        self._request = request
        self._expected: type[R] = expected
        self._under_way: asyncio.Task[None] | None = None
        self._came = 0.0
        self.last: R | None = None
        """However old."""

    async def answer(self) -> R:
        """Not older than FRESH. Raises Silent after PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while self.last is None or time.monotonic() - self._came > FRESH:
            if self._under_way is None or self._under_way.done():
                self._under_way = asyncio.create_task(self._ask())
            left = deadline - time.monotonic()
            await asyncio.wait([self._under_way], timeout=max(0.0, left))
            if time.monotonic() >= deadline:
                raise Silent(f"the supervisor has not answered for {PATIENCE:g} s")
        return self.last

    async def _ask(self) -> None:
        try:
            reply = await self._source.ask(msgspec.structs.replace(self._request, id=os.urandom(8).hex()))
        except TimeoutError:
            return
        if isinstance(reply, self._expected):
            self.last, self._came = reply, time.monotonic()
