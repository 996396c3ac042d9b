"""Header injection: what an application sends as a header, wherever one goes out, is one header or an error, and never two."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import pytest
from peneus import Server
from peneus.errors import SettingError
from peneus.testing import LiveServer

HTTP = ["value", "location", "name", "length", "hint", "trailer", "trailer-name"]
WEBSOCKET = ["accept", "accept-name", "subprotocol", "denial"]
CONTROLS = [bytes([byte]) for byte in range(32) if byte != 9] + [b"\x7f"]
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("tests.integration.injection_apps:application", verbosity=0) as live:
        yield live


def answer(server: LiveServer, place: str, evil: bytes) -> bytes:
    extra = UPGRADE if place in WEBSOCKET else "Connection: close, TE\r\nTE: trailers\r\n"
    request = f"GET /{place}?{quote_from_bytes(evil)} HTTP/1.1\r\nHost: example\r\n{extra}\r\n"
    with socket.create_connection((server.host, server.port), timeout=20) as peer:
        peer.sendall(request.encode())
        received = b""
        while data := peer.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("place", HTTP + WEBSOCKET)
def test_no_control_byte_goes_out(server: LiveServer, place: str) -> None:
    for evil in [*CONTROLS, b"\r\n", b"\n\n", b"\r\n\r\nHTTP/1.1 200 OK\r\n"]:
        received = answer(server, place, b"a" + evil + b"X-Injected: yes")
        assert b"ValueError" in received, (place, evil)
        assert b"Injected" not in received, (place, evil)
        assert received.count(b"HTTP/1.1 ") == 1, (place, evil)


@pytest.mark.parametrize("place", ["name", "trailer-name", "accept-name", "subprotocol"])
def test_names_are_tokens(server: LiveServer, place: str) -> None:
    for evil in [b"a b", b"a:b", b"a: b", b"", b'a"b', b"a,b", b"a\tb", b"\xc3\xa4", b"a\x85b"]:
        assert b"ValueError" in answer(server, place, evil), evil


@pytest.mark.parametrize("evil", [b"5", b",5", b" 6", b"x", b"\t", b"0" * 30])
def test_a_content_length_is_one_number(server: LiveServer, evil: bytes) -> None:
    received = answer(server, "length", evil)
    assert (b"ValueError" in received) == (evil != b"5")


@pytest.mark.parametrize("name", ["a\r\nX-Injected: yes", "a\nb", "a\0b", "a\x0bb", "a\x7fb"])
def test_the_name_of_the_server_is_checked(name: str) -> None:
    with pytest.raises(SettingError, match="server-name|server_name"):
        Server("tests.integration.injection_apps:application", server_name=name)


def test_what_a_proxy_says_is_not_sent_back() -> None:
    with LiveServer("tests.integration.injection_apps:application", verbosity=0, proxy_headers=True) as live:
        request = "GET /none HTTP/1.1\r\nHost: example\r\nConnection: close\r\nX-Forwarded-For: 1.2.3.4%0d%0aInjected\r\n\r\n"
        with socket.create_connection((live.host, live.port), timeout=20) as peer:
            peer.sendall(request.encode())
            received = b""
            while data := peer.recv(65536):
                received += data
    assert b"Injected" not in received
