"""peneus.ChannelLayer and the real channels_redis on one Redis: each gets what the other sends."""

import asyncio
import base64
import contextlib
import hashlib
import sys
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator

import channels_redis.core
import channels_redis.pubsub
import msgpack
import peneus
import pytest
import redis
from channels.exceptions import ChannelFull
from cryptography.fernet import Fernet

from tests.support.redis import Redis, redis_server

pytestmark = pytest.mark.asyncio
PATIENCE = 20
SHARDS = 4
OURS = {"pubsub": "redis", "core": "redis-core"}
THEIRS = {"pubsub": channels_redis.pubsub.RedisPubSubChannelLayer, "core": channels_redis.core.RedisChannelLayer}
MESSAGE = {
    "type": "price.update",
    "text": "ä€😀",
    "number": -(2**40),
    "float": 0.25,
    "none": None,
    "list": [1, [True]],
    "dict": {"a": {}},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Redis]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(redis_server()) for _ in range(SHARDS)]


class Pair:
    """One layer of each make, with the same CONFIG but for what is only ours."""

    def __init__(self, wire: str, servers: list[Redis], ours: dict, theirs: dict, **config) -> None:
        config = {"hosts": [server.url for server in servers], "prefix": f"p{uuid.uuid4().hex[:6]}", **config}
        self.wire, self.prefix, self.servers = wire, config["prefix"], servers
        self.ours = peneus.ChannelLayer(bus=OURS[wire], **config, **ours)
        self.theirs = THEIRS[wire](**config, **theirs)
        self.config = config

    def another(self) -> peneus.ChannelLayer:
        return peneus.ChannelLayer(bus=OURS[self.wire], **self.config)


@contextlib.asynccontextmanager
async def pair(
    wire: str, servers: list[Redis], ours: dict | None = None, theirs: dict | None = None, **config
) -> AsyncIterator[Pair]:
    both = Pair(wire, servers, ours or {}, theirs or {}, **config)
    try:
        yield both
    finally:
        await (both.theirs.flush() if wire == "pubsub" else both.theirs.close_pools())


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


async def until(true):
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "it does not come true"
        await asyncio.sleep(0.02)


wires = pytest.mark.parametrize("wire", ["pubsub", "core"])
shards = pytest.mark.parametrize("shards", [1, SHARDS])
formats = pytest.mark.parametrize("serializer_format", ["msgpack", "json"])
KEYS = [
    ({}, {}),
    ({"symmetric_encryption_keys": ["new", b"old"]}, {"symmetric_encryption_keys": ["old", "new"]}),
    ({"symmetric_encryption_keys": ["one"]}, {"symmetric_encryption_keys": ["one"]}),
]
encryptions = pytest.mark.parametrize(("our_keys", "their_keys"), KEYS, ids=["plain", "two-keys", "one-key"])


@wires
@shards
@formats
@encryptions
async def test_groups_and_channels(servers, wire, shards, serializer_format, our_keys, their_keys):
    async with pair(wire, servers[:shards], our_keys, their_keys, serializer_format=serializer_format) as both:
        message = MESSAGE if serializer_format == "json" else {**MESSAGE, "bytes": b"\x00\xff"}
        ours, theirs = await both.ours.new_channel(), await both.theirs.new_channel()
        for group in (f"group-{number}" for number in range(6)):  # on four Redis these fall to all of them
            await both.ours.group_add(group, ours)
            await both.theirs.group_add(group, theirs)
            await both.ours.group_send(group, {**message, "from": "ours"})
            assert await received(both.theirs, theirs) == {**message, "from": "ours"}
            assert await received(both.ours, ours) == {**message, "from": "ours"}
            await both.theirs.group_send(group, {**message, "from": "theirs"})
            assert await received(both.theirs, theirs) == {**message, "from": "theirs"}
            assert await received(both.ours, ours) == {**message, "from": "theirs"}
        for _ in range(6):  # their channels_redis.core sends to a Redis that the full name falls to, so: several
            theirs = await both.theirs.new_channel()
            await both.ours.send(theirs, message)
            assert await received(both.theirs, theirs) == message
            ours = await both.ours.new_channel()
            await both.theirs.send(ours, message)
            assert await received(both.ours, ours) == message
        assert both.ours._core.stats()["bus_unreadable"] == 0


