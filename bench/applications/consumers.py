"""Ordinary Channels consumers: /echo, and /fanout, where "publish" from one client reaches the group.

BENCH_LAYER names the layer: peneus, memory, core or pubsub; the last two use the Redis at BENCH_REDIS.
"""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings

LAYERS: dict[str, dict[str, Any]] = {
    "peneus": {"BACKEND": "peneus.ChannelLayer"},
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

PAYLOAD = "x" * 256


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Fanout(AsyncWebsocketConsumer):
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
        await self.channel_layer.group_send("prices", {"type": "price", "text": PAYLOAD})

    async def price(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("echo", Echo.as_asgi()), path("fanout", Fanout.as_asgi())])})
