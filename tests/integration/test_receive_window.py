"""The receive window: a client waits while its application is behind, and only then."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.integration.core_harness import CoreServer, WebSocket
from tests.support.http2 import Http2

WINDOWS = [1, 2, 3, 100, 65536]  # bytes; one event costs more than 100


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the length of the body; a WebSocket echoes. With the path /slow it waits before it reads."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    length, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        length += len(event["body"])
        more = event["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % length})


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("protocol", ["http1", "chunked", "http2"])
def test_an_upload(protocol: str, window: int) -> None:
    size = 300_000
    with CoreServer(application, settings={"receive_window": window}) as server:
        if protocol == "http2":
            with Http2(server.port) as client:
                stream = client.request(method="POST", end=False)
                client.send(stream, b"x" * size, end=True)
                assert client.response(stream).body == b"300000"
            return
        with server.connect() as connection:
            if protocol == "http1":
                connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * size)
            else:
                head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.send(head + b"1000\r\n%b\r\n" % (b"x" * 4096) * 73 + b"3e0\r\n%b\r\n0\r\n\r\n" % (b"x" * 992))
            assert connection.response().body == b"300000"


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_messages(protocol: str, window: int) -> None:
    texts = ["x" * 10_000, *(str(number) for number in range(300))]
    with CoreServer(application, settings={"receive_window": window}) as server:
        if protocol == "http2":
            with Http2(server.port) as client:
                stream = client.websocket()
                for text in texts:
                    client.message(stream, text)
                assert [client.take_message(stream)[1].decode() for _ in texts] == texts
        else:
            with WebSocket(server.port).open() as websocket:
                for text in texts:
                    websocket.text(text)
                assert [websocket.receive()[1].decode() for _ in texts] == texts


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_a_slow_body_is_slow_with_every_window(protocol: str, window: int) -> None:
    """The application reads at once, so it is the client that is slow, however often the window was full for a moment."""
    settings = {"receive_window": window, "body_timeout_ms": 500, "min_rate": 1000}
    with CoreServer(application, settings=settings) as server:
        begun = time.monotonic()
        if protocol == "http2":
            with Http2(server.port) as client:
                stream = client.request(method="POST", end=False)
                while not client.streams[stream].over and time.monotonic() < begun + 10:
                    client.send(stream, b"x")
                    client.read(0.02)
                assert client.streams[stream].status == 408
        else:
            with server.connect() as connection:
                connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
                connection.socket.settimeout(0.02)
                while not connection.buffer and time.monotonic() < begun + 10:
                    connection.send(b"x")
                    try:
                        connection.fill()
                    except TimeoutError:
                        pass
                assert connection.response().status == 408
        assert server.stats()["body_timeouts_total"] == 1


@pytest.mark.parametrize("protocol", ["http1", "http2"])
def test_a_client_is_not_blamed_for_its_application(protocol: str) -> None:
    """The application does not read for two windows of --body-timeout: that time does not count."""
    settings = {"receive_window": 1000, "body_chunk": 1000, "body_timeout_ms": 400, "min_rate": 1000}
    with CoreServer(application, settings=settings) as server:
        if protocol == "http2":
            with Http2(server.port) as client:
                stream = client.request("/slow", "POST", end=False)
                client.send(stream, b"x" * 2000)
                time.sleep(1.2)
                client.send(stream, b"x" * 1000, end=True)
                assert client.response(stream).body == b"3000"
        else:
            with server.connect() as connection:
                connection.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n" + b"x" * 2000)
                time.sleep(1.2)
                connection.send(b"x" * 1000)
                assert connection.response().body == b"3000"
        assert server.stats()["body_timeouts_total"] == 0
