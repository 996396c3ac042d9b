"""Ordinary Channels consumers: /echo; /fanout, where what one client sends reaches the group; /relay, the same relayed.

BENCH_LAYER names the layer: peneus, peneus-redis, memory, core or pubsub; those of Redis use the one at BENCH_REDIS.
"""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings

LAYERS: dict[str, dict[str, Any]] = {
    "peneus": {"BACKEND": "peneus.ChannelLayer"},
    "peneus-redis": {"BACKEND": "peneus.ChannelLayer", "CONFIG": {"hosts": [os.environ.get("BENCH_REDIS", "")]}},
    "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "core": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [os.environ.get("BENCH_REDIS", "")]}},
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ.get("BENCH_REDIS", "")]},
    },
}
settings.configure(
    CHANNEL_LAYERS={"default": LAYERS[os.environ.get("BENCH_LAYER", "peneus")]}, SECRET_KEY="bench", ALLOWED_HOSTS=["*"]
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

SIZE = 256  # of a message


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Fanout(AsyncWebsocketConsumer):
    kind = "price"
    publisher = False

    async def connect(self) -> None:
        await self.accept()
        await self.channel_layer.group_add("prices", self.channel_name)

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("prices", self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.publisher:
            self.publisher = True
            await self.channel_layer.group_discard("prices", self.channel_name)
        await self.channel_layer.group_send("prices", {"type": self.kind, "text": (text_data or "").ljust(SIZE, "x")})

    async def price(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class Relay(Fanout):
    kind = "websocket.send"


consumers = {"echo": Echo, "fanout": Fanout, "relay": Relay}
application = ProtocolTypeRouter({"websocket": URLRouter([path(name, kind.as_asgi()) for name, kind in consumers.items()])})
