"""Both Redis buses while a Redis is away, stands still, or refuses what it is asked for: what others notice, and what is right
again afterwards."""

import asyncio
import contextlib
import json
import time
import zlib

import msgpack
import pytest
from peneus import ChannelLayer
from peneus.errors import BusUnavailable
from peneus.testing import LiveServer

from tests.integration.core_harness import PATIENCE, WebSocket, eventually
from tests.support.redis import redis_server
from tests.support.redis_fleet import sentinels

BUSES = ["redis", "redis-core"]
SHARDS = 3
buses = pytest.mark.parametrize("bus", BUSES)


def run(main):
    return asyncio.run(asyncio.wait_for(main, 4 * PATIENCE))


async def until(true, what="it does not come true"):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


def stats(layer):
    return layer._core.stats()


def shard_of(name):
    return (zlib.crc32(name.encode()) & 0xFFF) * SHARDS // 4096


def groups_at(bus, shard, count):
    """Names of groups that lie on a shard."""
    prefix = "" if bus == "redis-core" else "asgi__group__"
    return [name for name in (f"group-{number}" for number in range(1000)) if shard_of(prefix + name) == shard][:count]


def receiver_at(bus, servers, shards, **config):
    """A layer that redis-core receives for from one of shards."""
    while True:
        layer = layer_at(bus, *servers, **config)
        if shard_of(f"specific.{layer.client_prefix}!") in shards:
            return layer


@pytest.fixture
def redis():
    with redis_server() as server:
        yield server


@pytest.fixture
def shards():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(redis_server()) for _ in range(SHARDS)]


def layer_at(bus, *servers, **config):
    return ChannelLayer(bus=bus, hosts=[server.url for server in servers], **config)


# --- one that is away ---


@buses
@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_dead_shard_does_not_stop_the_others(shards, bus, fault):
    """A process without connections waits for its messages' confirmations: each for its own."""

    async def main():
        layer, other = receiver_at(bus, shards, (1, 2)), layer_at(bus, *shards, buffer_time=PATIENCE)
        channel = await layer.new_channel()
        dead, *alive = (groups_at(bus, shard, 3) for shard in range(SHARDS))
        for group in alive[0] + alive[1]:
            await layer.group_add(group, channel)
        await other.group_send(alive[0][0], {"type": "x", "n": -1})
        assert (await received(layer, channel))["n"] == -1
        getattr(shards[0], fault)()
        await until(lambda: stats(other)["bus_links_up"] < stats(other)["bus_links"])
        waiting = asyncio.ensure_future(other.group_send(dead[0], {"type": "x"}))
        await asyncio.sleep(0.05)
        for n, group in enumerate((alive[0] + alive[1]) * 3):
            await other.group_send(group, {"type": "x", "n": n})
            assert not waiting.done()
            assert (await received(layer, channel))["n"] == n
        shards[0].thaw() if fault == "freeze" else shards[0].start()
        await waiting

    run(main())


@buses
def test_joins_to_a_dead_shard_do_not_wait(shards, bus):
    """They are done when it is back, and others are not held up by them."""

    async def main():
        layer, other = receiver_at(bus, shards, (1, 2)), layer_at(bus, *shards, buffer_time=PATIENCE)
        channel = await layer.new_channel()
        groups = [groups_at(bus, shard, 3) for shard in range(SHARDS)]
        for group in groups[0][:1] + groups[1][:1]:
            await layer.group_add(group, channel)
            await other.group_send(group, {"type": "before"})
            assert (await received(layer, channel))["type"] == "before"
        shards[0].kill()
        await until(lambda: stats(layer)["bus_links_up"] < stats(layer)["bus_links"])
        await asyncio.sleep(1.5)  # a Redis that has just gone is waited for: it may be back at once
        began = time.monotonic()
        for group in sum(groups, []):
            await layer.group_add(group, channel)
        assert time.monotonic() - began < 9, "s for nine joins, each of which took ten"
        for group in groups[1] + groups[2]:
            await other.group_send(group, {"type": group})
            assert (await received(layer, channel))["type"] == group
        shards[0].start()
        for group in groups[0]:
            await other.group_send(group, {"type": group})
            await until(lambda g=group: member_at(shards[0], bus, g))
        await other.group_send(groups[0][2], {"type": "after"})
        while (await received(layer, channel))["type"] != "after":
            pass

    run(main())


