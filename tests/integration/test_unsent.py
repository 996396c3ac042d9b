"""Clients that ask for much and take nothing: what waits for them is bounded, for each connection and in all. Those that have
stalled are reset; whoever reads gets everything."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, CoreServer, eventually
from tests.support.http2 import Http2

CUT = "tests.integration.cut_apps:application"
MIB = 1 << 20
SIZE = MIB
ENHANCE_YOUR_CALM = 11


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % SIZE)]})
    await send({"type": "http.response.body", "body": b"x" * SIZE})


def server(**settings: Any) -> CoreServer:
    return CoreServer(application, settings={"http2_control_rate": 0, **settings})


def until_answered(here: CoreServer, requests: int) -> None:
    """Waits until the application has answered so many requests."""
    eventually(lambda: here.stats()["requests_total"] >= requests and here.stats()["exchanges"] == 0, "all is answered")


def test_the_streams_of_one_connection() -> None:
    with server(unsent_window=4 * MIB) as here, Http2(here.port, window=0) as client:
        streams = [client.request() for _ in range(40)]
        until_answered(here, 40)
        eventually(lambda: here.stats()["bytes_unwritten"] <= 4 * MIB + SIZE, "what waits is bounded")
        reset = here.stats()["unsent_resets_total"]
        assert reset >= 35
        first = client.response(streams[0])  # it has waited for the longest time
        assert first.reset == ENHANCE_YOUR_CALM
        assert first.body == b""


def test_whoever_reads_is_spared() -> None:
    """An old stream whose client takes it goes on while new ones are reset around it."""
    with server(unsent_window=4 * MIB) as here, Http2(here.port, window=1000) as client:
        survivor = client.request()
        body = client.streams[survivor]
        for count in range(1, 21):
            client.until(lambda: len(body.body) >= 1000 * count)  # noqa: B023
            client.request()
            until_answered(here, 1 + count)
            client.h2.increment_flow_control_window(1000, survivor)
            client.flush()
        eventually(lambda: here.stats()["unsent_resets_total"] >= 15, "the others are reset")
        client.h2.increment_flow_control_window(SIZE, survivor)
        client.flush()
        assert client.response(survivor).body == b"x" * SIZE


def test_one_response_alone_may_be_larger() -> None:
    with server(unsent_window=1000, unsent_backlog=1000) as here:
        assert here.get().body == b"x" * SIZE
        with Http2(here.port) as client:
            assert client.get("/").body == b"x" * SIZE
        assert here.stats()["unsent_resets_total"] == 0


def test_all_connections_together() -> None:
    with server(unsent_backlog=8 * MIB) as here, contextlib.ExitStack() as stack:
        for _ in range(30):
            client = stack.enter_context(Client(here.port))
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8)  # more than the kernel's buffers take
        for _ in range(10):
            assert here.get().body == b"x" * SIZE
        eventually(lambda: here.stats()["bytes_unwritten"] <= 8 * MIB + SIZE, "what waits is bounded")


def test_requests_one_behind_the_other() -> None:
    """HTTP/1.1: the next request waits until the client has taken the response before it."""
    with server() as here, Client(here.port) as client:
        count = 200
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * count)
        eventually(lambda: here.stats()["bytes_unwritten"] > 0, "the socket is full")
        before = here.stats()["requests_total"]
        while (asked := here.get().status == 200 and here.stats()["requests_total"]) > before + 1:  # the kernel still takes some
            before = asked
        assert here.stats()["bytes_unwritten"] <= 2 * SIZE
        assert before < count
        for _ in range(count):
            assert client.response().body == b"x" * SIZE


def test_the_log_says_so() -> None:
    with LiveServer(CUT, unsent_window=MIB) as here, Http2(here.port, window=0) as client:
        for mark in range(8):
            client.request(f"/whole/{mark}")
        eventually(lambda: "--unsent-window or --unsent-backlog" in here.stderr, "a line in the log")


@pytest.mark.skipif("PENEUS_SANITIZED" in os.environ, reason="a sanitizer has a malloc() of its own")
def test_the_memory_is_given_back() -> None:
    with LiveServer(CUT, unsent_window=4 * MIB) as here, Http2(here.port, window=0) as client:
        assert here.process is not None
        statm = Path(f"/proc/{here.process.pid}/statm")

        def resident() -> int:
            return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        begin = resident()
        for mark in range(99):
            client.request(f"/whole/{mark}")  # 297 MB
        eventually(lambda: client.read(0.01) or "--unsent-window" in here.stderr, "some are reset")
        eventually(lambda: resident() < begin + 100 * MIB, "the memory is given back")
