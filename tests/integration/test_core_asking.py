"""receive() after the disconnect: whoever is cancelled already hears of it too, and whoever asks for ever holds nobody up."""

import asyncio

import anyio
import pytest
from starlette.requests import Request

from tests.integration.core_harness import CoreServer, eventually

RESPONSE = (
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]},
    {"type": "http.response.body"},
)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def ask_cancelled(receive):
    """What receive() gives in a scope that is cancelled; None where it waits."""
    message = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        message = await receive()
    return message


async def ask_in_no_time(receive):
    message = None
    with anyio.move_on_after(0):
        message = await receive()
    return message


ASKING = [ask_cancelled, ask_in_no_time]


class Asking:
    """Asks `times` times by ask, in turns of the loop of its own or all in one, once the disconnect is there."""

    def __init__(self, ask, times, turns):
        self.ask = ask
        self.times = times
        self.turns = turns
        self.got = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
        else:
            await receive()
            if scope["path"] == "/complete":
                for message in RESPONSE:
                    await send(message)
            while (await receive())["type"] != "http.disconnect":
                pass
        for _ in range(self.times):
            self.got.append(await self.ask(receive))
            if self.turns:
                await asyncio.sleep(0)


@pytest.mark.parametrize("turns", [True, False], ids=["in many turns", "in one turn"])
@pytest.mark.parametrize("ask", ASKING)
def test_one_that_is_cancelled_hears_of_it(loop, ask, turns):
    application = Asking(ask, 100 if turns else 10, turns)
    with CoreServer(application, loop) as server:
        with server.connect() as client:
            client.send(b"GET /complete HTTP/1.1\r\nHost: test\r\n\r\n")
            client.response()
            server.idle()
        with server.connect() as client:
            client.send(b"GET /leaves HTTP/1.1\r\nHost: test\r\n\r\n")
            eventually(lambda: server.stats()["applications"] == 1)
        server.idle()
        with server.websocket().open():
            pass
        server.idle()
    assert server.errors == []
    types = [event and event["type"] for event in application.got]
    assert types == ["http.disconnect"] * (2 * application.times) + ["websocket.disconnect"] * application.times


def test_starlettes_requests_agree(loop):
    """A middleware, a stream and a view have a Request each."""
    answers = []

    async def application(scope, receive, send):
        await receive()
        while True:
            if await Request(scope, receive).is_disconnected():
                break
            await asyncio.sleep(0.001)
        for _ in range(5):
            answers.append(await Request(scope, receive).is_disconnected())

    with CoreServer(application, loop) as server:
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            eventually(lambda: server.stats()["applications"] == 1)
        server.idle()
    assert answers == [True] * 5


def test_one_that_asks_on_leaves_the_loop_its_turn(loop):
    turns = []
    asked = []

    async def application(scope, receive, send):
        for message in RESPONSE:
            await send(message)

        def turn():
            turns.append(len(asked))
            if len(turns) < 20:
                asyncio.get_running_loop().call_soon(turn)

        asyncio.get_running_loop().call_soon(turn)
        while len(turns) < 20:
            asked.append(await receive())
            assert len(asked) < 10_000

    with CoreServer(application, loop) as server:
        server.get()
        server.idle()
    assert len(turns) == 20 and server.errors == []


def test_ones_that_ask_on_beside_each_other(loop):
    """Each of them counts for the same connection, and all of them go on."""
    got = []

    async def ask(receive):
        for _ in range(100):
            got.append(await receive())

    async def application(scope, receive, send):
        for message in RESPONSE:
            await send(message)
        await asyncio.gather(*[ask(receive) for _ in range(10)])

    with CoreServer(application, loop) as server:
        server.get()
        server.idle()
    assert got == [{"type": "http.disconnect"}] * 1000
