"""A pytest plugin: the layers of channels_redis are peneus.ChannelLayer with the local bus."""

from __future__ import annotations

from typing import Any

import channels_redis.core
import channels_redis.pubsub
from peneus import ChannelLayer


class Layer(ChannelLayer):
    """Knows channels_redis's way to let go of its connections: there are none."""

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        super().__init__(bus="local", **config)

    async def close_pools(self) -> None:
        pass


class Core(Layer):
    """A full channel drops the new message, as channels_redis.core's does."""

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        super().__init__(overflow="drop-newest", **config)


channels_redis.core.RedisChannelLayer = Core
channels_redis.pubsub.RedisPubSubChannelLayer = Layer
