"""A client that leaves is a normal end of its application, whatever the application makes of the OSError; a bug is not."""

import builtins
import socket
import sys

import pytest
from peneus._core import ClientGone
from peneus.gone import client_left
from peneus.testing import LiveServer

from tests.integration.core_harness import Client, WebSocket
from tests.integration.programs import until

START = {"type": "http.response.start", "status": 200, "headers": []}
PIECE = {"type": "http.response.body", "body": b"x" * 65536, "more_body": True}


class Disconnected(Exception):
    """A framework's own."""


async def stream(send):
    await send(START)
    while True:
        await send(PIECE)


async def plain(send):
    await stream(send)


async def cause(send):
    try:
        await stream(send)
    except OSError as error:
        raise Disconnected from error


async def context(send):
    try:
        await stream(send)
    except OSError:
        raise Disconnected  # noqa: B904 -- as Starlette does


async def chain(send):
    try:
        await context(send)
    except Disconnected as error:
        raise RuntimeError("the stream has ended") from error


async def group(send):
    import asyncio

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream(send))
        tasks.create_task(asyncio.sleep(60))


async def groups(send):
    import asyncio

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(group(send))


async def cause_in_a_group(send):
    try:
        await group(send)
    except BaseException as error:
        raise Disconnected from error


async def bug(send):
    await send(START)
    raise Disconnected("a bug")


async def bug_in_a_group(send):
    try:
        await stream(send)
    except OSError as error:
        raise builtins.BaseExceptionGroup("a bug", [error, KeyError("a bug")])  # noqa: B904


async def bug_afterwards(send):
    try:
        await stream(send)
    except OSError:
        pass
    raise Disconnected("a bug")


async def bug_instead(send):
    try:
        await stream(send)
    except OSError:
        raise Disconnected("a bug") from None


async def other_os_error(send):
    await send(START)
    raise ConnectionResetError("a bug")  # somebody else's connection


NORMAL = ["plain", "cause", "context", "chain"]
BUGS = ["bug", "bug_afterwards", "bug_instead", "other_os_error"]
if sys.version_info >= (3, 11):
    NORMAL += ["group", "groups", "cause_in_a_group"]
    BUGS += ["bug_in_a_group"]


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})

        async def send_message(message):
            await send({"type": "websocket.send", "bytes": bytes(65536)})

        await globals()[scope["path"][1:]](send_message)
    await globals()[scope["path"][1:]](send)


def leave(server, name, websocket=False):
    with WebSocket(server.port, f"/{name}", host=server.host) if websocket else Client(server.port, server.host) as client:
        if not websocket:
            client.send(f"GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        client.head()
        client.socket.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request):
    with LiveServer("tests.integration.test_client_gone:application", loop=request.param, verbosity=2) as server:
        yield server


@pytest.mark.parametrize("websocket", [False, True], ids=["request", "websocket"])
@pytest.mark.parametrize("name", NORMAL)
def test_a_normal_end(server, name, websocket):
    said = "The client has left"
    before, errors = server.stderr.count(said), server.stderr.count("ERROR")
    leave(server, name, websocket)
    until(lambda: server.stderr.count(said) == before + 1, f"it is logged: {server.stderr}")
    assert server.stderr.count("ERROR") == errors
    assert "DEBUG peneus.server: The client has left" in server.stderr


@pytest.mark.parametrize("name", BUGS)
def test_a_bug(server, name):
    before = server.stderr.count("ERROR peneus.server: Exception inside application")
    leave(server, name)
    until(lambda: server.stderr.count("ERROR peneus.server: Exception inside application") == before + 1, "it is logged")


async def without_text(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
    raise KeyError if scope["type"] == "lifespan" else Disconnected


def test_an_exception_without_text_is_named():
    with LiveServer("tests.integration.test_client_gone:without_text") as server:
        with Client(server.port, server.host) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.response().status == 500
        until(lambda: "Exception inside application: Disconnected()\n" in server.stderr, "it is named")
        assert "Exception inside the application's lifespan: KeyError()\n" in server.stderr


def test_a_chain_that_is_a_ring():
    first, second = Disconnected(), Disconnected()
    first.__cause__, second.__cause__ = second, first
    assert not client_left(first)


def test_errors_with_one_cause():
    gone = ClientGone()
    shared = Disconnected()
    shared.__context__ = gone
    outer = [Disconnected(), Disconnected()]
    for error in outer:
        error.__cause__ = shared

    class Group(Exception):
        exceptions = (*outer, gone, shared)

        def derive(self):
            pass

    assert client_left(Group())


def test_a_chain_that_is_long():
    error = ClientGone()
    for _ in range(10_000):
        outer = Disconnected()
        outer.__context__ = error
        error = outer
    assert client_left(error)
