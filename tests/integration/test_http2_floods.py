"""HTTP/2 clients that make work and take nothing: their faults are paid for, and what they can hold is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hpack.hpack import encode_integer

from tests.integration.core_harness import CoreServer, eventually
from tests.integration.raw_http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    WINDOW_UPDATE,
    Attacker,
    frame,
    request,
)
from tests.support import nghttp2


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """/wait waits for its client to leave, as does a WebSocket; /stuck for ever, unread; everything else is answered at once."""
    if scope["type"] == "websocket":
        await receive()
        with contextlib.suppress(OSError):  # the client has left
            await send({"type": "websocket.accept"})
    if scope["path"] == "/stuck":
        await asyncio.Event().wait()
    if scope["type"] == "websocket" or scope["path"] == "/wait":
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


# control frames a second, how many streams are reset, and whether that is too many: the purse has ten seconds' worth
@pytest.mark.parametrize(
    ("rate", "count", "flood"), [(0, 4000, False), (1000, 4000, False), (100, 50_000, True), (10, 50_000, True)]
)
def test_resets_by_the_client(rate: int, count: int, flood: bool) -> None:
    """--http2-control-rate alone says how many RST_STREAM a client may send; nghttp2's own limit does not count."""
    with CoreServer(application, settings={"http2_control_rate": rate}) as server, Attacker(server.port) as attacker:
        for first in range(1, 2 * count, 100):
            batch = b"".join(request(stream, "/wait") + reset(stream) for stream in range(first, first + 100, 2))
            if not attacker.send(batch) or attacker.closed:
                break
        if flood:
            assert attacker.wait_for_goaway() == ENHANCE_YOUR_CALM
        else:
            assert attacker.alive() and attacker.goaway is None
            server.idle()
            eventually(lambda: server.stats()["exchanges"] == 0)  # what the I/O thread has not freed yet counts against the next
            last = 2 * count + 1
            attacker.send(request(last, "/"))
            attacker.wait(lambda: last in attacker.ended)
            assert attacker.statuses[last] == 200
        assert server.stats()["http2_floods_total"] == int(flood)
        server.idle()
        eventually(lambda: server.stats()["exchanges"] == 0)


def literal(name: str, value: str, indexed: bool = False) -> bytes:
    """A field; indexed: it goes into the table, from which one byte repeats it."""
    name_bytes, value_bytes = name.encode("latin-1"), value.encode("latin-1")
    sizes = [bytes(encode_integer(len(part), 7)) for part in (name_bytes, value_bytes)]
    return (b"\x40" if indexed else b"\0") + sizes[0] + name_bytes + sizes[1] + value_bytes


