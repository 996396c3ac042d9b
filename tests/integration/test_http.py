"""HTTP/1.1 as a client sees it: raw bytes to a server in a process of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from peneus.testing import LiveServer
from twisted.protocols.basic import LineReceiver

PATIENCE = 30.0
MIB = 1 << 20
GET = b"GET / HTTP/1.1\r\nHost: test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: test\r\n"


def talk(port: int, *parts: bytes) -> bytes:
    """Sends parts; what the server says until it closes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        for part in parts:
            client.sendall(part)
        return b"".join(iter(lambda: client.recv(65536), b""))


def status(answer: bytes) -> int:
    version, code = answer.split(b" ", 2)[:2]
    assert version == b"HTTP/1.1"
    return int(code)


@pytest.fixture(scope="module")
def limited() -> Iterator[LiveServer]:
    with LiveServer(
        "tests.integration.apps:echo", max_target_size=200, max_header_size=400, max_header_count=8, max_body_size=100
    ) as server:
        yield server


@pytest.mark.parametrize(
    "request_, expected",
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (GET + b"Na me: x\r\n\r\n", 400),
        (GET + b"Folded: x\r\n y\r\n\r\n", 400),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (POST + b"Content-Length: 101\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", 413),
        (b"GET /" + b"x" * 300 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
        (GET + b"Long: " + b"x" * 500 + b"\r\n\r\n", 431),
        (GET + b"".join(b"n%d: x\r\n" % number for number in range(9)) + b"\r\n", 431),
    ],
)
def test_refused(limited: LiveServer, request_: bytes, expected: int) -> None:
    answer = talk(limited.port, request_)
    assert status(answer) == expected
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_a_target_as_long_as_daphne_takes() -> None:
    """Twisted limits the request line, without a word on what it is made of."""
    target = b"/?q=".ljust(LineReceiver.MAX_LENGTH - len(b"GET  HTTP/1.1"), b"x")
    with LiveServer("tests.integration.apps:echo") as server:
        assert status(talk(server.port, b"GET " + target + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")) == 200


def test_just_within_the_limits(limited: LiveServer) -> None:
    request = POST + b"Connection: close\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    assert talk(limited.port, request).endswith(b"\r\n\r\n" + b"x" * 100)


def test_chunked_and_pipelined(limited: LiveServer) -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3;extension=1\r\none\r\n2\r\n, \r\n0\r\nTrailer: x\r\n\r\n"
    last = POST + b"Connection: close\r\nContent-Length: 3\r\n\r\ntwo"
    whole = chunked + last
    for pieces in ([whole], [whole[i : i + 1] for i in range(len(whole))]):
        answers = talk(limited.port, *pieces)
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert answers.index(b"\r\n\r\none, ") < answers.index(b"\r\n\r\ntwo")


def test_headers_that_do_not_come_in_time() -> None:
    with LiveServer("tests.integration.apps:echo", header_timeout=0.3) as server:
        assert status(talk(server.port, GET)) == 408


def test_idle_connection_is_closed_without_a_word() -> None:
    with LiveServer("tests.integration.apps:hello", keep_alive_timeout=0.3) as server:
        assert talk(server.port) == b""
        assert talk(server.port, GET + b"\r\n").count(b"HTTP/1.1 ") == 1


def test_a_body_that_does_not_come_in_http_timeout() -> None:
    with LiveServer("tests.integration.apps:echo", http_timeout=0.3) as server:
        assert status(talk(server.port, POST + b"Content-Length: 5\r\n\r\nhel")) == 503


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_gibibyte_goes_through_a_little_memory(loop: str) -> None:
    with LiveServer("tests.integration.apps:counter", loop=loop) as server:
        head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB)
        answer = talk(server.port, head, *(bytes(MIB) for _ in range(1024)))
    count, most = map(int, answer.rpartition(b"\r\n\r\n")[2].split())
    assert count == 1024 * MIB
    assert most < 16 * 1024
