"""permessage-deflate between a server and a client library: every agreement, limits, and relayed messages compressed once."""

from __future__ import annotations

import json
import random
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from peneus.testing import LiveServer
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate
from websockets.sync.client import ClientConnection, connect

from tests.integration.core_harness import WebSocket

TEXT, BINARY = 1, 2
TAIL = b"\x00\x00\xff\xff"
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


@pytest.fixture(scope="module", params=[False, True], ids=["no takeover", "takeover"])
def server(request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    with LiveServer(
        "tests.integration.apps:sockets",
        websocket_deflate_takeover=request.param,
        websocket_deflate_window_bits=15 if request.param else 12,
        websocket_deflate_threshold=0,
        websocket_max_message_size=200_000,
    ) as server:
        yield server


def opened(server: LiveServer, **offer: Any) -> ClientConnection:
    factory = ClientPerMessageDeflateFactory(**offer)
    return connect(server.ws_url, extensions=[factory], compression=None, max_size=None, open_timeout=20, close_timeout=20)


def agreed(client: ClientConnection) -> PerMessageDeflate:
    (extension,) = client.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


def messages() -> list[str | bytes]:
    noise = random.Random(7)
    text = json.dumps([{"row": n, "price": n * 0.25} for n in range(2000)])
    return [text, "", b"", text, text[:70_000], noise.randbytes(5000), "ä€😀" * 10_000, b"\0" * 200_000, text[::-1], "x", text]


@pytest.mark.parametrize("server_no_takeover", [False, True])
@pytest.mark.parametrize("client_no_takeover", [False, True])
@pytest.mark.parametrize("server_bits", [None, 9, 12, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9, 15])
def test_every_agreement(
    server: LiveServer,
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: int | None,
    client_bits: int | bool | None,
) -> None:
    with opened(
        server,
        server_no_context_takeover=server_no_takeover,
        client_no_context_takeover=client_no_takeover,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    ) as client:
        takeover = server.settings["websocket_deflate_takeover"]
        assert agreed(client).remote_no_context_takeover is (server_no_takeover or not takeover)
        assert agreed(client).local_no_context_takeover is (client_no_takeover or not takeover)
        assert agreed(client).remote_max_window_bits == min(server_bits or 15, server.settings["websocket_deflate_window_bits"])
        for message in messages():
            client.send(message)
            assert client.recv(timeout=20) == message
        client.send(["frag", "men", "", "ted"])
        assert client.recv(timeout=20) == "fragmented"


def test_a_bomb_is_closed(server: LiveServer) -> None:
    with opened(server) as client:
        client.send(b"\0" * 200_001)
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(timeout=20)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_it_can_be_switched_off() -> None:
    with LiveServer("tests.integration.apps:sockets", no_websocket_deflate=True) as server:
        with connect(server.ws_url, open_timeout=20) as client:
            assert client.protocol.extensions == []
            client.send("plain")
            assert client.recv(timeout=20) == "plain"


def receive_frame(client: WebSocket) -> tuple[int, bytes]:
    """First byte and payload of an unmasked frame."""
    first, length = client.exactly(2)
    if length == 126:
        length = int.from_bytes(client.exactly(2), "big")
    elif length == 127:
        length = int.from_bytes(client.exactly(8), "big")
    return first, client.exactly(length)


def publish(server: LiveServer, size: int) -> None:
    with urllib.request.urlopen(f"{server.url}/publish?group=prices&count=1&size={size}", timeout=20) as answer:
        answer.read()


@pytest.mark.parametrize("takeover", [False, True])
def test_a_relayed_message_is_compressed_for_all_who_can_read_it(takeover: bool) -> None:
    narrow = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n"
    with ExitStack() as stack:
        server = stack.enter_context(LiveServer("tests.integration.relay_apps:application", websocket_deflate_takeover=takeover))
        clients = [stack.enter_context(WebSocket(server.port, "/prices", head).open()) for head in (OFFER, OFFER, "", narrow)]
        for client in clients:
            assert receive_frame(client) == (0x81, b"joined")
        publish(server, 1000)
        frames = [receive_frame(client) for client in clients]
        assert frames[0] == frames[1] and frames[0][0] == 0xC1
        assert frames[2] == frames[3] and frames[2][0] == 0x81
        assert len(frames[0][1]) < len(frames[2][1]) / 4
        assert zlib.decompressobj(-12).decompress(frames[0][1] + TAIL) == frames[2][1]
        publish(server, 10)
        assert len({receive_frame(client) for client in clients}) == 1


@pytest.mark.parametrize("takeover", [False, True])
def test_own_and_relayed_messages_by_turns(takeover: bool) -> None:
    """With takeover the client's window has what both brought; the server's must not refer to what it does not know."""
    with LiveServer(
        "tests.integration.relay_apps:application", websocket_deflate_takeover=takeover, websocket_deflate_threshold=0
    ) as server:
        factory = ClientPerMessageDeflateFactory()
        with connect(f"{server.ws_url}/prices", extensions=[factory], compression=None, open_timeout=20) as client:
            assert client.recv(timeout=20) == "joined"
            for turn in range(3):
                more = f" of {turn}" * 200
                client.send(f"between{more}")
                expected = [f"{kind} {n}{more}" for n in range(20) for kind in ("own", "relayed")]
                assert [client.recv(timeout=20) for _ in expected] == expected
                publish(server, 5000)
                assert len(client.recv(timeout=20)) >= 5000
