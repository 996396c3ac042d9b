"""A channel that another process receives from: who may make it a member, and how long that lasts."""

import asyncio
import contextlib
import json
import time

import peneus
import pytest
from peneus import ChannelLayer, ForeignChannel
from peneus.hub import host
from peneus.testing import LiveServer

from tests.integration.core_harness import PATIENCE, WebSocket, eventually
from tests.support.redis import redis_server


def run(main):
    return asyncio.run(asyncio.wait_for(main, 4 * PATIENCE))


async def until(true):
    deadline = time.monotonic() + PATIENCE
    while not await true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


@pytest.fixture(scope="module")
def redis():
    with redis_server() as server:
        yield server


@contextlib.contextmanager
def two_layers(bus, redis, tmp_path, **config):
    """As two processes have them."""
    if bus == "hub":
        hub = host(tmp_path / "hub")
        try:
            yield [ChannelLayer(bus=bus, hub=str(tmp_path / "hub"), **config) for _ in range(2)]
        finally:
            hub.close()
    else:
        yield [ChannelLayer(bus=bus, hosts=[redis.url], **config) for _ in range(2)]


@pytest.mark.parametrize("bus", ["hub", "redis"])
def test_another_processs_channel_is_refused(bus, redis, tmp_path):
    """In words, instead of being ignored."""
    with two_layers(bus, redis, tmp_path) as (one, other):

        async def main():
            channel = await one.new_channel()
            for change in (other.group_add, other.group_discard):
                with pytest.raises(ForeignChannel, match=f"belongs to another process, .* on bus '{bus}'"):
                    await change("prices", channel)
            assert await one.group_channels("prices") == []
            await one.group_add("prices", channel)
            await one.group_discard("prices", channel)
            await other.send(channel, {"type": "direct"})
            assert await received(one, channel) == {"type": "direct"}

        run(main())


@pytest.mark.parametrize("bus", ["hub", "redis", "redis-core"])
def test_receiving_from_another_processs_channel_is_refused(bus, redis, tmp_path):
    with two_layers(bus, redis, tmp_path) as (one, other):

        async def main():
            channel = await one.new_channel()
            with pytest.raises(ForeignChannel, match="belongs to another process"):
                await asyncio.wait_for(other.receive(channel), PATIENCE)
            if bus != "redis":  # where nothing is kept for those who come later
                await other.send("anybodys", {"type": "x"})
                assert await received(one, "anybodys") == {"type": "x"}

        run(main())


CONFIGS = [{}, {"serializer_format": "json", "symmetric_encryption_keys": ["secret"]}]


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "json-encrypted"])
def test_core_the_owner_takes_it_over(redis, tmp_path, config):
    with two_layers("redis-core", redis, tmp_path, prefix=f"p{time.monotonic_ns()}", **config) as (one, other):

        async def main():
            channel = await one.new_channel()
            for group in ("kept", "left"):
                await other.group_add(group, channel)
            await other.group_send("kept", {"type": "at once"})  # the caller need not wait for the other process
            assert await received(one, channel) == {"type": "at once"}

            async def joined():
                return set(one.groups) == {"kept", "left"}

            await until(joined)
            await other.group_discard("left", channel)
            assert await other.group_channels("left") == []

            async def left():
                return set(one.groups) == {"kept"}

            await until(left)
            await one.group_discard("kept", channel)
            assert await other.group_channels("kept") == []

        run(main())


APPLICATION = "tests.integration.foreign_apps:application"


def test_core_it_ends_with_the_connection(redis):
    """Whatever another process adds, and when."""
    config = {"bus": "redis-core", "hosts": [redis.url], "prefix": f"p{time.monotonic_ns()}"}
    environment = {"FOREIGN_LAYER": json.dumps(config)}
    with LiveServer(APPLICATION, environment=environment, application_close_timeout=PATIENCE) as server:
        layer = ChannelLayer(**config)
        with WebSocket(server.port, "/").open() as client:
            channel = client.receive()[1].decode()
            asyncio.run(layer.group_add("prices", channel))
            asyncio.run(layer.group_send("prices", {"type": "websocket.send", "text": "hello"}))
            assert client.receive()[1] == b"hello"
            eventually(lambda: members(layer, "prices") == [channel])
        eventually(lambda: members(layer, "prices") == [])
        asyncio.run(layer.group_add("late", channel))  # its application still runs
        eventually(lambda: members(layer, "late") == [])
        assert len(redis.command("KEYS", f"{config['prefix']}:group:*")) == 1


def members(layer, group):
    return asyncio.run(layer.group_channels(group))


def test_core_the_dead_are_no_members_for_long(redis):
    """The census takes them out: one whose process has gone long ago, and one whose process is killed before it knows."""
    prefix = f"p{time.monotonic_ns()}"
    config = {"bus": "redis-core", "hosts": [redis.url], "prefix": prefix}
    layer = ChannelLayer(**config)
    gone = f"specific.{'0' * 12}e{'0' * 19}!{'0' * 32}"
    asyncio.run(layer.group_add("prices", gone))
    assert members(layer, "prices") == [gone]

    def as_if_long_ago(channel):
        """As if it had not been seen for long. A process that does nothing looks for the dead when it begins."""
        owner = channel.split("!")[0].rpartition(".")[2]
        assert redis.command("ZADD", f"{prefix}:peneus:alive", "XX", "CH", "1", owner) == [b":1"]
        idle = ChannelLayer(**config)
        eventually(lambda: members(idle, "prices") == [])

    as_if_long_ago(gone)
    server = LiveServer(APPLICATION, environment={"FOREIGN_LAYER": json.dumps(config)})
    with server, WebSocket(server.port, "/").open() as client:
        channel = client.receive()[1].decode()
        asyncio.run(layer.group_add("prices", channel))
        server.process.kill()
        server.process.wait(PATIENCE)
        assert members(layer, "prices") == [channel]
        as_if_long_ago(channel)


def test_the_error_is_public():
    assert issubclass(peneus.ForeignChannel, RuntimeError)
