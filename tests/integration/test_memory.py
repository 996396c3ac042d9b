"""Memory that many clients have needed is given back when they have left. What stays is Python's: it gives back an arena of 1 MiB
when no object of it lives."""

from __future__ import annotations

import contextlib
import os
import resource

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, WebSocket, eventually

CLIENTS = 2000  # server/trim.h begins at 1,000 connections and applications


@pytest.fixture
def descriptors() -> object:
    """As many as are allowed, for the clients and, as it inherits them, for the server."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < CLIENTS + 200:
        pytest.skip(f"ulimit -Hn is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif("PENEUS_SANITIZED" in os.environ, reason="a sanitizer has a malloc() of its own")
def test_a_wave_of_clients_leaves_its_memory(descriptors: None) -> None:
    with LiveServer("tests.integration.memory_apps:application", limit_connections=CLIENTS + 100) as server:

        def resident() -> int:
            with Client(server.port) as client:
                client.send(b"GET /resident HTTP/1.1\r\nHost: x\r\n\r\n")
                return int(client.response().body)

        begin = resident()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(WebSocket(server.port).open()) for _ in range(CLIENTS)]
            for client in clients:
                client.text("m" * 500)
            for client in clients:
                assert client.receive() == (1, b"m" * 500)
            peak = resident()
        assert peak - begin > 5000
        eventually(lambda: resident() - begin < (peak - begin) * 0.8, "a part of it is given back")
