"""What an application does after its client has left: Channels consumers get their disconnect(), and nobody holds the loop up."""

import asyncio
import time

import httpx
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.conf import settings
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import Client

if not settings.configured:
    settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "peneus.ChannelLayer"}})


class Late(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        print("handling", flush=True)
        for _ in range(100):  # until the client's leaving is known
            await asyncio.sleep(0.05)
            await self.send(text_data="late")

    async def disconnect(self, code):
        print(f"disconnected {code}", flush=True)


class LateInAThread(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        print("handling", flush=True)
        for _ in range(100):
            time.sleep(0.05)
            self.send(text_data="late")

    def disconnect(self, code):
        print(f"disconnected {code}", flush=True)


class Leaving(AsyncWebsocketConsumer):
    """Does what its path says in disconnect(), and cleans up behind it."""

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "close":
            await self.close(4000)
        elif text_data == "end":
            await self.channel_layer.send(self.channel_name, {"type": "websocket.disconnect", "code": 4001})

    async def disconnect(self, code):
        match self.scope["path"]:
            case "/send":
                await self.send(text_data="bye")
            case "/close":
                await self.close()
            case "/close-with-code":
                await self.close(code=4002, reason="bye")
            case "/stop":
                await self.send(bytes_data=b"bye")
                print(f"cleaned up {code}\n", end="", flush=True)
                raise StopConsumer
            case "/task":
                await asyncio.create_task(self.send(text_data="bye"))
            case "/base_send":
                await self.base_send({"type": "websocket.send", "text": "bye"})
        print(f"cleaned up {code}\n", end="", flush=True)


class LeavingInAThread(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        if text_data == "close":
            self.close(4000)
        elif text_data == "end":
            async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "websocket.disconnect", "code": 4001})

    def disconnect(self, code):
        match self.scope["path"]:
            case "/send" | "/task":
                self.send(text_data="bye")
            case "/close":
                self.close()
            case "/close-with-code":
                self.close(code=4002, reason="bye")
            case "/stop":
                self.send(bytes_data=b"bye")
                print(f"cleaned up {code}\n", end="", flush=True)
                raise StopConsumer
            case "/base_send":
                self.base_send({"type": "websocket.send", "text": "bye"})
        print(f"cleaned up {code}\n", end="", flush=True)


class Group(AsyncWebsocketConsumer):
    """Says goodbye to three rooms, itself among them, as Channels' example multichat does."""

    async def connect(self):
        for room in "abc":
            await self.channel_layer.group_add(room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        for room in "abc":
            await self.channel_layer.group_send(room, {"type": "left", "room": room})
            await self.send(text_data=f"you have left {room}")
            await self.channel_layer.group_discard(room, self.channel_name)
        print(f"cleaned up {code}\n", end="", flush=True)

    async def left(self, event):
        await self.send(text_data=f"left {event['room']}")


class Around:
    """A middleware with a receive() and send() of its own."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        async def receive_around():
            return await receive()

        async def send_around(message):
            await send(message)

        await self.application(scope, receive_around, send_around)


class Ending(Around):
    """A middleware that ends its consumer by a disconnect of its own."""

    async def __call__(self, scope, receive, send):
        async def receive_around():
            event = await receive()
            return {"type": "websocket.disconnect", "code": 4001} if event.get("text") == "end" else event

        await self.application(scope, receive_around, send)


async def plain(scope, receive, send):
    """An ASGI application is told."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    for message in ({"type": "websocket.send", "text": "bye"}, {"type": "websocket.close"}):
        try:
            await send(message)
        except OSError as error:
            print(type(error).__name__, flush=True)


async def asks_for_ever(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        await receive()


late = ProtocolTypeRouter({"websocket": Late.as_asgi()})
late_in_a_thread = ProtocolTypeRouter({"websocket": LateInAThread.as_asgi()})
leaving = ProtocolTypeRouter({"websocket": Leaving.as_asgi()})
leaving_in_a_thread = ProtocolTypeRouter({"websocket": LeavingInAThread.as_asgi()})
leaving_around = ProtocolTypeRouter({"websocket": Around(Leaving.as_asgi())})
leaving_in_a_thread_around = ProtocolTypeRouter({"websocket": Around(LeavingInAThread.as_asgi())})
ending = ProtocolTypeRouter({"websocket": Ending(Leaving.as_asgi())})
group = ProtocolTypeRouter({"websocket": Group.as_asgi()})


BY_CHANNELS = pytest.mark.parametrize("by_channels", [False, True], ids=["inbox", "channels"])


@BY_CHANNELS
@pytest.mark.parametrize("name", ["late", "late_in_a_thread"])
def test_a_consumer_that_sends_to_a_gone_client_gets_its_disconnect(name, by_channels):
    with LiveServer(f"tests.integration.test_consumers:{name}", no_consumer_inbox=by_channels) as server:
        client = Client(server.port).open()
        client.send(b"go")
        until(lambda: "handling" in server.stdout, "a handler runs")
        client.reset()
        until(lambda: "disconnected 1006" in server.stdout, "disconnect() has run")
        assert server.stdout.count("disconnected") == 1
        assert "Traceback" not in server.stderr


def leave(client, how):
    if how == "clean":
        client.close()
    elif how == "reset":
        client.reset()
    else:
        client.send(b"close")
        client.wait_closed()


@BY_CHANNELS
@pytest.mark.parametrize("name", ["leaving", "leaving_in_a_thread", "leaving_around", "leaving_in_a_thread_around"])
def test_a_disconnect_that_sends_or_closes_comes_to_its_end(name, by_channels):
    paths = ["send", "close", "close-with-code", "stop", "task", "base_send"]
    with LiveServer(f"tests.integration.test_consumers:{name}", no_consumer_inbox=by_channels) as server:
        for number, (path, how) in enumerate((path, how) for path in paths for how in ("clean", "reset", "closed")):
            leave(Client(server.port, f"/{path}").open(), how)
            until(lambda number=number: server.stdout.count("cleaned up") == number + 1, f"{path}, {how}: {server.stderr}")
        assert server.stdout.count("cleaned up") == 3 * len(paths)
        assert "ERROR" not in server.stderr


@BY_CHANNELS
def test_goodbye_to_several_groups(by_channels):
    with LiveServer("tests.integration.test_consumers:group", no_consumer_inbox=by_channels) as server:
        stays, leaves = Client(server.port).open(), Client(server.port).open()
        leaves.close()
        assert [stays.receive() for _ in "abc"] == [b"left a", b"left b", b"left c"]
        until(lambda: "cleaned up" in server.stdout, "its disconnect() ends")
        assert "ERROR" not in server.stderr


@BY_CHANNELS
@pytest.mark.parametrize("name", ["leaving", "leaving_in_a_thread", "ending"])
def test_a_disconnect_that_is_no_clients(name, by_channels):
    """A channel's message, or a middleware, ends the consumer: the client is there, and gets what is sent."""
    with LiveServer(f"tests.integration.test_consumers:{name}", no_consumer_inbox=by_channels) as server:
        client = Client(server.port, "/send").open()
        client.send(b"end")
        assert client.receive() == b"bye"
        client = Client(server.port, "/close-with-code").open()
        client.send(b"end")
        client.wait_closed()
        assert client.code == 4002
        until(lambda: server.stdout.count("cleaned up 4001") == 2, "both have ended")


@BY_CHANNELS
@pytest.mark.parametrize("name", ["leaving_in_a_thread", "leaving_in_a_thread_around"])
def test_a_synchronous_consumer_warns_of_nothing(name, by_channels):
    """Test suites make errors of warnings."""
    environment = {"PYTHONWARNINGS": "error::UserWarning"}
    application = f"tests.integration.test_consumers:{name}"
    with LiveServer(application, environment=environment, no_consumer_inbox=by_channels) as server:
        Client(server.port, "/send").open().close()
        until(lambda: "cleaned up" in server.stdout, f"its disconnect() ends: {server.stderr}")
        assert "Warning" not in server.stderr and "ERROR" not in server.stderr


def test_a_plain_application_is_told():
    with LiveServer("tests.integration.test_consumers:plain") as server:
        Client(server.port).open().reset()
        until(lambda: server.stdout.count("ClientGone\n") == 2, "both raise")


def test_asking_on_after_the_disconnect_neither_blocks_the_loop_nor_escapes_the_kill():
    application = "tests.integration.test_consumers:asks_for_ever"
    with LiveServer(application, application_close_timeout=1) as server:
        Client(server.port).open().reset()
        assert httpx.get(server.url, timeout=10).status_code == 204
        until(lambda: "took too long to shut down and was killed" in server.stderr, "the kill is logged")
        assert httpx.get(server.url, timeout=10).status_code == 204
