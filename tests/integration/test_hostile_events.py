"""An application's objects run its code in the middle of send(): none may end the process, or touch freed memory."""

import os
import subprocess

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, WebSocket
from tests.integration.hostile_apps import CASES
from tests.integration.programs import until

# Freed memory is overwritten at once; under a sanitizer that says what is wrong.
ENVIRONMENT = {} if "PENEUS_SANITIZED" in os.environ else {"PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "165"}


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def servers(request):
    """The server that runs; another one where the last has ended."""
    running = []

    def server():
        if running and running[-1].process.poll() is not None:
            running.pop().__exit__()
        if not running:
            application = "tests.integration.hostile_apps:hostile"
            settings = {"loop": request.param, "access_log": "-", "pathsend": True}
            running.append(LiveServer(application, environment=ENVIRONMENT, **settings).__enter__())
        return running[-1]

    yield server
    for one in running:
        one.__exit__()


def survived(server, name):
    with Client(server.port, server.host) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.response().body == b"alive"
    assert server.process.poll() is None


def died(server):
    try:
        server.process.wait(0.5)
    except subprocess.TimeoutExpired:
        return ""
    return f"the server ended with {server.process.returncode}: {server.stderr[-3000:]}"


@pytest.mark.parametrize("name", CASES["http"])
def test_http(servers, name):
    server = servers()
    before = server.stderr.count(f"ran {name}\n")
    with Client(server.port, server.host) as client:
        client.send(f"GET /{name} HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n".encode())
        got = client.socket.recv(65536)
        assert got.startswith(b"HTTP/1.1 "), died(server)
    until(lambda: server.stderr.count(f"ran {name}\n") == before + 1 or died(server), name)
    survived(server, name)


@pytest.mark.parametrize("name", CASES["websocket"])
def test_websocket(servers, name):
    server = servers()
    before = server.stderr.count(f"ran {name}\n")
    with WebSocket(server.port, f"/{name}", host=server.host) as client:
        got = client.socket.recv(65536)
        assert got.startswith(b"HTTP/1.1 "), died(server)
    until(lambda: server.stderr.count(f"ran {name}\n") == before + 1 or died(server), name)
    survived(server, name)
