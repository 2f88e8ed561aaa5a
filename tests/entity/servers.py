"""What may stand at an address beside a Cluster: nobody who answers, TLS in front of the Cluster, a gateway
that turns us away."""

import contextlib
import select
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import hpack

Handler = Callable[[socket.socket], None]


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def served(handler: Handler) -> Iterator[str]:
    """Serve each connection in a thread of its own, until the peer hangs up."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # The peer may hang up at any moment: tests ask for that.
            with contextlib.suppress(OSError):
                handler(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def in_front_of(address: str) -> Handler:
    """Forwards to whoever is at this address."""

    def forward(connection: socket.socket) -> None:
        with _connected(address) as inside:
            _forward(connection, inside)

    return forward


def tls_in_front_of(address: str, context: ssl.SSLContext) -> Handler:
    def forward(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as outside, _connected(address) as inside:
            _forward(outside, inside)

    return forward


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))


def _forward(outside: socket.socket, inside: socket.socket) -> None:
    """Until one of them hangs up."""
    while True:
        for source in _readable(outside, inside):
            data = source.recv(1 << 16)
            if not data:
                return
            (inside if source is outside else outside).sendall(data)


def _readable(outside: socket.socket, inside: socket.socket) -> list[socket.socket]:
    """Waits for it."""
    # What TLS has taken off the socket already, a poll does not see.
    if isinstance(outside, ssl.SSLSocket) and outside.pending():
        return [outside]
    poll = select.poll()
    for end in (outside, inside):
        poll.register(end, select.POLLIN)
    ready = dict(poll.poll())
    return [end for end in (outside, inside) if end.fileno() in ready]


def silent_at_first(then: Handler) -> Handler:
    """Says no word to whoever comes first."""
    first = threading.Lock()

    def handle(connection: socket.socket) -> None:
        if first.acquire(blocking=False):
            while connection.recv(1 << 16):
                pass
        else:
            then(connection)

    return handle


class Front:
    """TLS in front of the Cluster that changes while it is up. With `keys` only those pass who show one:
    who shows another is turned away, and loses the whole connection."""

    def __init__(self, address: str, context: ssl.SSLContext, keys: Collection[str] | None = None) -> None:
        self.context = context
        self.keys = keys
        self.shown: set[str] = set()
        """Keys, by those who were let in."""
        self._address = address
        self._open: set[socket.socket] = set()

    def hang_up(self) -> None:
        """On all who are connected now."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle(self, connection: socket.socket) -> None:
        with self.context.wrap_socket(connection, server_side=True) as outside:
            self._open.add(outside)
            try:
                with _connected(self._address) as inside:
                    self._forward(outside, inside)
            finally:
                self._open.discard(outside)

    def _forward(self, outside: ssl.SSLSocket, inside: socket.socket) -> None:
        requests = _Requests()
        greeted = False
        while True:
            for source in _readable(outside, inside):
                data = source.recv(1 << 16)
                if not data:
                    return
                if source is inside:
                    greeted = True
                    outside.sendall(data)
                    continue
                for stream, key in requests.take(data):
                    if self.keys is not None and key not in self.keys:
                        outside.sendall(b"" if greeted else _frame(_SETTINGS, 0, 0))
                        outside.sendall(_frame(_HEADERS, _END_OF_ALL, stream, _status(401)))
                        _hang_up_politely(outside)
                        return
                    self.shown.add(key)
                inside.sendall(data)


def _hang_up_politely(connection: socket.socket) -> None:
    """What was sent last would be lost if what came meanwhile were not read."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 16):
        pass


class _Requests:
    """Reads the API keys out of the frames of one HTTP/2 connection."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._headers = hpack.Decoder()
        self._preface = len(_PREFACE)

    def take(self, data: bytes) -> list[tuple[int, str]]:
        """The requests that begin in what came: stream and API key, empty if there is none."""
        self._unread += data
        begun = []
        if self._preface and len(self._unread) >= self._preface:
            del self._unread[: self._preface]
            self._preface = 0
        while not self._preface and len(self._unread) >= _FRAME_HEAD:
            length = int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < _FRAME_HEAD + length:
                break
            kind, flags = self._unread[3], self._unread[4]
            stream = int.from_bytes(self._unread[5:_FRAME_HEAD], "big")
            payload = bytes(self._unread[_FRAME_HEAD : _FRAME_HEAD + length])
            del self._unread[: _FRAME_HEAD + length]
            if kind == _HEADERS:
                # Priority, if it is there, comes before the block. Nobody here pads, or continues.
                block = payload[5 if flags & 0x20 else 0 :]
                shown = {str(name): str(value) for name, value in self._headers.decode(block)}
                begun.append((stream, shown.get("authorization", "").removeprefix("Bearer ")))
        return begun


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_HEADERS = 1
_SETTINGS = 4
_END_OF_ALL = 5


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _status(status: int) -> bytes:
    """A header block: one literal field without indexing (RFC 7541, 6.2.2)."""
    return b"\x00\x07:status\x03" + str(status).encode()


def turning_away_with(status: int) -> Handler:
    """An HTTP/2 gateway that answers each request with this status, as one does that knows no such key."""

    acknowledge = 1

    def turn_away(connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            reader.read(len(_PREFACE))
            connection.sendall(_frame(_SETTINGS, 0, 0))
            while len(head := reader.read(_FRAME_HEAD)) == _FRAME_HEAD:
                reader.read(int.from_bytes(head[:3], "big"))
                if head[3] == _SETTINGS and not head[4] & acknowledge:
                    connection.sendall(_frame(_SETTINGS, acknowledge, 0))
                elif head[3] == _HEADERS:
                    stream = int.from_bytes(head[5:], "big")
                    connection.sendall(_frame(_HEADERS, _END_OF_ALL, stream, _status(status)))

    return turn_away


@dataclass(frozen=True)
class KeyPair:
    certificate: Path
    key: Path


class Authority:
    """Makes certificates in a folder, with the openssl command."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = self._make("ca", "-x509")

    def issue(self, name: str) -> KeyPair:
        """A certificate for this DNS name, signed by us."""
        pair = self._make(name)
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n")
        self._run(
            *("x509", "-req", "-in", pair.certificate, "-out", pair.certificate, "-days", "2"),
            *("-CA", self.root.certificate, "-CAkey", self.root.key, "-CAcreateserial"),
            *("-extfile", extensions),
        )
        return pair

    def server_context(self, pair: KeyPair, *, asks_for_certificates: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.set_alpn_protocols(["h2"])
        if asks_for_certificates:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.root.certificate)
        return context

    def _make(self, name: str, *options: str) -> KeyPair:
        pair = KeyPair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        self._run(
            *("req", *options, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", pair.key, "-out", pair.certificate),
        )
        return pair

    @staticmethod
    def _run(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
