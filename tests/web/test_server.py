"""HTTP on real sockets: what is answered, and that slow and garbage clients keep nobody out."""

import asyncio
import socket
from collections.abc import AsyncIterator

import psutil
import pytest

from temporal_fleet.supervisor.web import server
from temporal_fleet.supervisor.web.server import CannotServe, Request, Response, serve
from tests.waiting import eventually

GET = b"GET /there?a=1 HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"


async def answer(request: Request) -> Response:
    if request.path == "/never":
        await asyncio.Event().wait()
    told = f"{request.path} {dict(request.query)} {request.headers.get('accept')}"
    return Response(200, told.encode() if request.path != "/large" else b"x" * (8 << 20))


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    listening, at = await serve("127.0.0.1:0", answer)
    host, _, port = at.rpartition(":")
    yield host, int(port)
    listening.close()


async def talk(address: tuple[str, int], sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    told = await reader.read()
    writer.close()
    return told


async def test_a_request_is_answered_and_the_connection_closed(address: tuple[str, int]) -> None:
    head, _, body = (await talk(address, GET)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert body == b"/there {'a': ['1']} text/plain"
    head, _, body = (await talk(address, GET.replace(b"GET", b"HEAD"))).partition(b"\r\n\r\n")
    assert (b"Content-Length: 30" in head, body) == (True, b"")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc", b"405"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 40_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10_000, b"431"),
        (b"GET http://[bad HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_request_of_ours_is_refused(
    address: tuple[str, int], sent: bytes, status: bytes
) -> None:
    assert (await talk(address, sent)).split()[1] == status
    assert (await talk(address, GET)).split()[1] == b"200"


async def test_one_that_sends_too_slowly_is_told_so(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_WITHIN", 0.2)
    assert (await talk(address, GET[:20])).split()[1] == b"408"


async def test_an_answer_that_is_not_found_in_time_is_told_so(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_WITHIN", 0.2)
    assert (await talk(address, GET.replace(b"/there", b"/never"))).split()[1] == b"503"


def served(address: tuple[str, int]) -> int:
    """Connections that the server has a descriptor for."""
    every = psutil.Process().net_connections("tcp")
    return sum(each.laddr == address and each.status != psutil.CONN_LISTEN for each in every)


async def test_one_that_does_not_take_its_answer_is_hung_up_on(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_WITHIN", 0.3)
    with socket.create_connection(address) as deaf:
        await eventually(lambda: served(address) == 1, what="it is connected")
        deaf.sendall(GET.replace(b"/there", b"/large"))
        await eventually(lambda: served(address) == 0, what="it is hung up on")


async def test_a_flood_of_idle_connections_keeps_nobody_out(address: tuple[str, int]) -> None:
    idle = [await asyncio.open_connection(*address) for _ in range(server.CONNECTIONS + 20)]
    assert (await talk(address, GET)).split()[1] == b"200"
    # The oldest ones went.
    assert await idle[0][0].read() == b""
    for _, writer in idle:
        writer.close()


async def test_an_address_that_cannot_be_had_names_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CannotServe, match=r"^\[fleet\] http = .*: the port is taken; end what listens"):
            await serve(taken, answer)
    with pytest.raises(CannotServe, match=r"no address of this machine; 0\.0\.0\.0 is all"):
        await serve("192.0.2.1:0", answer)
    with pytest.raises(CannotServe, match="cannot be looked up"):
        await serve("no.such.host.invalid:0", answer)
