"""What consumers are told of a lost Redis: on_disconnect and on_reconnect, as channels_redis documents them, and the gap."""

import json

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from peneus.testing import LiveServer

from tests.integration.core_harness import WebSocket
from tests.support.redis import redis_server

TEXT = 1


@pytest.fixture
def redis():
    with redis_server() as server:
        yield server


def layer_config(monkeypatch, redis, **config):
    monkeypatch.setenv("REDIS_LAYER", json.dumps({"bus": "redis", "hosts": [redis.url], **config}))


def lost(redis):
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")


def test_disconnect_gap_and_reconnect(redis, monkeypatch):
    layer_config(monkeypatch, redis, on_disconnect="redis.disconnect", on_reconnect="redis.reconnect")
    with LiveServer("tests.integration.redis_apps:told") as server, WebSocket(server.port, "/").open() as client:
        assert client.receive() == (TEXT, b"joined")
        for _ in range(3):
            lost(redis)
            assert client.receive() == (TEXT, b"disconnected")
            assert client.receive() == (TEXT, b"gap news prices")
            assert client.receive() == (TEXT, b"reconnected")


def test_gap_alone(redis, monkeypatch):
    layer_config(monkeypatch, redis)
    with LiveServer("tests.integration.redis_apps:told") as server, WebSocket(server.port, "/").open() as client:
        assert client.receive() == (TEXT, b"joined")
        lost(redis)
        assert client.receive() == (TEXT, b"gap news prices")


def test_consumer_without_handlers_lives_on(redis, monkeypatch):
    """It hears nothing of the loss, and its next price."""
    layer_config(monkeypatch, redis)
    with LiveServer("tests.integration.redis_apps:untold") as server, WebSocket(server.port, "/").open() as client:
        assert client.receive() == (TEXT, b"joined")
        for number in range(3):
            redis.kill()
            redis.start()
            while redis.command("PUBSUB", "NUMSUB", "asgi__group__prices")[-1] != b":1":
                pass
            payload = RedisPubSubChannelLayer().serialize({"type": "price", "text": str(number)})
            redis.command("PUBLISH", "asgi__group__prices", payload)
            assert client.receive() == (TEXT, str(number).encode())
