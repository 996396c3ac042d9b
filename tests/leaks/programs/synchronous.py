"""Synchronous consumers whose disconnect step takes a second; and beside them two echoes, with and without Channels.

Channels runs the handlers of all synchronous consumers in one thread, and asks that thread before each handler of an
asynchronous one, so the steps can hold up every consumer of the process. A plain ASGI application is not held up.
"""

import time

from asgiref.sync import async_to_sync
from channels.generic.websocket import JsonWebsocketConsumer

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


class Synchronous(JsonWebsocketConsumer):
    def receive_json(self, content) -> None:
        for group in content["subscribe"]:
            async_to_sync(self.channel_layer.group_add)(group, self.channel_name)
        self.send_json(content)

    def notification(self, message) -> None:
        self.send_json({"number": message["number"]})

    def disconnect(self, code) -> None:
        time.sleep(1)
        frame.counts["steps"] += 1
        async_to_sync(self.channel_layer.group_discard)("prices", self.channel_name)


async def echo(scope, receive, send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": event["text"]})


async def route(scope, receive, send) -> None:
    applications = {"/plain": echo, "/consumer": Proxy.as_asgi()}
    await applications.get(scope["path"], Synchronous.as_asgi())(scope, receive, send)


application = frame.application(route)