def member_at(server, bus, group):
    """Whether Redis knows of a member of group."""
    if bus == "redis-core":
        return server.command("ZCARD", f"asgi:group:{group}")[0] == b":1"
    return server.command("PUBSUB", "NUMSUB", f"asgi__group__{group}")[-1] == b":1"


@buses
@pytest.mark.parametrize("absent", ["from the beginning", "killed", "frozen"])
def test_a_new_websocket_does_not_wait_for_redis(bus, absent):
    """It is accepted, within --websocket-connect-timeout, and its groups are joined when Redis is back."""
    with redis_server() as redis:
        environment = {"RELAY_LAYER": json.dumps({"bus": bus, "hosts": [redis.url]})}
        groups = ",".join(f"group-{number}" for number in range(8))
        if absent == "from the beginning":
            redis.kill()
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(LiveServer("tests.integration.relay_apps:application", environment=environment))
            if absent != "from the beginning":
                first = stack.enter_context(WebSocket(server.port, f"/{groups}").open())
                assert first.receive()[1] == b"joined"
                redis.kill() if absent == "killed" else redis.freeze()
            clients = []
            for _ in range(6):
                client = WebSocket(server.port, f"/{groups}?late")
                clients.append(stack.enter_context(client.open()))
            redis.thaw() if absent == "frozen" else redis.start()
            eventually(lambda: member_count(redis, bus) >= (1 if bus == "redis" else len(clients)))
            payload = msgpack.packb({"type": "websocket.send", "text": "after"})
            if bus == "redis":
                redis.command("PUBLISH", "asgi__group__group-7", payload)
            else:
                asyncio.run(ChannelLayer(bus=bus, hosts=[redis.url]).group_send("group-7", msgpack.unpackb(payload)))
            for client in clients:
                while client.receive()[1] != b"after":
                    pass


def member_count(redis, bus):
    if bus == "redis-core":
        return int(redis.command("ZCARD", "asgi:group:group-7")[0][1:])
    return int(redis.command("PUBSUB", "NUMSUB", "asgi__group__group-7")[-1][1:])


@buses
def test_a_late_join_is_logged_seldom(bus, caplog):
    with redis_server() as gone:
        hosts = [gone.url]

    async def main():
        layer = ChannelLayer(bus=bus, hosts=hosts)
        channel = await layer.new_channel()
        for number in range(200):
            await layer.group_add(f"group-{number}", channel)

    run(main())
    lines = [record.getMessage() for record in caplog.records if " yet" in record.getMessage()]
    assert 1 <= len(lines) <= 100


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_core_order_is_kept_by_more_messages_than_go_out_at_once(redis, fault):
    """Some are on their way when the connection is lost, and others wait for their turn."""

    async def main():
        layer = layer_at("redis-core", redis, capacity=10_000)
        sender = layer_at("redis-core", redis, buffer_time=PATIENCE)
        channel = await layer.new_channel()
        await layer.group_add("prices", channel)
        await sender.group_send("prices", {"type": "x", "n": -1})
        assert (await received(layer, channel))["n"] == -1
        redis.freeze()
        for n in range(400):
            sender._core.group_send("prices", msgpack.packb({"type": "x", "n": n}), None)
            if n % 50 == 0:
                await asyncio.sleep(0.01)
        if fault == "freeze":
            await until(lambda: stats(sender)["bus_links_up"] == 0)
            redis.thaw()
        else:
            redis.kill()
            redis.start()
            await until(lambda: member_at(redis, "redis-core", "prices"))
        await sender.group_send("prices", {"type": "x", "n": 400})
        numbers = []
        while not numbers or numbers[-1] != 400:
            message = await received(layer, channel)
            numbers += [message["n"]] if "n" in message else []
        assert numbers == sorted(numbers)
        assert fault == "kill" or len(numbers) == 401  # an empty Redis knows no member at first

    run(main())


