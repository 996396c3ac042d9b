"""Clients that leave behind input that nobody has read: their subscriptions end at once, over every protocol. Their application
may still read that input, and has application_close_timeout to do so."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration import raw_http2
from tests.integration.core_harness import PATIENCE, eventually
from tests.support.identities import Authority

APPLICATION = "tests.integration.unread_apps:application"
COUNT = 3000  # messages of one byte: far more than the receive window, as each costs much more than its byte
TEXT, CLOSE = 1, 8
FOR_EVER = 3600


class Peer:
    """A connection, with TLS where context is given. TLS can say goodbye (close_notify) without closing the socket."""

    def __init__(self, port: int, context: ssl.SSLContext | None, protocol: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = b""
        self.tls: ssl.SSLObject | None = None
        if context is not None:
            context.set_alpn_protocols([protocol])
            self.encrypted, self.output = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self.encrypted, self.output, server_hostname="localhost")
            self._repeat(self.tls.do_handshake)

    def _repeat(self, action: Callable[[], Any]) -> Any:
        """action, as often as TLS wants more input."""
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                self._flush()
                self.encrypted.write(self.socket.recv(65536))
                continue
            self._flush()
            return result

    def _flush(self) -> None:
        self.socket.sendall(self.output.read())

    def send(self, data: bytes) -> None:
        if self.tls is None:
            self.socket.sendall(data)
            return
        for at in range(0, len(data), 4096):  # several records
            self.tls.write(data[at : at + 4096])
        self._flush()

    def until(self, mark: bytes) -> None:
        while mark not in self.read:
            data = self.socket.recv(65536) if self.tls is None else self._repeat(lambda: self.tls.read(65536))  # type: ignore[union-attr]
            assert data, f"the connection ended after {self.read!r}"
            self.read += data

    def close_notify(self) -> None:
        assert self.tls is not None
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def fin(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def message(text: bytes, opcode: int = TEXT) -> bytes:
    return bytes([0x80 | opcode, 0x80 | len(text)]) + b"\0\0\0\0" + text


class Http1:
    """A WebSocket, or an upload, over HTTP/1.1."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def open(self, path: str) -> None:
        self.peer.send(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def post(self, path: str) -> None:
        self.peer.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())

    def send(self, data: bytes) -> None:
        self.peer.send(data)


