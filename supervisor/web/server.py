"""HTTP: requests in, responses out, one a connection. Which there are does not belong here.

Nobody is trusted: a request has to be there within a time and a size, a response to be taken within a time,
and there is room for so many connections; above that, the one that has been sending its request for longest
goes. So neither slow nor garbage clients keep others out.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import h11

REQUEST_WITHIN = 5.0
"""Seconds from the connection to the end of the request's headers."""
ANSWER_WITHIN = 10.0
"""Seconds for an answer to be found, and again to be taken."""
CONNECTIONS = 100
REQUEST_LIMIT = 16 << 10
"""Bytes of a request's headers."""


class CannotServe(Exception):
    """The address cannot be had. The message names the key and the remedy."""


@dataclass(frozen=True)
class Request:
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """By name in lower case."""


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Awaitable[Response]]

_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def serve(http: str, answer: Answer) -> tuple[asyncio.Server, str]:
    """Serve at HOST:PORT until it is closed. Returned too: HOST:PORT with the real port.

    Raises CannotServe.
    """
    host, _, port = http.rpartition(":")
    desk = _Desk(answer)
    try:
        server = await asyncio.start_server(desk.attend, host.strip("[]"), int(port), limit=REQUEST_LIMIT)
    except OSError as error:
        raise CannotServe(f'[fleet] http = "{http}": {_obstacle(error)}') from error
    bound: socket.socket = server.sockets[0]
    return server, f"{host}:{bound.getsockname()[1]}"


def _obstacle(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host cannot be looked up ({error.strerror}); name one of this machine's addresses"
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is taken; end what listens there, or choose another port. It is tried again"
        case errno.EACCES:
            return "the port is for root alone; choose one above 1023"
        case errno.EADDRNOTAVAIL:
            return "the host is no address of this machine; 0.0.0.0 is all of them"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot be listened at: {reason}. It is tried again"


class _Desk:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: dict[asyncio.StreamWriter, bool] = {}
        """Whether its request is there; the oldest first."""

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS:
            slowest = next((other for other, came in self._open.items() if not came), writer)
            slowest.transport.abort()
            if slowest is writer:
                return
            del self._open[slowest]
        self._open[writer] = False
        try:
            # Whoever hangs up, or is hung up on, gets no answer.
            with suppress(OSError, TimeoutError):
                await self._attend(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_LIMIT)
        asked = None
        try:
            async with asyncio.timeout(REQUEST_WITHIN):
                asked = await _read(connection, reader)
        except TimeoutError:
            response = Response(408, b"the request did not come in time\n")
        except h11.RemoteProtocolError as error:
            response = Response(error.error_status_hint, b"this is no HTTP request\n")
        else:
            if asked is None:
                return
            if writer in self._open:
                self._open[writer] = True
            response = await self._respond(asked)
        async with asyncio.timeout(ANSWER_WITHIN):
            head_alone = asked is not None and asked.method == b"HEAD"
            writer.write(_encoded(connection, response, head_alone))
            writer.write_eof()
            await writer.drain()
            await _until_taken(reader)

    async def _respond(self, asked: h11.Request) -> Response:
        if asked.method not in (b"GET", b"HEAD"):
            return Response(405, b"this is to be read alone: GET or HEAD\n", headers={"Allow": "GET, HEAD"})
        try:
            target = urlsplit(asked.target.decode("latin-1"))
        except ValueError:
            return Response(400, b"this is no address\n")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in asked.headers}
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._answer(Request(target.path, parse_qs(target.query), headers))
        except TimeoutError:
            return Response(503, b"no answer was found in time\n")


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """None: it hung up. Raises h11.RemoteProtocolError for what is no request."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(REQUEST_LIMIT))


async def _until_taken(reader: asyncio.StreamReader) -> None:
    """To hang up with something unread would take back what was just sent. What still comes is of no
    interest, and is read for as long as the answer may take."""
    while await reader.read(REQUEST_LIMIT):
        pass


def _encoded(connection: h11.Connection, response: Response, head_alone: bool) -> bytes:
    headers = {
        **_HEADERS,
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        **response.headers,
    }
    reason = HTTPStatus(response.status).phrase
    head = h11.Response(status_code=response.status, headers=list(headers.items()), reason=reason)
    body = h11.Data(data=b"" if head_alone else response.body)
    parts = [connection.send(event) for event in (head, body, h11.EndOfMessage())]
    return b"".join(part for part in parts if part is not None)