@wires
async def test_leaving_a_group(servers, wire):
    async with pair(wire, servers[:1]) as both:
        ours, other = await both.ours.new_channel(), await both.ours.new_channel()
        for channel in (ours, other):
            await both.ours.group_add("group", channel)
        await both.ours.group_discard("group", ours)
        await both.theirs.group_send("group", {"type": "after"})
        assert await received(both.ours, other) == {"type": "after"}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(both.ours.receive(ours), 0.2)
        await both.ours.group_discard("group", other)
        key = f"{both.prefix}:group:group"
        assert servers[0].command("ZCARD", key)[0] == b":0"
        assert servers[0].command("PUBSUB", "NUMSUB", f"{both.prefix}__group__group")[3] == b":0"


@wires
async def test_order(servers, wire):
    """Group and direct messages of one sender, many at a time, as each receiver gets them."""
    async with pair(wire, servers, capacity=1000) as both:
        ours, theirs = await both.ours.new_channel(), await both.theirs.new_channel()
        for group in ("a", "b", "c"):
            await both.ours.group_add(group, ours)
            await both.theirs.group_add(group, theirs)
        sender = both.another()
        for number in range(300):
            # Not awaited to the end, as within a connection.
            sender._core.group_send("abc"[number % 3], msgpack.packb({"number": number}), None)
        assert await sender.settled()
        if wire == "core" or SHARDS == 1:  # pubsub: three topics on several Redis have no order among each other
            assert [(await received(both.ours, ours))["number"] for _ in range(300)] == list(range(300))
            assert [(await received(both.theirs, theirs))["number"] for _ in range(300)] == list(range(300))
        else:
            numbers = [(await received(both.ours, ours))["number"] for _ in range(300)]
            for first in range(3):
                assert [number for number in numbers if number % 3 == first] == list(range(first, 300, 3))


def shard_of(name: str) -> int:
    return (zlib.crc32(name.encode()) & 0xFFF) * SHARDS // 4096


async def test_core_order_when_one_redis_is_slow(servers):
    """Who is in the first group is asked of a Redis that answers late, in the second of one that does not."""
    async with pair("core", servers, capacity=1000) as both:
        ours = await both.ours.new_channel()
        receives_at = shard_of(ours.partition("!")[0] + "!")
        slow, quick = (
            next(f"group-{number}" for number in range(100) if shard_of(f"group-{number}") == shard)
            for shard in [shard for shard in range(SHARDS) if shard != receives_at][:2]
        )
        for group in (slow, quick):
            await both.ours.group_add(group, ours)
        sender = both.another()
        await sender.group_send(quick, {"number": -1})
        assert (await received(both.ours, ours))["number"] == -1
        servers[shard_of(slow)].freeze()
        try:
            for number in range(20):
                sender._core.group_send((slow, quick)[number % 2], msgpack.packb({"number": number}), None)
            await asyncio.sleep(0.3)
        finally:
            servers[shard_of(slow)].thaw()
        assert [(await received(both.ours, ours))["number"] for _ in range(20)] == list(range(20))


async def test_core_a_redis_that_returns_while_another_is_asked(servers):
    """What waits for it goes out although no connection comes back any more once the others have answered."""
    with redis_server() as lost:
        hosts = [*servers[: SHARDS - 1], lost]
        async with pair("core", hosts, capacity=1000) as both:

            def name_at(shard, form):
                return next(form.format(number) for number in range(1000) if shard_of(form.format(number)) == shard)

            group = name_at(0, "group-{}")
            slow, back = name_at(1, "slow-{}"), name_at(SHARDS - 1, "back-{}")
            for channel in (slow, back):
                await both.theirs.group_add(group, channel)
            sender = both.another()
            await sender.group_send(group, {"number": 0})
            connected = len(lost.clients())
            lost.kill()
            await until(lambda: sender._core.stats()["bus_links_up"] < 2 * SHARDS)
            servers[1].freeze()
            try:
                sender._core.group_send(group, msgpack.packb({"number": 1}), None)
                await asyncio.sleep(0.2)
                lost.start()
                await until(lambda: len(lost.clients()) >= connected)
                await asyncio.sleep(0.1)
            finally:
                servers[1].thaw()
            assert await sender.settled()
            assert servers[1].command("ZCARD", f"{both.prefix}{slow}")[0] == b":2"
            assert lost.command("ZCARD", f"{both.prefix}{back}")[0] == b":1"


