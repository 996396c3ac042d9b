"""Scenarios that are done again and again: each gives a function that does one turn with the server of programs/turns.py.

What a turn waits for is what makes the next one begin where this one began: an answer, a close frame, the end of the connection.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.core_harness import PATIENCE, Client, WebSocket
from tests.integration.programs import command
from tests.support.http2 import Http2
from tests.support.identities import Authority
from tests.support.ports import free_port
from tests.support.redis import redis_server

TEXT = b"0123456789abcdef" * 40
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
GET = b"GET %b HTTP/1.1\r\nHost: test\r\n\r\n"
FORWARDED = b"X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other.test\r\n\r\n"
BIG = b"x" * 20_000
KILL_TIME = 0.05  # s


@dataclass
class Site:
    """A running server, by where its listeners are."""

    port: int
    tls_port: int
    authority: Path
    pid: int

    def ask(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def active(self) -> tuple[int, int]:
        """Connections and applications, with those of the question itself."""
        stats = self.ask("/stats")
        return stats["connections"], stats["applications"]

    def wait_for_at_most(self, active: tuple[int, int], more: int) -> None:
        """Waits until no more than so many connections and applications are there beside the active ones."""
        deadline = time.monotonic() + PATIENCE
        while any(now > wanted + more for now, wanted in zip(self.active(), active, strict=True)):
            assert time.monotonic() < deadline, f"more than {more} connections or applications beside {active}"
            time.sleep(0.01)

    def wait_for(self, active: tuple[int, int]) -> None:
        deadline = time.monotonic() + PATIENCE
        while (now := self.active()) != active:
            assert time.monotonic() < deadline, f"{now}, not {active} connections and applications"
            time.sleep(0.01)

    def secure(self) -> Client:
        client = Client(self.tls_port)
        client.socket = _context(self.authority).wrap_socket(client.socket, server_hostname="localhost")
        return client


_contexts: dict[Path, ssl.SSLContext] = {}


def _context(authority: Path) -> ssl.SSLContext:
    if authority not in _contexts:
        _contexts[authority] = ssl.create_default_context(cafile=str(authority))
    return _contexts[authority]


Turn = Callable[[], None]
Scenario = Callable[[Site], AbstractContextManager[Turn]]


def alone(visit: Callable[[Site], None]) -> Scenario:
    """The scenario whose turns have nothing in common."""

    @contextmanager
    def scenario(site: Site) -> Iterator[Turn]:
        yield lambda: visit(site)

    return scenario


def ask(client: Client, request: bytes, status: int) -> None:
    client.send(request)
    response = client.response()
    assert response.status == status, (request[:100], response.status)


@contextmanager
def kept_alive(site: Site) -> Iterator[Turn]:
    with Client(site.port) as client:
        yield lambda: ask(client, GET % b"/hello", 200)


@contextmanager
def streams(site: Site) -> Iterator[Turn]:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(BIG) // 2, BIG[: len(BIG) // 2]) for _ in range(2))
    request = b"POST /stream HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with Client(site.port) as client:
        yield lambda: ask(client, request, 200)


@contextmanager
def files(site: Site) -> Iterator[Turn]:
    with Client(site.port) as client:

        def turn() -> None:
            client.send(b"GET /files HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n")
            assert b"103 Early Hints" in client.until(b"\r\n\r\n")
            client.until(b"\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n")

        yield turn


@alone
def leaving_the_file(site: Site) -> None:
    client = Client(site.port)
    client.send(GET % b"/files" * 20)
    client.until(b"-")
    client.reset()


def connection(request: bytes, status: int) -> Scenario:
    """A connection for each request."""

    def visit(site: Site) -> None:
        with Client(site.port) as client:
            ask(client, request, status)

    return alone(visit)


@alone
def leaving_the_response(site: Site) -> None:
    client = Client(site.port)
    client.send(GET % b"/left")
    client.until(b"more")
    client.reset()


@alone
def leaving_the_body(site: Site) -> None:
    with Client(site.port) as client:
        client.send(b"POST /stream HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf")


@alone
def secure_connection(site: Site) -> None:
    with site.secure() as client:
        ask(client, GET % b"/hello", 200)


@contextmanager
def secure_messages(site: Site) -> Iterator[Turn]:
    message = b"\x82\xfe" + struct.pack("!H", len(TEXT)) + bytes(4) + TEXT
    with site.secure() as client:
        client.send(
            b"GET /echo HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert client.head()[0] == 101

        def turn() -> None:
            client.send(message)
            assert client.exactly(4 + len(TEXT))[4:] == TEXT

        yield turn


@alone
def insecure(site: Site) -> None:
    """Garbage where TLS is spoken."""
    with Client(site.tls_port) as client:
        client.send(b"\x16\x03\x01\x00\x05hello, this is no handshake")
        client.rest()


def messages(headers: str = "") -> Scenario:
    """One WebSocket: what each message costs."""

    @contextmanager
    def scenario(site: Site) -> Iterator[Turn]:
        with WebSocket(site.port, "/echo", headers).open() as client:

            def turn() -> None:
                client.frame(1, TEXT)
                opcode, payload = client.receive()
                assert opcode == 1 and (payload == TEXT or headers)

            yield turn

    return scenario


def conversation(path: str, headers: str = "") -> Scenario:
    """A WebSocket for each turn, with an echo, closed by the client."""

    def visit(site: Site) -> None:
        with WebSocket(site.port, path, headers).open() as client:
            client.frame(1, TEXT)
            client.receive()
            client.close()
            client.rest()

    return alone(visit)


def closed(path: str) -> Scenario:
    """A WebSocket for each turn, closed by the server."""

    def visit(site: Site) -> None:
        with WebSocket(site.port, path).open() as client:
            while client.receive()[0] != 8:
                pass

    return alone(visit)


def refused(path: str, status: int) -> Scenario:
    def visit(site: Site) -> None:
        with WebSocket(site.port, path) as client:
            assert client.head()[0] == status

    return alone(visit)


def relayed(path: str, messages: int) -> Scenario:
    """Gets relayed messages, then one that it has asked for, and leaves without a word."""

    def visit(site: Site) -> None:
        client = WebSocket(site.port, path, OFFER).open()
        for _ in range(messages):
            client.receive()
        client.frame(1, b"to all")
        client.receive()
        client.reset()

    return alone(visit)


@contextmanager
def http2_streams(site: Site) -> Iterator[Turn]:
    with Http2(site.port) as client:

        def turn() -> None:
            stream = client.request("/stream", "POST", end=False)
            client.send(stream, TEXT, end=True)
            assert client.response(stream).body == TEXT
            del client.streams[stream]

        yield turn


@alone
def http2_left(site: Site) -> None:
    """Leaves in the middle of a body and of a WebSocket."""
    with Http2(site.port) as client:
        client.send(client.request("/stream", "POST", end=False), TEXT)
        client.websocket("/groups/default")


@alone
def killed(site: Site) -> None:
    """Leaves an application that has to be killed. It does not wait for that: the kills overlap."""
    WebSocket(site.port, "/stuck/default").open().reset()


SCENARIOS: dict[str, Scenario] = {
    "requests": kept_alive,
    "streams": streams,
    "connections": connection(GET % b"/hello", 200),
    "bad requests": connection(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
    "proxies": connection(b"GET /hello HTTP/1.1\r\nHost: test\r\n" + FORWARDED, 200),
    "bad proxies": connection(
        b"GET /hello HTTP/1.1\r\nX-Forwarded-For: 1.2.3\r\nX-Forwarded-Proto: x\r\nHost: test\r\n\r\n", 200
    ),
    "files": files,
    "leaving files": leaving_the_file,
    "exceptions": connection(GET % b"/raise", 500),
    "wrong events": connection(GET % b"/wrong", 500),
    "no response": connection(GET % b"/nothing", 500),
    "worker threads": connection(GET % b"/thread", 200),
    "leaving the response": leaving_the_response,
    "leaving the body": leaving_the_body,
    "TLS": secure_connection,
    "TLS messages": secure_messages,
    "bad TLS": insecure,
    "HTTP/2 streams": http2_streams,
    "leaving HTTP/2": http2_left,
    "messages": messages(),
    "compressed messages": messages(OFFER),
    "WebSockets": conversation("/echo"),
    "compressed WebSockets": conversation("/echo", OFFER),
    "consumers": conversation("/consumer"),
    "rejected WebSockets": refused("/reject", 403),
    "WebSockets that raise": refused("/raise", 500),
    "WebSockets that break": closed("/break"),
    "killed applications": killed,
    "groups": closed("/groups/default"),
    "groups, hub": closed("/groups/hub"),
    "groups, Redis": closed("/groups/redis"),
    "groups, Redis core": closed("/groups/core"),
    "relay": relayed("/relay/default", 2),
    "relay, hub": relayed("/relay/hub", 2),
    "relay, Redis": relayed("/relay/redis", 2),
}


@contextmanager
def site(directory: Path, *options: str, python: tuple[str, ...] = (sys.executable,), **environment: str) -> Iterator[Site]:
    """The server that takes part in the scenarios, with all its layers."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        layers = {
            "default": {},
            "hub": {"bus": "hub", "hub": str(directory / "hub")},
            "redis": {"hosts": [redis.url], "bus": "redis"},
            "core": {"hosts": [redis.url], "bus": "redis-core"},
        }
        configured = {name: {"BACKEND": "peneus.ChannelLayer", "CONFIG": config} for name, config in layers.items()}
        authority = Authority(directory)
        identity = authority.issue("localhost", "localhost", "127.0.0.1")
        port, tls_port = free_port(), free_port()
        endpoints = ("-e", f"tcp:{port}:interface=127.0.0.1")
        endpoints += ("-e", f"ssl:{tls_port}:privateKey={identity.key}:certKey={identity.certificate}:interface=127.0.0.1")
        arguments = ("-m", "peneus", "-v", "0", *endpoints, "--application-close-timeout", str(KILL_TIME))
        arguments += (
            "--pathsend",
            "--trusted-proxies",
            "127.0.0.1",
            "--forwarded-headers",
            "x-forwarded-for,x-forwarded-proto,x-forwarded-host",
        )
        program = "tests.leaks.programs.turns:application"
        variables = {"TURNS_LAYERS": json.dumps(configured), **environment}
        server = stack.enter_context(command(*arguments, *options, program, python=python, **variables))
        deadline = time.monotonic() + PATIENCE
        while not _listens(port):
            assert server.process.poll() is None and time.monotonic() < deadline, server.output
            time.sleep(0.05)
        running = Site(port, tls_port, authority.file, server.process.pid)
        try:
            yield running
        except BaseException:
            print(server.output[-4000:])
            raise
        print(server.output[-4000:])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