@buses
def test_a_server_that_ends_idle_connections(bus):
    """`timeout 1`: the first loss is noticed, and then there is always something said in time."""
    with redis_server("--timeout", "1") as redis:

        async def main():
            listener = Listener(bus, redis)
            await listener.join("prices")
            await asyncio.sleep(8)
            assert stats(listener.layer)["bus_reconnects"] <= stats(listener.layer)["bus_links"]
            assert stats(listener.layer)["bus_gaps"] == 0
            assert await listener.heard("prices") == []

        run(main())


def test_core_order_is_kept_by_messages_that_one_of_their_redis_lacks(shards):
    """They wait for another one's answers when the first is back, and later ones could go out there at once."""

    async def main():
        group = groups_at("redis-core", 0, 1)[0]
        layer, other = (receiver_at("redis-core", shards, (shard,), capacity=1000) for shard in (1, 2))
        sender = layer_at("redis-core", *shards, capacity=1000, buffer_time=PATIENCE)
        channel = await layer.new_channel()
        for each, name in ((layer, channel), (other, await other.new_channel())):
            await each.group_add(group, name)
        await sender.group_send(group, {"n": -1})
        assert (await received(layer, channel))["n"] == -1

        async def send(first):
            for n in range(first, first + 30):
                sender._core.group_send(group, msgpack.packb({"n": n}), None)
            await asyncio.sleep(0.05)  # as far as they go

        links = stats(sender)["bus_links_up"]
        shards[1].kill()
        await until(lambda: stats(sender)["bus_links_up"] == links - 2)
        shards[2].freeze()
        await send(0)
        shards[1].start()
        await until(lambda: stats(sender)["bus_links_up"] == links)
        await send(30)
        shards[2].thaw()
        await sender.settled()
        assert [(await received(layer, channel))["n"] for _ in range(60)] == list(range(60))

    run(main())


# --- one that refuses ---


def test_core_a_master_that_becomes_a_replica(redis):
    """READONLY: the message waits for a master; who asks is told why; and nothing is lost once there is one again."""

    async def main():
        with redis_server() as master:
            layer, other = layer_at("redis-core", redis), layer_at("redis-core", redis, buffer_time=PATIENCE)
            impatient = layer_at("redis-core", redis, buffer_time=0.3)
            channel = await layer.new_channel()
            await layer.group_add("prices", channel)
            for sender in (other, impatient):
                await sender.group_send("prices", {"type": "before"})
                assert (await received(layer, channel))["type"] == "before"
            redis.command("REPLICAOF", "127.0.0.1", str(master.port))
            waiting = asyncio.ensure_future(other.group_send("prices", {"type": "waited"}))
            with pytest.raises(BusUnavailable, match="READONLY|replica"):
                await impatient.group_send("prices", {"type": "lost"})
            await until(lambda: "replica" in other.trouble() or "READONLY" in other.trouble())
            assert not waiting.done()
            redis.command("REPLICAOF", "NO", "ONE")
            await waiting
            while (await received(layer, channel))["type"] != "waited":
                pass
            await until(lambda: layer.trouble() == other.trouble() == "")

    run(main())


def test_core_both_connections_leave_a_master_that_becomes_a_replica(redis):
    """Redis tells the one that receives, and that one the other, which may have nothing to write for seconds."""

    async def main():
        with redis_server() as master:
            layer = layer_at("redis-core", redis)
            waiting = asyncio.ensure_future(layer.receive(await layer.new_channel()))
            await until(lambda: b"cmd=bzpopmin" in b"".join(redis.command("CLIENT", "LIST")))
            redis.command("REPLICAOF", "127.0.0.1", str(master.port))
            await until(lambda: stats(layer)["bus_links_up"] == 0)
            redis.command("REPLICAOF", "NO", "ONE")
            await until(lambda: stats(layer)["bus_links_up"] == 2)
            waiting.cancel()

    run(main())


