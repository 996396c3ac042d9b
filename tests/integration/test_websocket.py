"""WebSockets as a client sees them: raw frames to a server in a process of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, WebSocket, eventually

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.integration.apps:sockets", websocket_max_message_size=1000, websocket_max_frame_size=600) as server:
        yield server


def raw(first: int, payload: bytes) -> bytes:
    """One masked frame whose first byte is first."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(payload))
    return bytes([first]) + length + b"\0\0\0\0" + payload


def seen(server: LiveServer) -> str:
    with Client(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return client.response().body.decode()


@pytest.mark.parametrize(
    "opcode, payload",
    [(TEXT, b"text"), (TEXT, b""), (BINARY, b"\xff\0"), (BINARY, b""), (TEXT, b"x" * 600)],
)
def test_echo(server: LiveServer, opcode: int, payload: bytes) -> None:
    with WebSocket(server.port).open() as client:
        client.send(raw(0x80 | opcode, payload))
        assert client.receive() == (opcode, payload)


def test_fragments_with_control_frames_between_them(server: LiveServer) -> None:
    euro = "€".encode()
    with WebSocket(server.port).open() as client:
        client.send(raw(TEXT, euro[:1]) + raw(0x80 | PING, b"still there?") + raw(0, euro[1:2]) + raw(0x80, euro[2:]))
        assert client.receive() == (PONG, b"still there?")
        assert client.receive() == (TEXT, euro)


@pytest.mark.parametrize(
    "frames, code",
    [
        (raw(0x81, b"\xff"), 1007),
        (raw(TEXT, "€".encode()[:2]) + raw(0x80, b""), 1007),
        (raw(0x82, b"x" * 601), 1009),
        (raw(BINARY, b"x" * 600) + raw(0x80, b"x" * 401), 1009),
        (raw(0x80, b"no beginning"), 1002),
        (raw(0x83, b"reserved"), 1002),
        (raw(0xC1, b"reserved bit"), 1002),
        (raw(PING, b"fragmented"), 1002),
        (b"\x81\x01x", 1002),
        (raw(0x88, b"\x03"), 1002),
        (raw(0x88, struct.pack("!H", 1005)), 1002),
    ],
)
def test_closed_with(server: LiveServer, frames: bytes, code: int) -> None:
    with WebSocket(server.port).open() as client:
        client.send(frames)
        assert client.closed()[0] == code


def test_close_by_the_client(server: LiveServer) -> None:
    with WebSocket(server.port).open() as client:
        client.close(4711, "genug")
        assert client.closed()[0] == 4711
        assert client.rest() == b""
    eventually(lambda: seen(server) == "4711 genug", "the code and reason in the application")


def test_close_by_the_application(server: LiveServer) -> None:
    with WebSocket(server.port).open() as client:
        client.text("close")
        assert client.closed() == (4001, "über")


def test_an_exception_is_1011(server: LiveServer) -> None:
    with WebSocket(server.port).open() as client:
        client.text("raise")
        assert client.closed()[0] == 1011


@pytest.mark.parametrize(
    "name, value", [("Sec-WebSocket-Version", "12"), ("Sec-WebSocket-Key", "short"), ("Sec-WebSocket-Version", "")]
)
def test_wrong_handshakes(server: LiveServer, name: str, value: str) -> None:
    fields = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", name: value,
    }  # fmt: skip
    with Client(server.port) as client:
        lines = "".join(f"{field}: {content}\r\n" for field, content in fields.items())
        client.send(f"GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode())
        assert client.head()[0] in (400, 426)


def test_connect_timeout() -> None:
    with LiveServer("tests.integration.apps:sockets", websocket_connect_timeout=0.3) as server:
        with WebSocket(server.port, "/silent") as client:
            assert client.head()[0] == 503


def test_lifetime() -> None:
    with LiveServer("tests.integration.apps:sockets", websocket_timeout=0.3) as server:
        with WebSocket(server.port).open() as client:
            assert client.closed()[0] == 1000


def test_a_client_that_answers_no_ping_is_closed_and_one_that_does_stays() -> None:
    with LiveServer("tests.integration.apps:sockets", ping_interval=0.2, ping_timeout=0.4) as server:
        with WebSocket(server.port).open() as dumb, WebSocket(server.port).open() as lively:
            for _ in range(8):
                opcode, payload = lively.receive()
                assert opcode == PING
                lively.send(raw(0x80 | PONG, payload))
            dumb.rest()
            lively.text("here")
            assert (TEXT, b"here") in (lively.receive(), lively.receive())
        eventually(lambda: seen(server).startswith("1006"), "1006 in the application")
