"""A consumer that tells its client what happens to the connection to Redis. REDIS_LAYER: the CONFIG of its layer."""

import json
import os

import django
from django.conf import settings

if not settings.configured:
    config = json.loads(os.environ["REDIS_LAYER"])
    settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "peneus.ChannelLayer", "CONFIG": config}}, SECRET_KEY="test")
    django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer


class Told(AsyncWebsocketConsumer):
    groups = ("prices", "news")

    async def connect(self):
        await self.accept()
        await self.send("joined")

    async def redis_disconnect(self, event):
        await self.send("disconnected")

    async def redis_reconnect(self, event):
        await self.send("reconnected")

    async def channel_layer_gap(self, event):
        await self.send("gap " + " ".join(sorted(event["groups"])))


class Untold(AsyncWebsocketConsumer):
    """Without handlers: nothing reaches it that it does not know."""

    groups = ("prices",)

    async def connect(self):
        await self.accept()
        await self.send("joined")

    async def price(self, event):
        await self.send(event["text"])


told = Told.as_asgi()
untold = Untold.as_asgi()
