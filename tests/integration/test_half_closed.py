"""Clients that shut down their side of the connection behind a whole request, as `nc -N` and health checks do: they are answered.
Those that have left look the same, and their application hears of it all the same."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, CoreServer, WebSocket, eventually
from tests.integration.cut_apps import pattern
from tests.integration.test_unread import Peer
from tests.support.identities import Authority

SIZE = 3_000_000
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.begun: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        self.begun.append(path)
        if scope["type"] == "websocket":
            await receive()
            if path == "/accepted":
                await send({"type": "websocket.accept"})
            self.heard.append((await receive())["type"])
        elif path == "/waits":
            while (event := await receive())["type"] != "http.disconnect":
                pass
            self.heard.append(event["type"])
        else:
            await self.answer(path, receive, send)

    async def answer(self, path: str, receive: Any, send: Any) -> None:
        body = b"x"
        if path == "/thinks":
            await asyncio.sleep(0.2)
        elif path == "/echo":
            body = b""
            while True:
                event = await receive()
                body += event["body"]
                if not event.get("more_body"):
                    break
        length = SIZE if path in ("/large", "/steps") else len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        if path == "/large":
            body = b"x" * SIZE
        elif path == "/steps":
            for _ in range(SIZE // 10_000 - 1):
                await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            body = b"x" * 10_000
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def site() -> Iterator[CoreServer]:
    with CoreServer(Application()) as server:
        yield server


def half_close(client: Client) -> None:
    client.socket.shutdown(socket.SHUT_WR)


def test_it_is_answered(site: CoreServer) -> None:
    for path in (b"/", b"/thinks", b"/"):
        with site.connect() as client:
            client.send(GET % path)
            half_close(client)
            assert client.response().body == b"x"
            assert client.rest() == b""  # the server has closed, too


@pytest.mark.parametrize("path", [b"/large", b"/steps"])
def test_it_gets_all_of_a_large_response(site: CoreServer, path: bytes) -> None:
    with site.connect() as client:
        client.send(GET % path)
        half_close(client)
        assert client.response().body == b"x" * SIZE
        assert client.rest() == b""


def test_requests_one_behind_the_other(site: CoreServer) -> None:
    with site.connect() as client:
        client.send(GET % b"/" + GET % b"/large" + GET % b"/thinks" + GET % b"/large")
        half_close(client)
        assert [len(client.response().body) for _ in range(4)] == [1, SIZE, 1, SIZE]
        assert client.rest() == b""


def test_a_body_larger_than_the_window(site: CoreServer) -> None:
    with site.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"y" * 1_000_000)
        half_close(client)
        assert client.response().body == b"y" * 1_000_000


def test_a_request_that_is_not_whole(site: CoreServer) -> None:
    """What is before it is answered."""
    with site.connect() as client:
        client.send(GET % b"/large" + b"GET / HTTP/1.1\r\nHos")
        half_close(client)
        assert client.response().body == b"x" * SIZE
        assert client.rest() == b""
    with site.connect() as client:
        client.send(b"POST /waits HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        half_close(client)
        assert client.rest() == b""
    eventually(lambda: site.application.heard == ["http.disconnect"], "the application hears of it")


def test_who_has_left_is_noticed(site: CoreServer) -> None:
    """An application that sends nothing hears of it; nobody is waited for who waits for such a one, either."""
    with site.connect() as client:
        client.send(GET % b"/waits")
        eventually(lambda: site.application.begun, "the request")
    eventually(lambda: site.application.heard == ["http.disconnect"], "the application hears of it")
    with site.connect() as client:
        client.send(GET % b"/waits")
        half_close(client)
        assert client.rest() == b""
    eventually(lambda: len(site.application.heard) == 2, "the application hears of it")
    site.idle()


@pytest.mark.parametrize("path", ["/accepted", "/undecided"])
def test_it_is_the_end_of_a_websocket(site: CoreServer, path: str) -> None:
    client = WebSocket(site.port, path)
    with client:
        if path == "/accepted":
            client.open()
        eventually(lambda: site.application.begun, "the request")
        half_close(client)
        assert client.rest() == b""
    eventually(lambda: site.application.heard == ["websocket.disconnect"], "the application hears of it")


def test_it_is_answered_over_tls(tmp_path: Path) -> None:
    """close_notify ends one side of TLS (RFC 8446, 6.1)."""
    authority = Authority(tmp_path)
    identity = authority.issue("localhost", "localhost")
    files = {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}
    context = ssl.create_default_context(cafile=str(authority.file))
    with LiveServer("tests.integration.cut_apps:application", **files) as server:
        peer = Peer(server.port, context, "http/1.1")
        peer.send(GET % b"/whole/5")
        peer.close_notify()
        peer.until(pattern(5)[-1000:])
        peer.socket.close()


def keepalive_runs(server: int, client: int) -> bool:
    """Whether the server's socket for a client's port has a keepalive timer (proc(5): 2 in the timer's column)."""
    with open("/proc/net/tcp") as table:
        sockets = [line.split() for line in table.readlines()[1:]]
    ends = f":{server:04X}", f":{client:04X}"
    return any(each[1].endswith(ends[0]) and each[2].endswith(ends[1]) and each[5].startswith("02:") for each in sockets)


def test_who_has_vanished_is_asked_for(site: CoreServer) -> None:
    """Its FIN may stand behind data that the application never reads, or was never sent."""
    with site.connect() as client:
        client.send(GET % b"/waits")
        eventually(lambda: site.application.begun, "the request")
        port = client.socket.getsockname()[1]
        eventually(lambda: keepalive_runs(site.port, port), "keepalive")
