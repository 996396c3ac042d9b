"""A pytest plugin: the layers of channels_redis are peneus.ChannelLayer, with the local bus, or, where CONFORMANCE_REDIS names a
port, with the bus on the same wire. CONFORMANCE_SENTINEL is the port of a Sentinel."""

from __future__ import annotations

import os
from typing import Any

import channels_redis.core
import channels_redis.pubsub
import pytest
from peneus import ChannelLayer

WAITS_FOR_EVER = "test_reject_bad_client_prefix"  # one of the differences: layer_differences.py
REDIS = os.environ.get("CONFORMANCE_REDIS")
SENTINEL = os.environ.get("CONFORMANCE_SENTINEL")


def here(entry: Any) -> Any:
    """An entry of the tests' hosts, with the ports of our servers."""
    if isinstance(entry, str):
        return entry.replace("localhost:6379", f"127.0.0.1:{REDIS}")
    return {**entry, "sentinels": [("127.0.0.1", int(SENTINEL or 0))]}


class Layer(ChannelLayer):
    """On the local bus, or on that of the wire."""

    wire = "redis"

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        if REDIS is None:
            super().__init__(bus="local", **config)
        else:
            super().__init__(bus=self.wire, hosts=[here(entry) for entry in hosts or ["redis://localhost:6379"]], **config)


class Core(Layer):
    """A full channel drops the new message, as channels_redis.core's does; on the local bus too."""

    wire = "redis-core"

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        super().__init__(hosts, **config if REDIS else {"overflow": "drop-newest", **config})


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if item.originalname == WAITS_FOR_EVER:
            item.add_marker(pytest.mark.timeout(3))


channels_redis.core.RedisChannelLayer = Core
channels_redis.pubsub.RedisPubSubChannelLayer = Layer