@buses
def test_a_replica_is_not_used(redis, bus):
    async def main():
        with redis_server("--replicaof", "127.0.0.1", str(redis.port)) as replica:
            layer = layer_at(bus, replica, buffer_time=0.5)
            with pytest.raises(BusUnavailable, match="is a replica, not the master"):
                await layer.group_send("prices", {"type": "x"})

    run(main())


def allow(redis, *rules):
    assert redis.command("ACL", "SETUSER", "market", "reset", "on", ">secret", *rules) == [b"+OK"]


def market(redis):
    return f"redis://market:secret@127.0.0.1:{redis.port}"


@pytest.mark.parametrize(
    ("bus", "rules"), [("redis", ["~*", "&*", "+@all", "-publish"]), ("redis-core", ["~*", "+@all", "-eval"])]
)
def test_who_may_not_send_is_told(redis, bus, rules, caplog):
    """The exception says what Redis has said; so does the log, of a process without a server too."""
    allow(redis, *rules)

    async def main():
        layer, listener = ChannelLayer(bus=bus, hosts=[market(redis)]), layer_at(bus, redis)
        channel = await listener.new_channel()
        await listener.group_add("prices", channel)
        for _ in range(2):
            with pytest.raises(BusUnavailable, match="has refused the message: NOPERM"):
                await layer.group_send("prices", {"type": "x"})
            with pytest.raises(BusUnavailable, match="has refused the message: NOPERM"):
                await layer.send(channel, {"type": "x"})
        assert "NOPERM" in layer.trouble() and "secret" not in layer.trouble()
        while not [record for record in caplog.records if "NOPERM" in record.getMessage()]:
            await asyncio.sleep(0.2)
            with contextlib.suppress(BusUnavailable):
                await layer.group_send("prices", {"type": "x"})
        allow(redis, "~*", "&*", "+@all")
        await asyncio.sleep(0.2)  # who settles just after a failure is told of it
        await layer.group_send("prices", {"type": "allowed"})
        assert (await received(listener, channel))["type"] == "allowed"

    run(main())


# --- memberships: what is wanted, and what Redis has ---


def test_core_leaving_and_joining_again_while_redis_is_away(redis):
    """For longer than anybody waits: the last wish counts, whatever was asked for before."""

    async def main():
        layer, other = layer_at("redis-core", redis), layer_at("redis-core", redis)
        channel = await layer.new_channel()
        for group in ("rejoined", "left", "steady"):
            await layer.group_add(group, channel)
        redis.kill()
        await until(lambda: stats(layer)["bus_links_up"] == 0)
        for group in ("rejoined", "left"):
            await layer.group_discard(group, channel)
        for group in ("rejoined", "new", "gone"):
            await layer.group_add(group, channel)
        await layer.group_discard("gone", channel)
        await asyncio.sleep(11)
        redis.start()
        await until(lambda: core_groups(redis) == {"new": 1, "rejoined": 1, "steady": 1})
        for group in ("rejoined", "new", "steady"):
            await other.group_send(group, {"type": group})
            await until_received(layer, channel, group)
        assert core_groups(redis) == {"new": 1, "rejoined": 1, "steady": 1}

    run(main())


def core_groups(redis):
    """How many members each group has."""
    keys = [line.decode() for line in redis.command("KEYS", "asgi:group:*") if line.startswith(b"asgi:")]
    return {key.removeprefix("asgi:group:"): int(redis.command("ZCARD", key)[0][1:]) for key in sorted(keys)}


async def until_received(layer, channel, kind):
    while (await received(layer, channel))["type"] != kind:
        pass


def full(redis):
    redis.command("CONFIG", "SET", "maxmemory", "1")


def not_full(redis):
    redis.command("CONFIG", "SET", "maxmemory", "0")


