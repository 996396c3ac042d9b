"""HTTP/2 clients that stop reading while the server ends their streams: because of the application, a timeout, an
overflow, or the client's own END_STREAM.

What such a client reads afterwards belongs to its own stream and is in order. A stream that was cut is reset.
Nobody else notices."""

from __future__ import annotations

import contextlib
import json
import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import eventually
from tests.integration.cut_apps import SIZE, pattern
from tests.support.http2 import Http2, Stream
from tests.support.identities import Authority

APPLICATION = "tests.integration.cut_apps:application"
NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
END_STREAM, DATA = 1, 0
MOST = 2**31 - 1  # largest flow-control window, in bytes
TEXT, CLOSE = 0x81, 0x88


class Site:
    """A server, with TLS or without, and clients for it."""

    def __init__(self, server: LiveServer, trusted: Path | None) -> None:
        self.server = server
        self.trusted = trusted

    def client(self, **arguments: Any) -> Http2:
        context = None if self.trusted is None else ssl.create_default_context(cafile=str(self.trusted))
        return Http2(self.server.port, tls=context, **arguments)

    @contextlib.contextmanager
    def slow_client(self) -> Iterator[Http2]:
        """Its flow-control windows have the maximum size, so only its unread socket limits the server."""
        with self.client(window=MOST, receive_buffer=4096) as client:
            client.h2.increment_flow_control_window(MOST - 65535)
            client.flush()
            yield client

    def get(self, path: str) -> bytes:
        """Retries on 503: on a loaded machine a short http_timeout may end this request too."""

        def ask() -> Stream | None:
            with self.client() as client:
                response = client.get(path)
                return response if response.status != 503 else None

        response: Stream = eventually(ask, "an answer")
        assert response.status == 200 and response.ended
        return response.body

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/stats"))
        return found

    def until_quiet(self, *names: str) -> list[Any]:
        """Waits until these statistics no longer change, and returns them."""
        seen: list[list[Any]] = [[]]

        def is_quiet() -> bool:
            stats = self.stats()
            seen.append([stats[name] for name in names])
            return seen[-1] == seen[-2]

        eventually(is_quiet, f"{names} no longer change")
        return seen[-1]

    def until_stuck(self) -> None:
        """Waits until the number of bytes queued for slow clients no longer changes."""
        eventually(lambda: self.until_quiet("bytes_unwritten")[0] > 65536, "nothing more can be written")

    def until_ended(self) -> None:
        """Waits until every application has ended, except the one that answers this request."""
        eventually(lambda: self.stats()["applications"] == 1, "the applications end")

    def until_relayed(self) -> int:
        """Waits until relayed messages are delivered or dropped, and returns how many were dropped."""
        dropped: dict[str, int] = self.until_quiet("messages_dropped_total", "relayed_deliveries_total")[0]
        return sum(dropped.values())

    def is_well(self) -> None:
        """Checks that the process is alive and that another client receives its own content."""
        assert self.get("/whole/77") == pattern(77)
        assert self.server.process is not None and self.server.process.poll() is None


@contextlib.contextmanager
def site(tls: bool, folder: Path, **settings: Any) -> Iterator[Site]:
    authority = Authority(folder)
    if tls:
        identity = authority.issue("localhost", "localhost")
        settings |= {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}
    with LiveServer(APPLICATION, pathsend=True, **settings) as server:
        yield Site(server, authority.file if tls else None)
        process = server.process
        assert process is not None and process.poll() is None, f"the server has ended: {server.stderr}"


transports = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@transports
@pytest.mark.parametrize("how", ["raises", "returns", "short"])
def test_a_response_that_the_application_cuts(how: str, tls: bool, tmp_path: Path) -> None:
    with site(tls, tmp_path) as here, here.slow_client() as client:
        stream = client.request(f"/{how}/5")
        here.until_stuck()
        here.get("/go")
        here.until_ended()
        here.is_well()  # other requests reuse the freed memory
        response = client.response(stream)
        assert response.reset == INTERNAL_ERROR and not response.ended
        assert pattern(5).startswith(response.body) and len(response.body) < SIZE
        assert client.get("/whole/6").body == pattern(6)  # the connection goes on
        here.is_well()


@transports
def test_responses_that_are_cut_by_a_timeout(tls: bool, tmp_path: Path) -> None:
    with site(tls, tmp_path, http_timeout=2) as here, here.slow_client() as client:
        streams = [client.request(f"/waits/{mark}") for mark in range(1, 6)]
        here.until_ended()
        here.is_well()
        for mark, stream in enumerate(streams, 1):
            response = client.response(stream)
            assert response.reset == INTERNAL_ERROR and pattern(mark).startswith(response.body)
        assert client.get("/whole/6").body == pattern(6)
        here.is_well()