@wires
async def test_two_of_ours(servers, wire):
    async with pair(wire, servers) as both:
        other = both.another()
        ours, others = await both.ours.new_channel(), await other.new_channel()
        await both.ours.group_add("group", ours)
        await other.group_add("group", others)
        await other.group_send("group", {"type": "t"})
        assert await received(both.ours, ours) == await received(other, others) == {"type": "t"}
        await other.send(ours, {"type": "direct"})
        assert await received(both.ours, ours) == {"type": "direct"}


@wires
async def test_without_the_key(servers, wire):
    async with pair(wire, servers[:1], {"symmetric_encryption_keys": ["a"]}, {"symmetric_encryption_keys": ["b"]}) as both:
        ours = await both.ours.new_channel()
        await both.ours.group_add("group", ours)
        await both.theirs.group_send("group", {"type": "secret"})
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while both.ours._core.stats()["bus_unreadable"] == 0 and wire == "pubsub":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        if wire == "core":
            await both.theirs.send(ours, {"type": "secret"})
            while both.ours._core.stats()["bus_unreadable"] == 0:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(both.ours.receive(ours), 0.1)


async def test_core_what_lies_in_redis(servers):
    """Keys, scores, expiry and the encrypted payload, as channels_redis.core's reader finds them."""
    async with pair(
        "core", servers[:1], {"symmetric_encryption_keys": ["k"]}, {"symmetric_encryption_keys": ["k"]}, expiry=7
    ) as both:
        channel = await both.theirs.new_channel()
        await both.ours.send(channel, {"type": "t"})
        key = f"{both.prefix}{channel.partition('!')[0]}!"
        with redis.Redis(port=servers[0].port) as client:
            ((member, score),) = client.zrange(key, 0, -1, withscores=True)
            assert abs(score - client.time()[0]) < 60
            assert 0 < client.ttl(key) <= 7
            group_key = f"{both.prefix}:group:group"
            ours = await both.ours.new_channel()
            await both.ours.group_add("group", ours)
            assert client.zrange(group_key, 0, -1) == [ours.encode()]
            assert 86300 < client.ttl(group_key) <= 86400
        token = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"k").digest())).decrypt(member[12:])
        assert msgpack.unpackb(token) == {"type": "t", "__asgi_channel__": channel}


async def test_core_channel_full(servers):
    async with pair("core", servers[:1], capacity=3) as both:
        channel = await both.theirs.new_channel()
        for number in range(3):
            await both.ours.send(channel, {"number": number})
        with pytest.raises(ChannelFull):
            await both.ours.send(channel, {"number": 3})
        assert both.ours._core.stats()["bus_refused"] == 1
        await both.theirs.group_add("group", channel)
        await both.ours.group_send("group", {"number": 4})  # never ChannelFull
        assert [(await received(both.theirs, channel))["number"] for _ in range(3)] == [0, 1, 2]
        await both.ours.send(channel, {"number": 5})
        assert (await received(both.theirs, channel))["number"] == 5


async def test_core_a_full_member_of_a_group_drops_the_newest(servers):
    """Both makes, where CONFIG says nothing of it."""
    async with pair("core", servers[:1], capacity=3) as both:
        members = [(layer, await layer.new_channel()) for layer in (both.ours, both.theirs)]
        for layer, channel in members:
            await layer.group_add("group", channel)
        for number in range(6):
            await both.theirs.group_send("group", {"number": number})
            await until(lambda number=number: both.ours._core.stats()["bus_received"] == number + 1)
        assert both.ours._core.stats()["dropped_newest"] == 3
        for layer, channel in members:
            assert [(await received(layer, channel))["number"] for _ in range(3)] == [0, 1, 2]
            await layer.send(channel, {"number": 6})
            assert (await received(layer, channel))["number"] == 6


async def test_core_channel_full_where_redis_answers_first(servers):
    """Before send() has asked for the confirmation."""
    async with pair("core", servers[:1], capacity=1) as both:
        channel = await both.theirs.new_channel()
        await both.ours.send(channel, {"number": 0})
        assert both.ours._core.send(channel, 1, msgpack.packb({"number": 1})) == "ok"
        await until(lambda: both.ours._core.stats()["bus_refused"] == 1)
        with pytest.raises(ChannelFull):
            await both.ours._confirmed(channel)
        await both.ours._confirmed(channel)  # once