def forbidden(command):
    return lambda redis: allow(redis, "~*", "&*", "+@all", f"-{command}")


def allowed(redis):
    allow(redis, "~*", "&*", "+@all")


REFUSALS = [
    pytest.param("redis-core", full, not_full, "OOM", id="core-maxmemory"),
    pytest.param("redis-core", forbidden("zadd"), allowed, "NOPERM", id="core-zadd"),
    pytest.param("redis", forbidden("subscribe"), allowed, "NOPERM", id="redis-subscribe"),
]


@pytest.mark.parametrize(("bus", "refuse", "relent", "said"), REFUSALS)
def test_a_refused_join_is_an_error_and_tried_again(redis, bus, refuse, relent, said):
    async def main():
        allowed(redis)
        layer, other = ChannelLayer(bus=bus, hosts=[market(redis)]), layer_at(bus, redis)
        channel = await layer.new_channel()
        await layer.group_add("before", channel)
        refuse(redis)
        for _ in range(2):
            with pytest.raises(BusUnavailable, match=f"has refused group 'prices': {said}"):
                await layer.group_add("prices", channel)
        assert said in layer.trouble()
        assert not member_at(redis, bus, "prices")
        relent(redis)
        await until(lambda: member_at(redis, bus, "prices"), "nobody has tried it again")
        await until(lambda: layer.trouble() == "")
        await other.group_send("prices", {"type": "now"})
        await until_received(layer, channel, "now")
        await layer.group_add("prices", channel)

    run(main())


@pytest.mark.parametrize(("bus", "refuse", "relent", "said"), REFUSALS)
def test_a_join_after_a_refusal_is_as_redis_says_now(redis, bus, refuse, relent, said):
    """Neither is it taken for done because the group was refused before, nor refused because it was."""

    async def main():
        allowed(redis)
        layer = ChannelLayer(bus=bus, hosts=[market(redis)])
        channels = [await layer.new_channel() for _ in range(3)]
        refuse(redis)
        for channel in channels[:2]:
            with pytest.raises(BusUnavailable, match=said):
                await layer.group_add("prices", channel)
        await asyncio.sleep(0.5)
        with pytest.raises(BusUnavailable, match=said):
            await layer.group_add("prices", channels[0])
        relent(redis)
        await asyncio.sleep(0.3)
        await layer.group_add("prices", channels[2])
        if bus == "redis":
            assert member_at(redis, bus, "prices")
        else:
            await until(lambda: core_groups(redis) == {"prices": 3})

    run(main())


def test_a_refused_topic_is_nobody_elses(redis, caplog):
    """Joins to allowed groups at the same moment are neither warned of nor refused."""

    async def main():
        allow(redis, "~*", "+@all", "&asgispecific*", "&asgi__group__open*")
        layer = ChannelLayer(bus="redis", hosts=[market(redis)])
        channel = await layer.new_channel()
        groups = ["open.1", "shut.1", "open.2", "shut.2", "open.3"]
        results = await asyncio.gather(*(layer.group_add(group, channel) for group in groups), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), BusUnavailable] * 2 + [type(None)]
        assert not [record for record in caplog.records if "not joined" in record.getMessage()]

    run(main())


def test_core_a_refused_leave_is_an_error_and_tried_again(redis):
    async def main():
        allowed(redis)
        layer = ChannelLayer(bus="redis-core", hosts=[market(redis)])
        channel = await layer.new_channel()
        await layer.group_add("prices", channel)
        forbidden("zrem")(redis)
        with pytest.raises(BusUnavailable, match="has refused group 'prices': NOPERM"):
            await layer.group_discard("prices", channel)
        assert core_groups(redis) == {"prices": 1}
        allowed(redis)
        await until(lambda: core_groups(redis) == {})
        await until(lambda: redis.command("EXISTS", f"asgi:peneus:groups:{layer.client_prefix}")[0] == b":0")

    run(main())


