"""What an application does after its client has left: Channels consumers get their disconnect(), and nobody holds the loop up."""

import asyncio
import time

import httpx
import pytest
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


class Unwilling(Late):
    async def disconnect(self, code):
        await self.send(text_data="even later")  # OSError: it has been told already


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
unwilling = ProtocolTypeRouter({"websocket": Unwilling.as_asgi()})


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


@BY_CHANNELS
def test_a_disconnect_that_sends_is_not_given_twice(by_channels):
    with LiveServer("tests.integration.test_consumers:unwilling", no_consumer_inbox=by_channels) as server:
        client = Client(server.port).open()
        client.reset()
        until(lambda: "ClientGone" in server.stderr, "its error is logged")
        time.sleep(0.3)  # a second would come now
        assert server.stderr.count("ClientGone") == 1


def test_asking_on_after_the_disconnect_neither_blocks_the_loop_nor_escapes_the_kill():
    application = "tests.integration.test_consumers:asks_for_ever"
    with LiveServer(application, application_close_timeout=1) as server:
        Client(server.port).open().reset()
        assert httpx.get(server.url, timeout=10).status_code == 204
        until(lambda: "took too long to shut down and was killed" in server.stderr, "the kill is logged")
        assert httpx.get(server.url, timeout=10).status_code == 204
