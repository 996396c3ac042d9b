"""A receive() that waits while the response completes: it is given the disconnect, as one that is called afterwards."""

import asyncio
import tempfile

import pytest
from peneus import _core

from tests.integration.core_harness import CoreServer

START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def body(send):
    await send(START)
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"b"})


async def one_piece(send):
    await send(START)
    await send({"type": "http.response.body", "body": b"ab"})


async def trailers(send):
    await send({**START, "trailers": True})
    await send({"type": "http.response.body", "body": b"ab"})
    await asyncio.sleep(0.01)
    await send({"type": "http.response.trailers", "headers": [(b"name", b"value")]})


async def file(send):
    await send({**START, "headers": [(b"content-length", b"2")]})
    with tempfile.TemporaryFile() as file:
        file.write(b"ab")
        file.seek(0)
        await send({"type": "http.response.zerocopysend", "file": file})


async def large(send):
    """More than the window: the last send() waits for nobody."""
    await send({**START, "headers": [(b"content-length", b"1000000")]})
    await send({"type": "http.response.body", "body": bytes(1000000)})


async def denial(send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"a", "more_body": True})
    await asyncio.sleep(0.01)
    await send({"type": "websocket.http.response.body", "body": b"b"})


async def refusal(send):
    await send({"type": "websocket.close"})


class Answering:
    """Waits in receive() in `waiters` tasks, by `wait`, then responds by `respond`."""

    def __init__(self, respond, wait, waiters=1):
        self.respond = respond
        self.wait = wait
        self.waiters = waiters
        self.got = []
        self.layer = _core.Layer(expiry=60.0, group_expiry=86400.0, message_limit=0, mailbox_bytes=1 << 20)

    async def __call__(self, scope, receive, send):
        assert (await receive())["type"] in ("http.request", "websocket.connect")
        tasks = [asyncio.ensure_future(self.wait(self, receive)) for _ in range(self.waiters)]
        await asyncio.sleep(0)
        await self.respond(send)
        self.got.append([event["type"] for event in await asyncio.gather(*tasks)])


async def by_receive(answering, receive):
    return await receive()


async def by_inbox(answering, receive):
    return await _core.Inbox(answering.layer, _core.current_connection.get(), "channel", 10, bytes)


@pytest.mark.parametrize("wait", [by_receive, by_inbox])
@pytest.mark.parametrize("respond", [body, one_piece, trailers, file, large])
def test_a_response(loop, respond, wait):
    application = Answering(respond, wait)
    with CoreServer(application, loop) as server:
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n")
            client.head()
            server.idle()  # without waiting for the client to leave
        assert application.got == [["http.disconnect"]]
        assert application.layer.stats()["waiters"] == 0
        assert server.errors == [] and server.faults == []


@pytest.mark.parametrize("wait", [by_receive, by_inbox])
@pytest.mark.parametrize("respond", [denial, refusal])
def test_a_websocket_that_is_denied(loop, respond, wait):
    application = Answering(respond, wait)
    with CoreServer(application, loop) as server:
        with server.websocket() as client:
            client.head()
            server.idle()
        assert application.got == [["websocket.disconnect"]]
        assert server.errors == [] and server.faults == []


def test_everyone_that_waits(loop):
    application = Answering(body, by_receive, waiters=5)
    with CoreServer(application, loop) as server:
        assert server.get().body == b"ab"
        server.idle()
        assert application.got == [["http.disconnect"] * 5]


def test_a_body_that_nobody_waits_for(loop):
    """The response is complete before the request is."""

    application = Answering(body, by_receive)
    with CoreServer(application, loop) as server:
        with server.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345")
            client.head()
            server.idle()
        assert application.got == [["http.disconnect"]]


def test_one_that_was_cancelled_meanwhile(loop):
    got = []

    async def application(scope, receive, send):
        await receive()
        first, second = (asyncio.ensure_future(receive()) for _ in range(2))
        await asyncio.sleep(0)
        await one_piece(send)
        first.cancel()
        got.append(await second)
        assert await asyncio.wait([first]) and first.cancelled()

    with CoreServer(application, loop) as server:
        assert server.get().body == b"ab"
        server.idle()
        assert got == [{"type": "http.disconnect"}] and server.errors == []


def test_in_the_access_log_that_fails(loop):
    """What a callback raises does not keep the others from hearing of it."""
    application = Answering(one_piece, by_receive)

    class Failing(CoreServer):
        def __enter__(self):
            entered = super().__enter__()
            self.access = None  # what on_access does raises
            return entered

    with Failing(application, loop) as server:
        assert server.get().body == b"ab"
        server.idle()
        assert application.got == [["http.disconnect"]]
        assert server.loop_errors
        server.loop_errors.clear()


def test_what_comes_while_the_body_is_asked_for():
    """receive() asks the I/O thread for a body, by the loop's call_soon: what that runs may complete the response."""
    got = []
    armed = []

    async def application(scope, receive, send):
        await asyncio.sleep(0)  # not in the callback that the server's commands are sent after
        armed.append(send)
        got.append(await receive())

    def call_soon(callback, *arguments, **keywords):
        if armed:
            send = armed.pop()
            for message in (START, {"type": "http.response.body", "body": b"ok"}):
                sending = send(message)
                with pytest.raises(StopIteration):
                    sending.send(None)
        return plain(callback, *arguments, **keywords)

    server = CoreServer(application)
    plain = server.loop.call_soon
    server.loop.call_soon = call_soon
    with server:
        with server.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
            client.head()
            server.idle()
        assert got == [{"type": "http.disconnect"}]


def test_as_litestar_does(loop):
    """The response is sent beside a receive() for the disconnect; the request ends when both have."""
    anyio = pytest.importorskip("anyio")
    ended = []

    async def application(scope, receive, send):
        async with anyio.create_task_group() as group:
            group.start_soon(body, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()
        ended.append(scope["path"])

    with CoreServer(application, loop) as server:
        with server.connect() as client:
            for _ in range(10):
                client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                assert client.response().body == b"ab"
            server.idle()
        assert ended == ["/"] * 10