PSEUDO = b"".join(
    literal(name, value) for name, value in [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
)
FIRST_INDEX = 0x80 | 62  # of the table: the last field that went into it
FRAME = 16384  # the largest, in bytes


def head(stream: int, fields: bytes, flags: int = END_STREAM, pseudo: bytes = PSEUDO) -> bytes:
    """HEADERS, with CONTINUATION where it is long."""
    block = pseudo + fields
    parts = [block[at : at + FRAME] for at in range(0, len(block), FRAME)] or [b""]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    ends = [0] * (len(parts) - 1) + [END_HEADERS]
    return b"".join(
        frame(kind, end | (flags if kind == HEADERS else 0), stream, part)
        for kind, end, part in zip(kinds, ends, parts, strict=True)
    )


def bomb(kind: str, size: int = 12_000) -> bytes:
    """Fields whose bytes are few here and many when inflated: size times one of 4 kB, or one of 4 bytes."""
    name, value = {"values": ("v", "x" * 4000), "names": ("n" * 4000, "x"), "small": ("n", "x"), "bad": ("b", "\x85" * 4000)}[
        kind
    ]
    return literal(name, value, indexed=True) + bytes([FIRST_INDEX]) * size


KINDS = ["values", "names", "small", "bad"]
LIMITS = {"max_header_size": 10_000, "max_header_count": 20}


@pytest.mark.parametrize("field", ["x" * 12_000, "x" * 1000], ids=["one long", "many"])
def test_a_head_somewhat_over_the_limit_is_answered(field: str) -> None:
    """Up to twice the limits it is read to its end, so that the client gets 431."""
    with CoreServer(application, settings=LIMITS) as server, Attacker(server.port) as client:
        fields = b"".join(literal(f"x{number}", field) for number in range(12_000 // len(field)))
        for first in range(1, 4001, 100):
            streams = range(first, first + 100, 2)
            client.send(b"".join(head(stream, fields) for stream in streams))
            client.wait(lambda: client.ended.issuperset(streams))  # noqa: B023
        assert set(client.statuses.values()) == {431} and not client.resets and client.goaway is None
        assert server.stats()["bad_requests_total"] == 2000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_a_head_far_over_the_limit_is_reset(where: str, kind: str) -> None:
    """Nobody checks the rest of it. Others on the connection do not notice, until the client has done it too often."""
    settings = {**LIMITS, "http2_control_rate": 2, "header_timeout_ms": 500}
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        for number in range(10):
            stream = 4 * number + 1
            if where == "trailers":
                client.send(request(stream, "/wait", method="POST", ends=False))
            client.send(head(stream, bomb(kind), pseudo=PSEUDO if where == "head" else b""))
            client.wait(lambda: stream in client.resets)  # noqa: B023
            assert client.resets[stream] == ENHANCE_YOUR_CALM
            client.send(request(stream + 2, "/"))
            client.wait(lambda: stream + 2 in client.ended)  # noqa: B023
            assert client.statuses[stream + 2] == 200
        assert server.stats()["bad_requests_total"] == 10
        time.sleep(1)  # no head is incomplete: --header-timeout does not pass
        assert client.alive() and server.stats()["header_timeouts_total"] == 0
        for number in range(10, 1000):
            if not client.send(head(4 * number + 1, bomb(kind))) or client.closed:
                break
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        assert server.stats()["http2_floods_total"] == 1
        server.idle()


def test_trailers_within_the_limit() -> None:
    with CoreServer(application, settings=LIMITS) as server, Attacker(server.port) as client:
        for stream in (1, 3, 5):  # each has the limit for itself, and its head too
            client.send(head(stream, literal("a", "x" * 9_900), flags=0) + head(stream, literal("b", "x" * 9_900), pseudo=b""))
            client.wait(lambda: stream in client.ended)  # noqa: B023
        assert set(client.statuses.values()) == {200} and not client.resets


def test_a_refused_head_that_does_not_end() -> None:
    """It has --header-timeout like every other."""
    with CoreServer(application, settings={**LIMITS, "header_timeout_ms": 500}) as server, Attacker(server.port) as client:
        client.send(frame(HEADERS, END_STREAM, 1, PSEUDO + bomb("values", 100)))
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        assert server.stats()["header_timeouts_total"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_heads_cost_little(where: str, kind: str) -> None:
    """What is over the limit costs no more than its bytes: before, 64 MB were checked for each frame of 16 KiB."""
    settings = {"http2_control_rate": 0}
    count = 100
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        before = time.process_time()
        for stream in range(1, 2 * count, 2):
            if where == "trailers":
                client.send(request(stream, "/wait", method="POST", ends=False))
            client.send(head(stream, bomb(kind), pseudo=PSEUDO if where == "head" else b""))
        assert client.alive()
        assert len(client.resets) == count
        used = time.process_time() - before
        assert used < count * 0.01 * (10 if "PENEUS_SANITIZED" in os.environ else 1), f"{used / count * 1000:.1f} ms each"
        server.idle()


def upload(stream: int, length: int | None = None, path: str = "/wait") -> bytes:
    """The head of a request whose body has this Content-Length."""
    fields = [] if length is None else [("content-length", str(length))]
    return request(stream, path, *fields, method="POST", ends=False)


def websocket(stream: int) -> bytes:
    fields = (":protocol", "websocket"), ("sec-websocket-version", "13")
    return request(stream, "/", *fields, method="CONNECT", ends=False)


def body(stream: int, content: bytes, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, content)


# What a client does wrong on a stream, each for one control frame of the rate, and whether it counts as a bad request.
FAULTS: dict[str, tuple[Callable[[int], bytes], bool]] = {
    "a body longer than it says": (lambda stream: upload(stream, 1) + body(stream, b"ab"), True),
    "a body shorter than it says": (lambda stream: upload(stream, 1) + body(stream, b"", end=True), True),
    "a shorter one with trailers": (lambda stream: upload(stream, 1) + head(stream, literal("a", "b"), pseudo=b""), True),
    "no body where it says one": (lambda stream: request(stream, "/wait", ("content-length", "5"), method="POST"), True),
    "a body above the window": (lambda stream: upload(stream, path="/stuck") + body(stream, bytes(FRAME)) * 8, True),
    "a window above the most": (lambda stream: upload(stream) + update(stream, 2**31 - 1), True),
    "a field of HTTP/1": (lambda stream: request(stream, "/wait", ("connection", "close")), True),
    "a bad trailer": (lambda stream: upload(stream) + head(stream, literal("A", "b"), pseudo=b""), True),
    "a body above the limit": (lambda stream: upload(stream) + body(stream, bytes(30_001)[:FRAME]) * 2, True),
    "a WebSocket that ends at once": (lambda stream: websocket(stream) + body(stream, b"", end=True), False),
    "a WebSocket that ends with a frame": (lambda stream: websocket(stream) + body(stream, b"\x81", end=True), False),
    "a WebSocket with a bad frame": (lambda stream: websocket(stream) + body(stream, b"\xff" * 10), False),
    "a WebSocket with bad UTF-8": (lambda stream: websocket(stream) + body(stream, b"\x81\x82\0\0\0\0\xff\xff"), False),
    "a reset": (lambda stream: upload(stream) + reset(stream), False),
}


FLOW_FAULTS = ["a body above the window", "a window above the most"]


def update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", increment))


@pytest.mark.parametrize("fault", FLOW_FAULTS)
def test_an_error_of_flow_control_ends_the_connection(fault: str) -> None:
    if nghttp2.version() < nghttp2.FLOW_ERRORS_END_THE_CONNECTION:
        pytest.skip("this nghttp2 resets the stream alone: test_each_fault_is_paid_for_once")
    make, _ = FAULTS[fault]
    with CoreServer(application, settings={"application_close_timeout_ms": 200}) as server, Attacker(server.port) as client:
        client.send(make(1))
        assert client.wait_for_goaway() == FLOW_CONTROL_ERROR
        server.idle()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_paid_for_once(fault: str) -> None:
    if fault in FLOW_FAULTS and nghttp2.version() >= nghttp2.FLOW_ERRORS_END_THE_CONNECTION:
        pytest.skip("this nghttp2 ends the connection at once: test_an_error_of_flow_control_ends_the_connection")
    make, is_bad = FAULTS[fault]
    count = 60
    most = 30_000 if fault == "a body above the limit" else 0
    settings = {"http2_control_rate": 10, "max_body_size": most, "application_close_timeout_ms": 200}
    # The window of the connection has 1 MiB, and may be half used. What comes between two answers must fit in.
    every, later = (4, 4) if fault == "a body above the window" else (10, 20)
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        for stream in range(1, 2 * count, 2):  # 60 of 100, as SETTINGS and PING cost something too; twice 60 would be too many
            client.send(make(stream))
            if stream % every == 1:
                assert client.alive()
        assert client.alive() and client.goaway is None
        if is_bad:
            assert server.stats()["bad_requests_total"] == count
        for stream in range(2 * count + 1, 20_000, 2):
            client.send(make(stream))
            if stream % later == 1 and not client.alive():
                break
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        assert server.stats()["http2_floods_total"] == 1
        server.idle()
        server.errors.clear()


class Stubborn:
    """Applications that go on when their stream has ended, until they are let go."""

    def __init__(self) -> None:
        self.started = self.running = self.most = 0
        self.gate = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.started += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if scope["type"] == "http" and scope["path"] == "/answers":
                await application(scope, receive, send)
            await self.gate.wait()
            if scope["type"] == "http" and scope["path"] != "/answers":
                with contextlib.suppress(OSError):
                    await application(scope, receive, send)
        finally:
            self.running -= 1


ENDS: dict[str, Callable[[int], bytes]] = {
    "a reset": lambda stream: upload(stream) + reset(stream),
    "a body longer than it says": lambda stream: upload(stream, 1) + body(stream, b"ab"),
    "a body shorter than it says": lambda stream: upload(stream, 1) + body(stream, b"", end=True),
    "a WebSocket that ends at once": lambda stream: websocket(stream) + body(stream, b"", end=True),
    "a response": lambda stream: request(stream, "/answers"),
}


BOUNDED = [(way, blocked) for way in ENDS for blocked in (False, True) if way != "a response" or not blocked]


@pytest.mark.parametrize(("way", "blocked"), BOUNDED)
def test_applications_of_a_connection_are_bounded(way: str, blocked: bool) -> None:
    """Those whose stream has ended count until Python has dropped them, also where Python has not even begun them."""
    stubborn = Stubborn()
    settings = {
        "http2_control_rate": 0,
        "http2_max_concurrent_streams": 20,
        "http2_max_applications": 30,
        "application_close_timeout_ms": 0,
        "websocket_connect_timeout_ms": 0,
    }
    with CoreServer(stubborn, settings=settings) as server, Attacker(server.port) as client, Attacker(server.port) as other:
        release = threading.Event()
        if blocked:
            server.loop.call_soon_threadsafe(release.wait)
        for stream in range(1, 201, 2):
            client.send(ENDS[way](stream))
            assert client.alive()  # one after the other: there are never too many streams
            if way == "a response" and stream < 60:
                client.wait(lambda: stream in client.ended)  # noqa: B023
        assert server.stats()["exchanges"] == 30
        assert server.stats()["applications_refused_total"] == 70
        if way != "a reset" or nghttp2.version() < nghttp2.RESETS_ARE_NOT_ANSWERED:
            assert list(client.resets.values()).count(REFUSED_STREAM) == 70
        release.set()
        eventually(lambda: stubborn.started == server.stats()["exchanges"])
        assert stubborn.most <= 30
        other.send(request(1, "/answers"))  # another connection is not concerned
        other.wait(lambda: 1 in other.ended)
        server.loop.call_soon_threadsafe(stubborn.gate.set)
        server.idle()
        eventually(lambda: server.stats()["exchanges"] == 0)
        client.send(request(201, "/answers"))
        client.wait(lambda: 201 in client.ended)
        assert client.statuses[201] == 200


def test_refused_applications_are_paid_for() -> None:
    stubborn = Stubborn()
    settings = {"http2_control_rate": 10, "http2_max_applications": 30, "application_close_timeout_ms": 0}
    with CoreServer(stubborn, settings=settings) as server, Attacker(server.port) as client:
        for stream in range(1, 20_000, 2):
            client.send(request(stream, "/"))
            if stream % 20 == 1 and not client.alive():
                break
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
        stats = server.stats()
        assert stats["http2_floods_total"] == 1 and stats["applications_refused_total"] >= 70 and stubborn.most <= 30
        server.loop.call_soon_threadsafe(stubborn.gate.set)
        server.idle()


@pytest.mark.parametrize("way", ["a body longer than it says", "a body shorter than it says"])
def test_a_flood_that_does_not_read_its_resets(way: str) -> None:
    """What waits to be sent is bounded by the number of streams; then streams are refused, which is paid for at once."""
    settings = {"http2_control_rate": 1, "http2_max_concurrent_streams": 20}
    with CoreServer(application, settings=settings) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(PREFACE)
        with contextlib.suppress(OSError):
            for stream in range(1, 20_001, 2):
                client.sendall(ENDS[way](stream))
        eventually(lambda: server.stats()["http2_floods_total"] == 1)
        assert server.stats()["requests_total"] <= 250
