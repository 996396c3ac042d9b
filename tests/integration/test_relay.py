"""Relayed group messages as clients see them: order, what a blocked event loop does to others, and slow clients."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import WebSocket, eventually

TEXT, BINARY, CLOSE = 1, 2, 8


@pytest.fixture
def server() -> Iterator[LiveServer]:
    # no pings: on a busy machine a test may take longer than their interval, and its clients take them for messages
    with LiveServer("tests.integration.relay_apps:application", close_timeout=1, ping_interval=3600) as server:
        yield server


def get(server: LiveServer, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=20) as answer:
        return json.loads(answer.read())


def join(server: LiveServer, path: str) -> WebSocket:
    client = WebSocket(server.port, path).open()
    assert client.receive() == (TEXT, b"joined")
    return client


def texts(client: WebSocket, count: int) -> list[str]:
    return [client.receive()[1].decode() for _ in range(count)]


def test_everyone_gets_it_in_order(server: LiveServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(join(server, "/prices")) for _ in range(20)]
        other = stack.enter_context(join(server, "/other"))
        get(server, "/publish?group=prices&count=100")
        for client in clients:
            assert [text.split()[0] for text in texts(client, 100)] == [str(number) for number in range(100)]
        get(server, "/publish?group=other&kind=bytes")
        assert other.receive() == (BINARY, b"0 ")
        assert get(server, "/stats")["groups"]["prices"]["members"] == 20


def test_close_is_relayed(server: LiveServer) -> None:
    with join(server, "/prices") as client:
        get(server, "/publish?group=prices&kind=close")
        assert client.receive() == (CLOSE, b"\x0f\xa0over")


def test_other_types_go_to_the_application(server: LiveServer) -> None:
    with join(server, "/prices") as client:
        client.text("task")
        get(server, "/publish?group=prices")  # not what receive() waits for
        get(server, "/publish?group=prices&kind=handler&delay=0.1")
        assert client.receive() == (TEXT, b"0 ")
        assert json.loads(client.receive()[1]) == {"type": "tick", "number": 0}


def test_before_accept_it_waits(server: LiveServer) -> None:
    with WebSocket(server.port, "/prices?late").open() as client:
        assert texts(client, 2) == ["before", "joined"]


def test_order_with_what_the_application_sends(server: LiveServer) -> None:
    with join(server, "/prices") as client:
        client.text("between")
        assert texts(client, 40) == [f"{who} {number}" for number in range(20) for who in ("own", "relayed")]


def test_a_blocked_event_loop_stops_nobody(server: LiveServer) -> None:
    with join(server, "/prices") as client, join(server, "/none") as sleeper:
        get(server, "/publish?group=prices&count=30&delay=0.5")
        begun = time.monotonic()
        sleeper.text("sleep 4")
        assert sleeper.receive() == (TEXT, b"sleeping")
        assert [text.split()[0] for text in texts(client, 30)] == [str(number) for number in range(30)]
        arrived = time.monotonic() - begun
        get(server, "/stats")  # answered once the loop is free again
        assert arrived < time.monotonic() - begun < 20
        assert arrived < 3.5, "the prices waited for the handler"


def never_read(server: LiveServer, path: str) -> WebSocket:
    """A client whose receive buffer is small, and which reads nothing after it has joined."""
    client = WebSocket(server.port, path).open()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    assert client.receive() == (TEXT, b"joined")
    return client


def dropped(server: LiveServer, group: str) -> int:
    return get(server, "/stats")["groups"].get(group, {}).get("dropped", 0)


@pytest.mark.parametrize("group", ["oldest", "newest", "latest"])
def test_a_client_that_never_reads(server: LiveServer, group: str) -> None:
    with join(server, f"/{group}") as healthy, never_read(server, f"/{group}") as slow:
        for _ in range(40):
            get(server, f"/publish?group={group}&count=20&size=16384")
            assert len(texts(healthy, 20)) == 20
        eventually(lambda: dropped(server, group) > 0)
        drops = dropped(server, group)
        slow.text("task")  # it is still there
        healthy.text("task")
        get(server, f"/publish?group={group}&kind=handler")
        assert json.loads(healthy.receive()[1])["type"] == "tick"
        assert 800 > drops > 100


def test_messages_that_come_at_once_are_not_what_waits() -> None:
    """More than the limit in one batch: what the socket takes at once is not dropped."""
    with (
        LiveServer("tests.integration.relay_apps:application", websocket_write_limit=40_000) as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(join(server, "/newest")) for _ in range(30)]
        for _ in range(20):
            get(server, "/publish?group=newest&count=12&size=8000")
            for client in clients:
                assert len(texts(client, 12)) == 12
        assert dropped(server, "newest") == 0


def test_policy_close() -> None:
    with LiveServer("tests.integration.relay_apps:application", close_timeout=60) as server:
        close_one(server)


def close_one(server: LiveServer) -> None:
    with join(server, "/close") as healthy, never_read(server, "/close") as slow:
        for _ in range(40):
            get(server, "/publish?group=close&count=20&size=16384")
            assert len(texts(healthy, 20)) == 20
        eventually(lambda: get(server, "/stats")["groups"]["close"]["members"] == 1)
        assert dropped(server, "close") >= 1  # and what waited for it went with it
        got = []
        while not got or got[-1][0] != CLOSE:
            got.append(slow.receive())
        assert got[-1][1][:2] == (1013).to_bytes(2, "big")