@transports
def test_clients_that_are_too_slow(tls: bool, tmp_path: Path) -> None:
    with site(tls, tmp_path, send_timeout=2) as here, here.slow_client() as client:
        streams = {client.request(f"/waits/{mark}"): mark for mark in range(1, 6)}
        here.until_stuck()
        eventually(lambda: here.stats()["send_timeouts_total"] > 0, "the server gives up")
        here.until_ended()
        here.is_well()
        with contextlib.suppress(AssertionError, OSError):  # the whole connection may have been reset
            client.until(lambda: all(client.streams[stream].over for stream in streams))
        for stream, mark in streams.items():
            assert pattern(mark).startswith(client.streams[stream].body) and not client.streams[stream].ended
        here.is_well()


@transports
def test_a_file_that_becomes_shorter(tls: bool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(pattern(5))
    with site(tls, tmp_path, environment={"FILE": str(file)}) as here, here.slow_client() as client:
        stream = client.request("/file/5")
        here.until_stuck()
        file.write_bytes(b"")
        response = client.response(stream)
        assert response.reset == INTERNAL_ERROR and pattern(5).startswith(response.body)
        assert client.get("/whole/6").body == pattern(6)
        here.is_well()


@transports
@pytest.mark.parametrize("how", ["raises", "returns", "closes"])
def test_a_websocket_that_the_application_ends(how: str, tls: bool, tmp_path: Path) -> None:
    """The server does not cut the message: it sends all of it, then the close frame."""
    with site(tls, tmp_path) as here, here.slow_client() as client:
        stream = client.websocket(f"/{how}/5")
        here.until_stuck()
        here.get("/go")
        here.until_ended()
        here.is_well()
        assert client.take_message(stream) == (0x82, pattern(5))
        opcode, payload = client.take_message(stream)
        assert (opcode, int.from_bytes(payload, "big")) == (CLOSE, {"raises": 1011, "returns": 1000, "closes": 4001}[how])
        here.is_well()


def end_stream(client: Http2, stream: int) -> None:
    client.raw(DATA, END_STREAM, stream)


def reset(client: Http2, stream: int) -> None:
    client.h2.reset_stream(stream, CANCEL)
    client.flush()


@transports
@pytest.mark.parametrize("leave", [end_stream, reset])
@pytest.mark.parametrize("how", ["echo", "waits"])
def test_a_websocket_whose_client_leaves(how: str, leave: Callable[[Http2, int], None], tls: bool, tmp_path: Path) -> None:
    """The client ends or resets its stream while the server's last message is still queued, and continues to read."""
    message = pattern(5, 900_000)
    with site(tls, tmp_path, application_close_timeout=1) as here, here.slow_client() as client:
        stream = client.websocket(f"/{how}/5")
        if how == "echo":
            client.send(stream, b"\x82\xff" + len(message).to_bytes(8, "big") + b"\0\0\0\0" + message)
        here.until_stuck()
        leave(client, stream)
        here.until_ended()
        here.is_well()
        if leave is end_stream:
            assert client.response(stream).reset == CANCEL
        assert client.get("/whole/6").body == pattern(6)
        assert (message if how == "echo" else pattern(5)).startswith(client.streams[stream].body[10:])
        here.is_well()


def drawn(seed: int) -> list[int]:
    draw = random.Random(seed)
    ranges = [(16380, 16380), (16370, 16390), (3, 200), (20_000, 400_000)]
    return [draw.randint(*draw.choice(ranges)) for _ in range(60)]


# Sizes of relayed messages, in bytes. 16,380 and the WebSocket header fill one DATA frame; 400,000 exceed websocket_write_limit.
SIZES = {"frames": [16380] * 60 + [400_000, 10], "small": [15_000] * 80, "drawn 1": drawn(1), "drawn 2": drawn(2)}


@transports
@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("group", ["oldest", "newest", "latest", "close"])
def test_relayed_messages_that_are_dropped(group: str, kind: str, tls: bool, tmp_path: Path) -> None:
    """Messages that arrive are complete and in order. Each dropped message is counted."""
    sizes = SIZES[kind]
    with site(tls, tmp_path) as here, here.slow_client() as client:
        stream = client.websocket(f"/join/{group}")
        assert client.take_message(stream) == (TEXT, b"joined")
        here.get(f"/publish/{group}?{','.join(map(str, sizes))}")
        here.is_well()
        dropped = here.until_relayed()
        assert dropped > 0
        arrived: list[int] = []
        while group == "close" or len(arrived) < len(sizes) - dropped:
            opcode, payload = client.take_message(stream)
            if opcode == CLOSE:
                assert group == "close" and int.from_bytes(payload[:2], "big") == 1013
                break
            number = int(payload.split(b" ")[0])
            assert (opcode, payload) == (TEXT, f"{number} ".ljust(sizes[number], "x").encode())
            arrived.append(number)
        assert arrived == sorted(set(arrived)) and arrived[0] == 0
        here.is_well()