async def test_core_a_full_channel_does_not_starve_the_others(servers):
    """In channels_redis.core the capacity is the process's: one consumer that does not read fills it."""
    async with pair("core", servers[:1], capacity=5) as both:
        slow, other = await both.ours.new_channel(), await both.ours.new_channel()
        for number in range(50):
            await both.theirs.send(slow, {"number": number})
            await asyncio.sleep(0.002)
        await both.theirs.send(other, {"type": "t"})
        assert await received(both.ours, other) == {"type": "t"}
        assert [(await received(both.ours, slow))["number"] for _ in range(5)] == list(range(45, 50))


async def test_core_a_burst_fits(servers):
    """A process of Peneus empties its key at once, so a burst is not held against the capacity of one channel."""
    async with pair("core", servers[:1], capacity=5) as both:
        channels = [await both.ours.new_channel() for _ in range(40)]
        for number, channel in enumerate(channels):
            await both.ours.group_add(f"group-{number}", channel)
        sender = both.another()
        for number in range(len(channels) * 4):
            sender._core.group_send(f"group-{number % 40}", msgpack.packb({"number": number}), None)
        assert await sender.settled()
        assert sender._core.stats()["bus_refused"] == 0
        for first, channel in enumerate(channels):
            assert [(await received(both.ours, channel))["number"] for _ in range(4)] == [first + 40 * turn for turn in range(4)]


async def test_core_general_channel_is_a_queue(servers):
    """Each message to one receiver, and to nobody who does not wait: what is not asked for stays in Redis for others."""
    async with pair("core", servers[:1], capacity=1000) as both:
        other = both.another()
        for number in range(40):
            await (both.ours if number % 2 else both.theirs).send("tasks", {"number": number})
        got = []
        for layer in [both.ours, other, both.theirs] * 13:
            got.append(await received(layer, "tasks"))
            # channels_redis removes its copy after receive() has returned; who asks before that puts it back into the queue.
            await until(lambda: servers[0].command("EXISTS", f"{both.prefix}tasks$inflight")[0] == b":0")
        assert sorted(message["number"] for message in got) == list(range(39))
        assert servers[0].command("ZCARD", f"{both.prefix}tasks")[0] == b":1"
        waiting = [asyncio.create_task(received(layer, "tasks")) for layer in (both.ours, other)]
        await both.theirs.send("tasks", {"number": 40})
        assert sorted([(await task)["number"] for task in waiting]) == [39, 40]


async def test_core_general_channel_on_several_redis(servers):
    """A receiver that looks at all of them takes no more than it asked for."""
    async with pair("core", servers, capacity=1000) as both:
        for number in range(24):
            await (both.ours if number % 2 else both.theirs).send("tasks", {"number": number})
        got = [(await received(both.ours, "tasks"))["number"] for _ in range(9)]

        def left() -> int:
            return sum(int(server.command("ZCARD", f"{both.prefix}tasks")[0][1:]) for server in servers)

        deadline = asyncio.get_running_loop().time() + PATIENCE
        while left() != 24 - 9:  # some are on their way back
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        got += [(await received(both.ours, "tasks"))["number"] for _ in range(15)]
        assert sorted(got) == list(range(24))


async def test_core_what_a_dead_receiver_had_in_flight(servers):
    async with pair("core", servers[:1]) as both:
        await both.theirs.send("tasks", {"number": 1})
        key = f"{both.prefix}tasks"
        with redis.Redis(port=servers[0].port) as client:
            ((member, score),) = client.zpopmin(key)
            client.zadd(f"{key}$inflight", {member: score})
            assert await received(both.ours, "tasks") == {"number": 1}
            assert not client.exists(f"{key}$inflight")


async def test_core_pieces_of_capacity(servers):
    """channel_capacity counts for other processes' channels too."""
    async with pair("core", servers[:1], channel_capacity={"small.*": 2}) as both:
        small, large = await both.theirs.new_channel("small"), await both.theirs.new_channel("large")
        for channel in (small, large):
            await both.theirs.group_add("group", channel)
        for number in range(4):
            await both.ours.group_send("group", {"number": number})
        count = {}
        for channel in (small, large):
            count[channel] = servers[0].command("ZCARD", f"{both.prefix}{channel.partition('!')[0]}!")[0]
        assert count == {small: b":2", large: b":4"}


