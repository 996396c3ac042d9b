"""Request heads that Python has not taken yet: their bytes are bounded, for each connection and in all.

Over HTTP/2 further requests are refused, over HTTP/1 further requests are not read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hpack.hpack import encode_integer

from tests.integration.core_harness import Client, CoreServer, WebSocket, eventually
from tests.integration.raw_http2 import (
    CANCEL,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    REFUSED_STREAM,
    RST_STREAM,
    Attacker,
    frame,
    request,
)
from tests.support import nghttp2

KIB, MIB = 1024, 1024 * 1024
ONE = 64 * KIB  # the most that one head, and what is kept beside it, takes here
UNBOUND = {"http2_control_rate": 0, "http2_max_applications": 0, "http2_max_concurrent_streams": 1000}
VALUE = "x" * 4000


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def long_request(stream: int, path: str = "/") -> bytes:
    """58 bytes for a head of 60 kB, where 2,000 bytes have been sent before."""
    pseudo = b"\x82\x86\x04" + bytes(encode_integer(len(path), 7)) + path.encode() + b"\x01\x01x"
    field = b"\x40\x01x" + bytes(encode_integer(len(VALUE), 7)) + VALUE.encode() if stream == 1 else b""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, pseudo + field + bytes([0x80 | 62]) * 15)


LONG_HEAD = b"".join(f"X-{number}: {VALUE}\r\n".encode() for number in range(15))


def long_get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + LONG_HEAD + b"\r\n"


@contextlib.contextmanager
def blocked(server: CoreServer) -> Iterator[None]:
    """The event loop stands still: Python takes nothing."""
    standing, release = threading.Event(), threading.Event()

    def block() -> None:
        standing.set()
        release.wait()

    server.loop.call_soon_threadsafe(block)
    assert standing.wait(30)
    try:
        yield
    finally:
        release.set()


def waiting(server: CoreServer) -> int:
    return server.stats()["head_bytes_waiting"]


def is_clean(server: CoreServer) -> None:
    server.idle()
    eventually(lambda: waiting(server) == 0 and server.stats()["exchanges"] == 0 and server.stats()["read_paused"] == 0)


@pytest.mark.parametrize("ends", [False, True], ids=["open", "reset"])
def test_heads_of_one_http2_connection(ends: bool) -> None:
    settings = {**UNBOUND, "head_window": MIB}
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as attacker, Attacker(server.port) as other:
        with blocked(server):
            for stream in range(1, 401, 2):
                attacker.send(long_request(stream))
                if ends:
                    attacker.send(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")))
                assert attacker.alive()
            assert MIB - ONE < waiting(server) < MIB + ONE
            refused = {stream for stream, code in attacker.resets.items() if code == REFUSED_STREAM}
            assert 180 < server.stats()["heads_refused_total"]
            if not ends or nghttp2.version() < nghttp2.RESETS_ARE_NOT_ANSWERED:
                assert len(refused) == server.stats()["heads_refused_total"]
            other.send(request(1, "/other"))  # has a window of its own
            assert other.alive() and not other.resets
        other.wait(lambda: other.ended == {1})
        if not ends:
            attacker.wait(lambda: attacker.ended == set(range(1, 401, 2)) - refused)
        is_clean(server)
        attacker.send(long_request(401))
        attacker.wait(lambda: 401 in attacker.ended)
        assert ends or not server.errors
        server.errors.clear()


def test_refused_heads_of_one_connection_are_paid_for() -> None:
    settings = {**UNBOUND, "http2_control_rate": 10, "head_window": 200 * KIB}
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as attacker:
        with blocked(server):
            for stream in range(1, 1001, 2):
                attacker.send(long_request(stream))
            assert attacker.wait_for_goaway() == 11  # ENHANCE_YOUR_CALM
        assert server.stats()["http2_floods_total"] == 1
        is_clean(server)


def test_heads_of_all_http2_connections() -> None:
    """Who is refused because of the others does not pay for that."""
    settings = {**UNBOUND, "http2_control_rate": 10, "head_window": MIB, "head_backlog": 2 * MIB}
    with CoreServer(application, settings=settings) as server, contextlib.ExitStack() as stack:
        with blocked(server):
            for _ in range(5):  # of which each may have a megabyte, and leaves
                with Attacker(server.port) as attacker:
                    for stream in range(1, 31, 2):
                        attacker.send(long_request(stream))
                    assert attacker.alive()
            assert 2 * MIB - ONE < waiting(server) < 2 * MIB + ONE
            innocent = stack.enter_context(Attacker(server.port))
            for stream in range(1, 1001, 2):
                innocent.send(request(stream, "/"))
            assert innocent.alive() and innocent.goaway is None
            assert set(innocent.resets.values()) == {REFUSED_STREAM} and len(innocent.resets) == 500
            assert server.stats()["heads_refused_total"] >= 500
        is_clean(server)
        innocent.send(request(1001, "/"))
        innocent.wait(lambda: 1001 in innocent.ended)


def test_one_head_is_always_taken() -> None:
    """However small the windows are."""
    settings = {"head_window": 1, "head_backlog": 1}
    with CoreServer(application, settings=settings) as server, Attacker(server.port) as client:
        for stream in (1, 3, 5):
            client.send(request(stream, "/"))
            client.wait(lambda: stream in client.ended)  # noqa: B023
            eventually(lambda: waiting(server) == 0)
        assert [server.get(f"/{number}").body for number in range(3)] == [b"/0", b"/1", b"/2"]
        with WebSocket(server.port).open():
            pass
        is_clean(server)


@pytest.mark.parametrize("pieces", [1, 3])
def test_heads_over_http1(pieces: int) -> None:
    """Connections that are not read until there is room, and are served then, however long it takes."""
    settings = {"head_backlog": MIB, "keep_alive_timeout_ms": 300, "header_timeout_ms": 300}
    with CoreServer(application, settings=settings) as server, contextlib.ExitStack() as stack:
        with blocked(server):
            clients = [stack.enter_context(server.connect()) for _ in range(60)]
            for number, client in enumerate(clients):
                data = long_get(f"/{number}")
                for at in range(0, len(data), len(data) // pieces + 1):
                    client.send(data[at : at + len(data) // pieces + 1])
            eventually(lambda: server.stats()["heads_held_total"] >= 60 - 17 - 1)
            assert MIB - ONE < waiting(server) < MIB + ONE
            held = server.stats()["heads_held_total"]
            assert server.stats()["read_paused"] == held and server.stats()["connections"] == 60
            threading.Event().wait(1)  # three times keep_alive_timeout: they are not idle
            assert server.stats()["connections"] == 60 and server.stats()["timeouts_total"] == 0
        for number, client in enumerate(clients):
            response = client.response()
            assert (response.status, response.body) == (200, b"/%d" % number)
        is_clean(server)


def test_pipelined_requests() -> None:
    """The next request of a connection waits as a first one does."""
    with CoreServer(application, settings={"head_backlog": 1}) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(5)]
        with blocked(server):
            for client in clients:
                client.send(b"".join(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(20)))
            eventually(lambda: server.stats()["heads_held_total"] == 4)
        for client in clients:
            assert [client.response().body for _ in range(20)] == [b"/%d" % number for number in range(20)]
        is_clean(server)


def test_clients_that_come_and_go_over_http1() -> None:
    """What they leave behind is in the queue, and counts."""
    with CoreServer(application, settings={"head_backlog": MIB}) as server:
        with blocked(server):
            for _ in range(60):
                with server.connect() as client:
                    before = server.stats()["requests_total"] + server.stats()["heads_held_total"]
                    client.send(long_get("/"))
                    eventually(lambda: server.stats()["requests_total"] + server.stats()["heads_held_total"] > before)  # noqa: B023
            assert MIB - ONE < waiting(server) < MIB + ONE
            eventually(lambda: server.stats()["connections"] == 0)  # those that are not read, too
            assert server.stats()["read_paused"] == 0
        is_clean(server)
        assert server.get("/after").body == b"/after"


@pytest.mark.parametrize("protocol", ["http", "websocket", "http2"])
def test_a_connection_that_waits_when_the_server_drains(protocol: str) -> None:
    """Its request is served, as it came before."""
    with CoreServer(application, settings={"head_backlog": 1}) as server, contextlib.ExitStack() as stack:
        first = stack.enter_context(server.connect())
        with blocked(server):
            first.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: waiting(server) > 0)
            second: Client | Attacker
            if protocol == "http2":
                second = stack.enter_context(Attacker(server.port))
                second.send(request(1, "/"))
                second.wait(lambda: second.resets == {1: REFUSED_STREAM})
            elif protocol == "websocket":
                second = stack.enter_context(WebSocket(server.port))
            else:
                second = stack.enter_context(server.connect())
                second.send(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
            if protocol != "http2":
                eventually(lambda: server.stats()["heads_held_total"] == 1)
            server.core.shutdown(1012)
        assert first.response().body == b"/first"
        if isinstance(second, Client):
            assert second.head()[0] == (200 if protocol == "http" else 503)
            second.socket.close()
        first.socket.close()
        assert server.drained.wait(30)


def test_stopping_with_heads_that_wait() -> None:
    with CoreServer(application, settings={"head_backlog": 1}) as server:
        with blocked(server):
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: server.stats()["heads_held_total"] == 4)
            server.core.stop()
        for client in clients:
            client.close()