def test_core_what_a_promoted_replica_still_has(redis):
    """The old master has confirmed the leave and told nobody of it: who has left is taken out when the connection is back."""

    async def main():
        layer, other = layer_at("redis-core", redis), layer_at("redis-core", redis)
        channel, theirs = await layer.new_channel(), await other.new_channel()
        for group in ("left", "kept"):
            await layer.group_add(group, channel)
            await other.group_add(group, theirs)
        await layer.group_discard("left", channel)
        listed, key = f"asgi:peneus:groups:{layer.client_prefix}", "asgi:group:left"
        await until(lambda: redis.command("SMEMBERS", listed)[2::2] == [b"asgi:group:kept"])
        redis.command("ZADD", key, str(int(time.time())), channel)
        redis.command("SADD", listed, key)
        redis.command("ZADD", "asgi:group:unknown", str(int(time.time())), channel)
        redis.command("SADD", listed, "asgi:group:unknown")
        redis.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: core_groups(redis) == {"kept": 2, "left": 1})
        await until(lambda: redis.command("SMEMBERS", listed)[2::2] == [b"asgi:group:kept"])
        await other.group_send("left", {"type": "left"})
        await other.group_send("kept", {"type": "kept"})
        kinds = [(await received(layer, channel))["type"]]
        while kinds[-1] != "kept":
            kinds.append((await received(layer, channel))["type"])
        assert "left" not in kinds

    run(main())