async def test_core_flush(servers):
    async with pair("core", servers) as both:
        ours = await both.ours.new_channel()
        await both.ours.group_add("group", ours)
        await both.theirs.send("tasks", {"type": "t"})
        await both.ours.flush()
        assert [server.command("KEYS", f"{both.prefix}*")[0] for server in servers] == [b"*0"] * SHARDS
        ours = await both.ours.new_channel()
        await both.ours.group_add("group", ours)
        await both.theirs.group_send("group", {"type": "after"})
        assert await received(both.ours, ours) == {"type": "after"}


KILLED = """
import asyncio, sys, peneus
async def main():
    layer = peneus.ChannelLayer(bus="redis-core", hosts=sys.argv[2:], prefix=sys.argv[1])
    for number in range(8):
        await layer.group_add(f"group-{number}", await layer.new_channel())
        await layer.group_add("all", await layer.new_channel())
    print(layer.client_prefix, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def members(servers: list[Redis], prefix: str) -> list[str]:
    """All members of all groups."""
    found = []
    for server in servers:
        with redis.Redis(port=server.port, decode_responses=True) as client:
            for key in client.scan_iter(f"{prefix}:group:*"):
                found += client.zrange(key, 0, -1)
    return found


async def test_core_members_of_a_killed_process_end(servers):
    """channels_redis leaves them for a day."""
    async with pair("core", servers) as both:
        ours = await both.ours.new_channel()
        theirs = await both.theirs.new_channel()
        for number in range(8):
            await both.ours.group_add(f"group-{number}", ours)
            await both.theirs.group_add(f"group-{number}", theirs)
        urls = [server.url for server in servers]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, both.prefix, *urls, stdout=asyncio.subprocess.PIPE
        )
        client_of_dead = (await process.stdout.readline()).decode().strip()
        process.kill()
        await process.wait()
        assert sum(client_of_dead in member for member in members(servers, both.prefix)) == 16
        for server in servers:  # as if nobody had seen it for long
            with redis.Redis(port=server.port) as client:
                if client.zscore(f"{both.prefix}:peneus:alive", client_of_dead) is not None:
                    client.zadd(f"{both.prefix}:peneus:alive", {client_of_dead: 1})
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while any(client_of_dead in member for member in members(servers, both.prefix)):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        assert sorted(members(servers, both.prefix)) == sorted([ours, theirs] * 8), "those of the living stay"


async def test_core_one_that_was_only_stopped_joins_again(servers):
    async with pair("core", servers[:1]) as both:
        ours = await both.ours.new_channel()
        await both.ours.group_add("group", ours)
        await both.ours.group_add("other", ours)
        with redis.Redis(port=servers[0].port) as client:
            client.delete(*client.keys(f"{both.prefix}*"))
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while members(servers[:1], both.prefix) != [ours, ours]:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
        await both.theirs.group_send("group", {"type": "t"})
        assert await received(both.ours, ours) == {"type": "t"}


async def test_core_members_that_are_elsewhere(servers):
    """A view may make another process's consumer a member, as with channels_redis.core."""
    async with pair("core", servers) as both:
        other = both.another()
        theirs, others = await both.theirs.new_channel(), await other.new_channel()
        for channel in (theirs, others):
            await both.ours.group_add("group", channel)
        assert both.ours.groups == {}
        await both.ours.group_send("group", {"type": "t"})
        assert await received(both.theirs, theirs) == await received(other, others) == {"type": "t"}
        for channel in (theirs, others):
            await both.ours.group_discard("group", channel)
        assert await both.ours.group_channels("group") == []
        mine = f"specific.{both.ours.client_prefix}!gone"  # of this process, and ended
        await both.ours.group_add("group", mine)
        assert await both.ours.group_channels("group") == []
        assert both.ours._core.stats()["late_group_adds"] == 1


async def test_core_who_is_in_a_group(servers):
    async with pair("core", servers) as both:
        ours, theirs = await both.ours.new_channel(), await both.theirs.new_channel()
        await both.ours.group_add("group", ours)
        await both.theirs.group_add("group", theirs)
        assert sorted(await both.ours.group_channels("group")) == sorted([ours, theirs])
        assert await both.ours.group_count("group") == 2
        assert await both.ours.group_count("nobody") == 0
