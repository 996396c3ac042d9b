"""peneus.testing.LiveServer."""

import os
import signal
import time

import pytest
from peneus.testing import LiveServer

from tests.integration.programs import get, hello


async def environment(scope, receive, send):
    assert scope["type"] == "http"
    print("to standard output")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": os.environ["GIVEN"].encode()})


class Callable:
    """An application that pickle takes with what it holds."""

    def __init__(self, body):
        self.body = body

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": self.body})


async def stubborn(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"x"})
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pytest.mark.parametrize("application", [hello, "tests.integration.programs:hello", Callable(b"/path")])
def test_applications(application):
    with LiveServer(application) as server:
        assert server.url == f"http://127.0.0.1:{server.port}" and server.ws_url == f"ws://127.0.0.1:{server.port}"
        assert b"/path" in get((server.host, server.port), "/path")


def test_environment_and_output():
    with LiveServer(environment, environment={"GIVEN": "a value"}) as server:
        assert b"a value" in get((server.host, server.port))
        assert server.stop() == 0
        assert "to standard output" in server.stdout
        assert "Listening on TCP address" in server.stderr


def test_ipv6():
    with LiveServer(hello, host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        assert b"200 OK" in get((server.host, server.port))


def test_a_server_that_does_not_start():
    with pytest.raises(RuntimeError, match="no module named 'no_such_module'"):
        LiveServer("no_such_module:application").__enter__()
    with pytest.raises(RuntimeError, match="verbosity: 9 is not a whole number from 0 to 3"):
        LiveServer(hello, verbosity=9).__enter__()


def test_one_that_does_not_stop_is_killed():
    with LiveServer(stubborn) as server:
        get((server.host, server.port))
        began = time.monotonic()
        assert server.stop(timeout=0.5) == -signal.SIGKILL
        assert time.monotonic() - began < 10