def test_core_leaves_while_sentinel_replaces_the_master():
    """Some leave, some close, some stay and some join, all the time: what Redis has then is what is wanted."""
    with sentinels() as fleet:

        async def main():
            addresses = [("127.0.0.1", sentinel.port) for sentinel in fleet.sentinels]
            layer = ChannelLayer(bus="redis-core", hosts=[{"sentinels": addresses, "master_name": "market"}])
            channels = [await layer.new_channel() for _ in range(60)]
            for channel in channels[:50]:
                await layer.group_add("prices", channel)
            fleet.order_fail_over()
            for number in range(40):
                await layer.group_discard("prices", channels[number])
                if number % 4 == 0:
                    await layer.group_add("prices", channels[50 + number // 4])
                await asyncio.sleep(0.05)
            await until(lambda: fleet.master_port() == fleet.replica.port)
            await until(lambda: core_groups(fleet.replica) == {"prices": 20})
            await until(lambda: stats(layer)["bus_links_up"] == 2)
            await asyncio.sleep(1)
            assert core_groups(fleet.replica) == {"prices": 20}

        run(main())


def test_core_how_many_are_in_a_group_may_be_the_first_question(redis):
    """A management command that counts has no connection yet."""

    async def main():
        layer = layer_at("redis-core", redis)
        await layer.group_add("prices", await layer.new_channel())
        for _ in range(3):
            assert await layer_at("redis-core", redis).group_count("prices") == 1
        redis.kill()
        with pytest.raises(BusUnavailable):
            await layer_at("redis-core", redis).group_count("prices")

    run(main())


# --- who may have missed something is told, once ---


class Listener:
    """A channel that asks for gaps."""

    def __init__(self, bus, *servers):
        self.layer = layer_at(bus, *servers)
        self.other = layer_at(bus, *servers, buffer_time=PATIENCE)
        client = self.layer.client_prefix
        self.channel = f"specific.{client}!x" if bus == "redis-core" else f"asgispecific.{client[:13]}{'0' * 19}"
        assert self.layer._core.new_channel(self.channel, 1000, True)

    async def join(self, *groups):
        for group in groups:
            await self.layer.group_add(group, self.channel)
            await self.heard(group)

    async def heard(self, group):
        """The gaps that were told until a message of group comes, each with its groups."""
        await self.other.group_send(group, {"type": "mark"})
        gaps = []
        while (message := await received(self.layer, self.channel))["type"] != "mark":
            assert message["type"] == "channel.layer.gap"
            gaps.append(sorted(message["groups"]))
        return gaps

    async def after_the_gap(self):
        message = await received(self.layer, self.channel)
        assert message["type"] == "channel.layer.gap", message
        return sorted(message["groups"])


@buses
@pytest.mark.parametrize("fault", ["lost", "restarted"])
def test_a_gap_is_told_once_for_each_outage(redis, bus, fault):
    async def main():
        listener = Listener(bus, redis)
        await listener.join("prices", "news")
        for _ in range(3):
            before = stats(listener.layer)["bus_gaps"]
            if fault == "restarted":
                redis.kill()
                redis.start()
            else:
                for kind in ("normal", "pubsub"):
                    redis.command("CLIENT", "KILL", "TYPE", kind)
            assert await listener.after_the_gap() == ["news", "prices"]
            await until(lambda: stats(listener.other)["bus_links_up"] == stats(listener.other)["bus_links"])
            await asyncio.sleep(0.5)
            assert await listener.heard("news") == []
            assert stats(listener.layer)["bus_gaps"] == before + 1

    run(main())


def test_core_no_gap_is_told_where_nothing_was_lost(redis):
    """The connection that joins and sends is not the one that hears; and a census that has lost a process is no loss."""

    async def main():
        listener = Listener("redis-core", redis)
        await listener.join("prices")
        for _ in range(3):
            before = stats(listener.layer)["bus_reconnects"]
            for client in [client for client in redis.clients() if client["cmd"] != "bzpopmin"]:
                redis.command("CLIENT", "KILL", "ID", client["id"])
            await until(lambda b=before: stats(listener.layer)["bus_reconnects"] > b)
            assert await listener.heard("prices") == []
        assert redis.command("ZREM", "asgi:peneus:alive", listener.layer.client_prefix)[0] == b":1"
        await until(lambda: redis.command("ZSCORE", "asgi:peneus:alive", listener.layer.client_prefix)[0] != b"$-1")
        await asyncio.sleep(0.5)
        assert await listener.heard("prices") == []
        assert stats(listener.layer)["bus_gaps"] == 0

    run(main())


def test_core_whose_members_had_gone_is_told_alone(redis):
    """Taken for dead, as a process that was stopped is: it joins again, and its groups are told that were without it."""

    async def main():
        listener = Listener("redis-core", redis)
        await listener.join("prices", "news")
        redis.command("DEL", "asgi:group:prices")
        redis.command("ZREM", "asgi:peneus:alive", listener.layer.client_prefix)
        assert await listener.after_the_gap() == ["prices"]
        assert await listener.heard("prices") == []

    run(main())


@buses
def test_who_joined_late_is_told(redis, bus):
    """group_add() has returned, and from then on messages were missed."""

    async def main():
        redis.kill()
        listener = Listener(bus, redis)
        await listener.layer.group_add("prices", listener.channel)
        redis.start()
        assert await listener.after_the_gap() == ["prices"]
        assert await listener.heard("prices") == []

    run(main())


def test_core_members_of_the_dead_go_while_nobody_joins(redis):
    """All processes were killed, others are there and do nothing."""

    async def main():
        idle = layer_at("redis-core", redis)
        await until(lambda: stats(idle)["bus_links_up"] == 2)
        dead = "0" * 12 + "e" + "0" * 19
        redis.command("ZADD", "asgi:group:prices", str(int(time.time())), f"specific.{dead}!x")
        redis.command("SADD", f"asgi:peneus:groups:{dead}", "asgi:group:prices")
        redis.command("ZADD", "asgi:peneus:alive", "1", dead)
        await until(lambda: core_groups(redis) == {})  # 20 s at most
        redis.command("ZADD", "asgi:group:prices", str(int(time.time())), f"specific.{dead}!x")
        redis.command("SADD", f"asgi:peneus:groups:{dead}", "asgi:group:prices")
        redis.command("ZADD", "asgi:peneus:alive", "1", dead)
        began = layer_at("redis-core", redis)
        await until(lambda: core_groups(redis) == {})
        assert redis.command("KEYS", "asgi:peneus:*") == [b"*0"]
        del began

    run(main())