class Http2:
    """The same over HTTP/2, on one stream."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        peer.send(raw_http2.PREFACE)

    def open(self, path: str) -> None:
        fields = (":protocol", "websocket"), ("sec-websocket-version", "13")
        self.peer.send(raw_http2.request(1, path, *fields, method="CONNECT", ends=False))

    def post(self, path: str) -> None:
        self.peer.send(raw_http2.request(1, path, method="POST", ends=False))

    def send(self, data: bytes, flags: int = 0) -> None:
        for at in range(0, len(data), 4096):
            self.peer.send(raw_http2.frame(raw_http2.DATA, 0, 1, data[at : at + 4096]))
        if flags:
            self.peer.send(raw_http2.frame(raw_http2.DATA, flags, 1, b""))


Client = Http1 | Http2


def fin(client: Client) -> None:
    client.peer.fin()


def close_notify(client: Client) -> None:
    client.peer.close_notify()


def close_notify_and_fin(client: Client) -> None:
    client.peer.close_notify()
    client.peer.fin()


def close_frame_and_close_notify(client: Client) -> None:
    client.send(message(b"\x03\xe8", CLOSE))
    client.peer.close_notify()


def end_stream(client: Client) -> None:
    client.peer.send(raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, 1, b""))


def end_stream_with_data(client: Client) -> None:
    """Its last frame has a piece of a message too, which never becomes whole."""
    client.peer.send(raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, 1, message(b"never")[:3]))


def close_frame_and_end_stream(client: Client) -> None:
    client.peer.send(raw_http2.frame(raw_http2.DATA, raw_http2.END_STREAM, 1, message(b"\x03\xe8", CLOSE)))


def reset(client: Client) -> None:
    client.peer.send(raw_http2.frame(raw_http2.RST_STREAM, 0, 1, b"\0\0\0\x08"))


# How clients leave whose application can still be given all that they had sent; and how others do.
GENTLE = [
    ("http/1.1", "", fin),
    ("http/1.1", "TLSv1.2", close_notify),
    ("http/1.1", "TLSv1.3", close_notify),
    ("http/1.1", "TLSv1.3", close_notify_and_fin),
    ("http/1.1", "TLSv1.2", close_frame_and_close_notify),
    ("http/1.1", "TLSv1.3", close_frame_and_close_notify),
    ("h2", "", end_stream),
    ("h2", "", end_stream_with_data),
    ("h2", "", close_frame_and_end_stream),
    ("h2", "TLSv1.3", end_stream),
]
ABRUPT = [("h2", "", reset), ("h2", "", fin), ("h2", "TLSv1.3", close_notify)]


def names(ways: list[Any]) -> list[str]:
    return ["-".join((protocol.replace("/", ""), version or "plain", leave.__name__)) for protocol, version, leave in ways]


gentle = pytest.mark.parametrize(("protocol", "version", "leave"), GENTLE, ids=names(GENTLE))
every = pytest.mark.parametrize(("protocol", "version", "leave"), GENTLE + ABRUPT, ids=names(GENTLE + ABRUPT))


class Site:
    def __init__(self, server: LiveServer, context: ssl.SSLContext | None) -> None:
        self.server = server
        self.context = context

    def client(self, protocol: str) -> Client:
        peer = Peer(self.server.port, self.context, protocol)
        return Http2(peer) if protocol == "h2" else Http1(peer)

    def get(self, path: str) -> dict[str, Any]:
        peer = Peer(self.server.port, self.context, "http/1.1")
        peer.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        peer.until(b"\r\n\r\n")
        size = int(peer.read.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(peer.read.partition(b"\r\n\r\n")[2]) < size:
            peer.until(peer.read + b"}")
        peer.socket.close()
        result: dict[str, Any] = json.loads(peer.read.partition(b"\r\n\r\n")[2])
        return result

    def stat(self, name: str) -> int:
        return int(self.get("/log")["stats"][name])

    def members(self) -> int:
        return self.stat("group_members")


@contextlib.contextmanager
def site(folder: Path, version: str, close_timeout: float) -> Iterator[Site]:
    settings: dict[str, Any] = {"application_close_timeout": close_timeout, "ping_interval": 0.5, "ping_timeout": 0.5}
    settings["websocket_connect_timeout"] = FOR_EVER
    context = None
    if version:
        authority = Authority(folder)
        identity = authority.issue("localhost", "localhost")
        settings |= {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}
        context = ssl.create_default_context(cafile=str(authority.file))
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    with LiveServer(APPLICATION, **settings) as server:
        yield Site(server, context)


def fill(here: Site, client: Client, path: str = "/open/all") -> None:
    """The application does not read, the window is full, and more lies behind it."""
    client.open(path)
    client.peer.until(b"joined")
    client.send(message(b"x") * (COUNT // 2))
    eventually(lambda: here.stat("reads_paused") == 1, "the window is full")
    client.send(message(b"x") * (COUNT // 2))
    assert here.members() == 1


@every
def test_subscriptions_end_at_once(protocol: str, version: str, leave: Callable[[Client], None], tmp_path: Path) -> None:
    with site(tmp_path, version, FOR_EVER) as here:
        client = here.client(protocol)
        fill(here, client)
        leave(client)
        eventually(lambda: here.members() == 0, "the subscription has ended")
        assert here.stat("applications") == 2  # it runs, and the one that answers this


@gentle
def test_the_application_has_its_close_timeout(
    protocol: str, version: str, leave: Callable[[Client], None], tmp_path: Path
) -> None:
    with site(tmp_path, version, 0.5) as here:
        client = here.client(protocol)
        fill(here, client)
        leave(client)
        eventually(lambda: here.stat("applications_killed_total") == 1, "the application is killed")
        assert here.members() == 0 and here.stat("applications") == 1


@gentle
def test_what_it_had_sent_is_still_read(protocol: str, version: str, leave: Callable[[Client], None], tmp_path: Path) -> None:
    with site(tmp_path, version, FOR_EVER) as here:
        client = here.client(protocol)
        fill(here, client)
        leave(client)
        eventually(lambda: here.members() == 0, "the subscription has ended")
        here.get("/go")
        code = 1000 if "close_frame" in leave.__name__ else 1006
        eventually(lambda: here.get("/log")["log"], "the application has ended")
        assert here.get("/log")["log"] == [[COUNT, code]]
        eventually(lambda: here.stat("websockets") == 0, "the WebSocket is closed")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_bytes_behind_the_end_of_tls(version: str, tmp_path: Path) -> None:
    """RFC 8446, 6.1: what comes behind close_notify is ignored."""
    with site(tmp_path, version, FOR_EVER) as here:
        client = here.client("http/1.1")
        fill(here, client)
        client.peer.close_notify()
        eventually(lambda: here.members() == 0, "the subscription has ended")
        for _ in range(10):
            client.peer.socket.sendall(b"x" * 1000)
            time.sleep(0.02)
        here.get("/go")
        eventually(lambda: here.get("/log")["log"], "the application has ended")
        assert here.get("/log")["log"] == [[COUNT, 1006]]


@pytest.mark.parametrize("leave", [end_stream, end_stream_with_data])
def test_a_websocket_that_is_not_accepted_yet(leave: Callable[[Client], None], tmp_path: Path) -> None:
    """It has joined already, and its client has sent messages without waiting for the answer."""
    with site(tmp_path, "", FOR_EVER) as here:
        client = here.client("h2")
        client.open("/early/all")
        client.send(message(b"x") * COUNT)
        eventually(lambda: here.members() == 1)
        leave(client)
        eventually(lambda: here.members() == 0, "the subscription has ended")
        here.get("/go")
        eventually(lambda: here.get("/log")["log"], "the application has ended")
        assert here.get("/log")["log"] == [[COUNT, 1006]]


@pytest.mark.parametrize(("version", "leave"), [("", fin), ("TLSv1.2", close_notify), ("TLSv1.3", close_notify)])
def test_an_upload(version: str, leave: Callable[[Client], None], tmp_path: Path) -> None:
    """An HTTP/1.1 request whose client leaves in the middle of its body, most of which nobody has read."""
    with site(tmp_path, version, FOR_EVER) as here:
        client = here.client("http/1.1")
        client.post("/upload/all")
        client.send(b"x" * 66_000)
        eventually(lambda: here.stat("reads_paused") == 1, "the window is full")
        client.send(b"x" * 40_000)
        assert here.members() == 1
        leave(client)
        eventually(lambda: here.members() == 0, "the subscription has ended")


@pytest.mark.parametrize("version", ["", "TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_client_that_stays(protocol: str, version: str, tmp_path: Path) -> None:
    """It is not read for a while, and is no less a member for that."""
    with site(tmp_path, version, 0.5) as here:
        client = here.client(protocol)
        fill(here, client)
        time.sleep(1.5)
        assert here.members() == 1 and here.stat("websockets") == 1
        here.get("/go")
        client.send(message(b"\x03\xe8", CLOSE))
        eventually(lambda: here.get("/log")["log"], "the application has ended")
        assert here.get("/log")["log"] == [[COUNT, 1000]]


@pytest.mark.parametrize("version", ["", "TLSv1.3"])
def test_an_upload_that_goes_on(version: str, tmp_path: Path) -> None:
    """All of a body arrives, however long it was not read."""
    with site(tmp_path, version, 0.5) as here:
        client = here.client("http/1.1")
        client.post("/upload/all")
        client.peer.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            client.send(b"x" * 300_000)
            time.sleep(1)
        client.peer.socket.settimeout(PATIENCE)
        here.get("/go")
        client.send(b"x" * 700_000)
        eventually(lambda: here.get("/log")["log"], "the application has ended")
        assert here.get("/log")["log"] == [[1_000_000, 0]]
