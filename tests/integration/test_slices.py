"""zlib's work on large messages in slices: others are served between them, and nothing else changes: order, control frames,
closing, limits, and connections that end in the middle."""

from __future__ import annotations

import json
import random
import select
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, CoreServer, WebSocket, eventually
from tests.integration.slices_apps import content
from tests.support.http2 import Http2
from tests.support.identities import Authority

OFFER = "permessage-deflate; client_max_window_bits"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TAIL = b"\x00\x00\xff\xff"
LARGE = 8 << 20  # bytes: zlib takes some tenths of a second


def frame(opcode: int, payload: bytes, *, fin: bool = True, compressed: bool = False) -> bytes:
    head = bytes([0x80 * fin | 0x40 * compressed | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        head += b"\xfe" + len(payload).to_bytes(2, "big")
    else:
        head += b"\xff" + len(payload).to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def deflated(data: bytes) -> bytes:
    """As the payload of a message, from an empty window."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


class Socket:
    """A WebSocket of frames over HTTP/1."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext | None) -> None:
        if context is not None:
            context.set_alpn_protocols(["http/1.1"])
            context.check_hostname = False
        self.client = WebSocket(server.port, "/", f"Sec-WebSocket-Extensions: {OFFER}\r\n", context=context).open()
        self.takeover = "no_context_takeover" not in dict(self.client.headers)["sec-websocket-extensions"]
        self.inflater = zlib.decompressobj(-15)

    def send(self, data: bytes) -> None:
        self.client.send(data)

    def exactly(self, count: int) -> bytes:
        return self.client.exactly(count)

    def leave(self) -> None:
        self.client.reset()

    def close(self) -> None:
        self.client.socket.close()

    def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, which is inflated."""
        first, second = self.exactly(2)
        assert first & 0x80 and not second & 0x80
        extended = {126: 2, 127: 8}.get(second, 0)
        length = int.from_bytes(self.exactly(extended), "big") if extended else second
        payload = self.exactly(length)
        if first & 0x40:
            if not self.takeover:
                self.inflater = zlib.decompressobj(-15)
            payload = self.inflater.decompress(payload + TAIL)
        return first & 15, payload


class Stream(Socket):
    """The same over HTTP/2."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext | None) -> None:
        self.http2 = Http2(server.port, tls=context)
        self.stream = self.http2.websocket("/", [("sec-websocket-extensions", OFFER)])
        got = self.http2.streams[self.stream]
        self.http2.until(lambda: got.status == 200)
        self.takeover = "no_context_takeover" not in got.headers["sec-websocket-extensions"]
        self.inflater = zlib.decompressobj(-15)
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.http2.send(self.stream, data)

    def exactly(self, count: int) -> bytes:
        got = self.http2.streams[self.stream]
        while len(self.buffer) < count:
            self.http2.until(lambda: bool(got.body) or got.over)
            assert got.body, f"the stream ended after {self.buffer!r}"
            self.buffer += got.body
            got.body = b""
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def leave(self) -> None:
        self.http2.h2.reset_stream(self.stream)
        self.http2.flush()

    def close(self) -> None:
        self.http2.socket.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="module", params=["plain", "tls"])
def trusted(request: pytest.FixtureRequest, authority: Authority) -> tuple[dict[str, Any], str | None]:
    if request.param == "plain":
        return {}, None
    identity = authority.issue("localhost", "localhost", "127.0.0.1")
    return {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}, str(authority.file)


@pytest.fixture(scope="module", params=[False, True], ids=["no takeover", "takeover"])
def server(request: pytest.FixtureRequest, trusted: tuple[dict[str, Any], str | None]) -> Iterator[LiveServer]:
    with LiveServer(
        "tests.integration.slices_apps:application",
        websocket_deflate_takeover=request.param,
        websocket_write_limit=64 << 20,
        http2_control_rate=0,
        **trusted[0],
    ) as server:
        yield server


def connected(kind: str, server: LiveServer, trusted: tuple[dict[str, Any], str | None]) -> Socket:
    context = None if trusted[1] is None else ssl.create_default_context(cafile=trusted[1])
    return Socket(server, context) if kind == "http1" else Stream(server, context)


def order(source: random.Random, seed: int, end: str | None) -> tuple[bytes, list[bytes], str]:
    """Bytes of one order, in frames with pings between them; the pings; and what is to be answered first."""
    padding = content(source, source.choice([0, 100, 20_000, 200_000, 300_000]))
    data = json.dumps({"seed": seed, "padding": padding, "end": end}, ensure_ascii=False).encode()
    compressed = source.random() < 0.8
    payload = deflated(data) if compressed else data
    cuts = sorted(source.sample(range(len(payload)), k=min(source.randrange(4), len(payload)))) if source.random() < 0.5 else []
    pieces = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    out, pings = b"", []
    for n, piece in enumerate(pieces):
        out += frame(TEXT if n == 0 else CONTINUATION, piece, fin=n == len(pieces) - 1, compressed=compressed and n == 0)
        if source.random() < 0.5:
            pings.append(source.randbytes(source.randrange(20)))
            out += frame(PING, pings[-1])
    return out, pings, f"read {len(padding)} {zlib.crc32(padding.encode())}"


class Conversation:
    """What has been said on one WebSocket, and what has been heard."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.number = 0
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []

    def ask(self, source: random.Random, end: str | None) -> str:
        data, pings, read = order(source, source.randrange(1 << 30), end)
        self.pings += pings
        self.socket.send(data)
        return read

    def hear(self) -> str | int:
        """The next message without its number, which is the next one; or the code of a close frame."""
        while True:
            opcode, payload = self.socket.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")
            if opcode == PONG:
                self.pongs.append(payload)
                continue
            number, _, text = payload.decode().partition(":")
            assert (opcode, int(number)) == (TEXT, self.number)
            self.number += 1
            return text


@pytest.mark.parametrize("kind", ["http1", "http2"])
@pytest.mark.parametrize("seed", range(3))
def test_order_and_ends(kind: str, seed: int, server: LiveServer, trusted: tuple[dict[str, Any], str | None]) -> None:
    """Random orders, up to four at once; then one side closes, or the client leaves in the middle."""
    source = random.Random(seed)
    for end in ("close", "relayed close", "client", "leave"):
        talk = Conversation(connected(kind, server, trusted))
        for _ in range(3):
            reads = [talk.ask(source, None) for _ in range(source.randrange(1, 5))]
            for read in reads:
                assert talk.hear() == read
                while talk.hear() != "done":
                    pass
        if end == "leave":
            for _ in range(3):
                talk.ask(source, None)
            talk.hear()
            talk.socket.leave()
        else:
            read = talk.ask(source, end if end != "client" else None)
            if end == "client":
                talk.socket.send(frame(CLOSE, (4321).to_bytes(2, "big")))
            heard = [talk.hear()]
            while not isinstance(heard[-1], int):
                heard.append(talk.hear())
            assert heard[-1] == (4321 if end == "client" else 4000)
            assert end == "client" or heard[0] == read
            assert talk.pongs == talk.pings or end == "client"
            if end != "client":
                talk.socket.send(frame(CLOSE, (4000).to_bytes(2, "big")))
        talk.socket.close()
    assert "Traceback" not in server.stderr


@pytest.fixture(scope="module", params=["http1", "http2"])
def slow_site(request: pytest.FixtureRequest) -> Iterator[tuple[str, LiveServer]]:
    with LiveServer("tests.integration.slices_apps:application", websocket_write_limit=200_000) as server:
        yield request.param, server


def test_what_is_relayed_may_be_dropped_and_nothing_else(slow_site: tuple[str, LiveServer]) -> None:
    """With a small limit relayed messages are dropped; what comes is in order, and the application's own messages all come."""
    kind, server = slow_site
    for seed in range(6):
        source = random.Random(seed)
        socket = connected(kind, server, ({}, None))
        pings = []
        for end in (None, None, None, "close"):
            data, some, _ = order(source, source.randrange(1 << 30), end)
            pings += some
            socket.send(data)
        last = -1
        while True:
            opcode, payload = socket.receive()
            if opcode == CLOSE:
                break
            if opcode == PONG:
                assert payload == pings.pop(0)
                continue
            number = int(payload.partition(b":")[0])
            assert number > last
            last = number
        socket.send(frame(CLOSE, (4000).to_bytes(2, "big")))
        socket.close()


def test_nothing_is_left(server: LiveServer, trusted: tuple[dict[str, Any], str | None]) -> None:
    expected = {"websockets": 0, "connections": 1, "applications": 1, "bytes_unwritten": 0}

    def left() -> bool:
        context = None if trusted[1] is None else ssl.create_default_context(cafile=trusted[1])
        with Http2(server.port, tls=context) as client:
            stats = json.loads(client.get("/").body)
        return {name: stats[name] for name in expected} == expected

    eventually(left, "no connection but the one that asks")


ATTEMPTS = 4  # on a loaded machine the others may come too late; if they had to wait, they would never be in time


def is_silent(connection: socket.socket) -> bool:
    return not select.select([connection], [], [], 0)[0]


def relay_and_ask() -> bool:
    """Whether others were answered before a relayed message was compressed."""
    with LiveServer("tests.integration.slices_apps:application") as server:
        subscribers = [connected(kind, server, ({}, None)) for kind in ("http1", "http2", "http1", "http1")]
        plain = WebSocket(server.port).open()
        subscribers[2].leave()
        with Client(server.port) as other:
            for path in (f"/relay/{LARGE}", "/", "/", "/"):
                other.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert other.response().status == 200
        silent = all(is_silent(subscriber.client.socket) for subscriber in (subscribers[0], subscribers[3]))
        subscribers[3].leave()
        text = random.Random(1).randbytes(LARGE // 2).hex().encode()
        for socket in (*subscribers[:2], plain):
            assert socket.receive() == (TEXT, text)
            assert socket.receive() == (TEXT, b"behind")
        for socket in subscribers[:2]:
            socket.send(order(random.Random(3), 7, None)[0])
            while (opcode := socket.receive()[0]) == PONG:
                pass
            assert opcode == TEXT
            socket.close()
        plain.socket.close()
    return silent


def test_others_are_served_while_a_relayed_message_is_compressed() -> None:
    assert any(relay_and_ask() for _ in range(ATTEMPTS))


def witnessed(application: Any, **settings: Any) -> CoreServer:
    return CoreServer(application, settings={"websocket_max_message_size": 0, "websocket_max_frame_size": 0, **settings})


def send_and_ask() -> bool:
    """The same with a message of the application's."""
    text = random.Random(1).randbytes(LARGE // 2).hex()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            await send({"type": "websocket.send", "text": text})
            await receive()
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    with witnessed(application) as server, server.connect() as other:
        with server.websocket("/", f"Sec-WebSocket-Extensions: {OFFER}\r\n").open() as client:
            client.text("begin")
            eventually(lambda: server.stats()["messages_out_total"] == 1, "the message on its way")
            for _ in range(3):
                other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert other.response().status == 200
            silent = is_silent(client.socket)
            first, second = client.exactly(2)
            assert (first, second) == (0xC1, 127)
            compressed = client.exactly(int.from_bytes(client.exactly(8), "big"))
            assert zlib.decompressobj(-15).decompress(compressed + TAIL) == text.encode()
    return silent


def test_others_are_served_while_a_message_is_compressed() -> None:
    assert any(send_and_ask() for _ in range(ATTEMPTS))


def inflate_and_ask() -> bool:
    """Whether others were answered before a message was inflated."""
    seen: list[Any] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            seen.append(len((await receive())["bytes"]))
        else:
            seen.append("GET")
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    bomb = deflated(bytes(5 * LARGE))
    with witnessed(application) as server, server.connect() as other:
        with server.websocket("/", f"Sec-WebSocket-Extensions: {OFFER}\r\n").open() as client:
            before = server.stats()["bytes_in_total"]
            client.send(frame(BINARY, bomb[:-1], compressed=True, fin=False))
            eventually(lambda: server.stats()["bytes_in_total"] - before >= len(bomb), "what has been read")
            client.send(frame(CONTINUATION, bomb[-1:]))
            for _ in range(2):
                other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert other.response().status == 200
            eventually(lambda: len(seen) == 3, "the message")
    assert sorted(seen, key=str) == [5 * LARGE, "GET", "GET"]
    return seen[:2] == ["GET", "GET"]


def test_others_are_served_while_a_message_is_inflated() -> None:
    assert any(inflate_and_ask() for _ in range(ATTEMPTS))
