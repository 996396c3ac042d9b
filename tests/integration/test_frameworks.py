"""Streams of real frameworks: they end with their client, and leave nothing behind when they are complete."""

import httpx
import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client
from tests.integration.programs import PATIENCE, until

APPLICATIONS = [
    "starlette",
    "starlette_middleware",
    "fastapi",
    "sse",
    "litestar_streams",
    "litestar_sse",
    "quart_streams",
    "django_streams",
]


@pytest.fixture(scope="module", params=APPLICATIONS)
def server(request):
    application = f"tests.integration.framework_apps:{request.param}"
    with LiveServer(application, application_close_timeout=60) as server:
        yield server
        assert "ERROR" not in server.stderr, server.stderr


def running(server):
    return int(httpx.get(f"{server.url}/running").text)


def test_a_quiet_stream_ends_with_its_client(server):
    for number in range(3):
        with Client(server.port, server.host) as client:
            client.send(b"GET /quiet HTTP/1.1\r\nHost: test\r\n\r\n")
            client.until(b"one")
        until(lambda number=number: server.stdout.count("quiet ended") == number + 1, f"its generator ends {server.stderr}")
        until(lambda: running(server) == 0, "the application ends")
    assert "took too long" not in server.stderr


def test_a_complete_stream_leaves_nothing_behind(server):
    for _ in range(10):
        assert "two" in httpx.get(f"{server.url}/short").text
    with Client(server.port, server.host) as client:  # the same for one that goes on
        for _ in range(10):
            client.send(b"GET /short HTTP/1.1\r\nHost: test\r\n\r\n")
            assert b"two" in client.response().body
        until(lambda: running(server) == 0, "each application ends")
    assert server.stdout.count("short ended") == 20


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_quiet_stream_ends_when_the_server_stops(application):
    with LiveServer(f"tests.integration.framework_apps:{application}", graceful_timeout=1000) as server:
        with Client(server.port, server.host) as client:
            client.send(b"GET /quiet HTTP/1.1\r\nHost: test\r\n\r\n")
            client.until(b"one")
            assert server.stop(PATIENCE) == 0
        assert "quiet ended" in server.stdout
        assert "ERROR" not in server.stderr and "Cancelled" not in server.stderr, server.stderr
