"""Bus "redis": the links. Every way to a Redis, every way to lose it, and how many connections that takes."""

import asyncio
import contextlib
import gc
import threading
import time

import pytest
from asgiref.sync import async_to_sync
from channels_redis.pubsub import RedisPubSubChannelLayer
from peneus import ChannelLayer
from peneus.errors import BusUnavailable

from tests.support import certificates
from tests.support.redis import redis_server
from tests.support.redis_fleet import cluster, sentinels

PATIENCE = 90.0  # s: a Sentinel whose timers come late, on a busy machine, does nothing for 30 s (its TILT mode)
QUESTIONS = 1  # topic of a process that has groups: by it processes ask each other who is in one


def run(main):
    return asyncio.run(asyncio.wait_for(main, 3 * PATIENCE))


async def eventually(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it does not come true"
        await asyncio.sleep(0.02)


def stats(layer):
    return layer._core.stats()


def layer_at(*hosts, **config):
    return ChannelLayer(bus="redis", hosts=list(hosts), **config)


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


def encoded(layer, message):
    return layer._encode(message)


async def member(layer, group="prices"):
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


async def assert_works(hosts, **config):
    """Two layers, as two processes have them, hear each other."""
    one, other = layer_at(*hosts, **config), layer_at(*hosts, **config)
    channel = await member(one)
    await other.group_send("prices", {"type": "price", "value": 1})
    assert await received(one, channel) == {"type": "price", "value": 1}
    await other.send(channel, {"type": "direct"})
    assert await received(one, channel) == {"type": "direct"}
    await one.group_discard("prices", channel)
    assert await one.settled()


@pytest.fixture(scope="module")
def redis():
    with redis_server() as server:
        yield server


@pytest.fixture
def fresh_redis():
    with redis_server() as server:
        yield server


# --- waiting for it ---


@pytest.mark.parametrize("bus", ["redis", "redis-core"])
def test_a_task_that_nobody_holds_is_not_lost(redis, bus):
    """The event loop has weak references to its tasks only: what a task waits for has to keep it."""

    async def main():
        layer = ChannelLayer(bus=bus, hosts=[redis.url])
        channel = await layer.new_channel()
        ended = []

        async def join(number):
            await layer.group_add(f"group-{number}", channel)
            ended.append(await layer.group_channels(f"group-{number}"))

        for number in range(100):
            asyncio.ensure_future(join(number))
        gc.collect()
        while len(ended) < 100:
            await asyncio.sleep(0.001)
            gc.collect()
        assert ended == [[channel]] * 100

    run(main())


# --- ways to a Redis ---


@pytest.mark.parametrize("protocol", [2, 3])
def test_protocols(redis, protocol):
    async def main():
        host = {"host": "127.0.0.1", "port": redis.port, "protocol": protocol}
        layer = layer_at(host)
        channel = await member(layer)
        await assert_works([host])
        named = [client for client in redis.clients() if client["resp"] == str(protocol)]
        assert len(named) >= 2
        del channel

    run(main())


def test_host_by_name(redis):
    run(assert_works([f"redis://localhost:{redis.port}"]))


def test_database(redis):
    async def main():
        layer = layer_at(f"redis://127.0.0.1:{redis.port}/5")
        await member(layer)
        await layer.group_send("prices", {"type": "x"})
        assert sum(client["db"] == "5" for client in redis.clients()) == 2

    run(main())


def test_unix_socket(tmp_path):
    with redis_server("--unixsocket", str(tmp_path / "redis.sock"), "--unixsocketperm", "700"):
        run(assert_works([f"unix://{tmp_path}/redis.sock"]))
        run(assert_works([{"path": f"{tmp_path}/redis.sock"}]))


@pytest.mark.parametrize("protocol", [2, 3])
def test_user(fresh_redis, protocol):
    """With no more rights than channels_redis needs."""
    user = [
        "ACL",
        "SETUSER",
        "market",
        "on",
        ">secret",
        "resetchannels",
        "&asgi*",
        "-@all",
        "+publish",
        "+subscribe",
        "+unsubscribe",
    ]
    assert fresh_redis.command(*user) == [b"+OK"]
    fresh_redis.command("ACL", "SETUSER", "default", "off")
    host = {"host": "127.0.0.1", "port": fresh_redis.port, "username": "market", "password": "secret", "protocol": protocol}
    run(assert_works([host]))


def test_password_alone():
    with redis_server("--requirepass", "secret") as server:
        run(assert_works([f"redis://:secret@127.0.0.1:{server.port}"]))
        run(assert_works([{"host": "127.0.0.1", "port": server.port, "password": "secret", "protocol": 2}]))


def test_wrong_password_is_said():
    with redis_server("--requirepass", "secret") as server:

        async def main():
            layer = layer_at(f"redis://:wrong@127.0.0.1:{server.port}", buffer_time=0.5)
            with pytest.raises(BusUnavailable, match="WRONGPASS") as caught:
                await layer.group_send("prices", {"type": "x"})
            assert "wrong@" not in str(caught.value)

        run(main())


def test_group_that_the_user_may_not_hear(fresh_redis):
    """One refused topic among many: the others are subscribed, and to settle says that something is wrong."""
    fresh_redis.command(
        "ACL", "SETUSER", "market", "on", ">secret", "resetchannels", "&asgispecific*", "&asgi__group__open*", "+@all"
    )

    async def main():
        layer = layer_at(f"redis://market:secret@127.0.0.1:{fresh_redis.port}")
        channel = await layer.new_channel()
        joins = [layer.group_add(group, channel) for group in ("open.1", "shut", "open.2")]
        await asyncio.gather(*joins, return_exceptions=True)
        assert "NOPERM" in layer._core.trouble()
        await asyncio.sleep(0.2)  # who settles just after a failure is told of it
        for group in ("open.1", "open.2"):
            await layer.group_send(group, {"type": group})
            assert (await received(layer, channel))["type"] == group
        with pytest.raises(BusUnavailable, match="NOPERM"):
            await layer.group_send("shut", {"type": "x"})

    run(main())


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    made = certificates.make(tmp_path_factory.mktemp("certificates"))
    files = ["--tls-cert-file", str(made.certificate), "--tls-key-file", str(made.key), "--tls-ca-cert-file", str(made.authority)]
    with redis_server() as plain:
        port = plain.port
    with redis_server("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "127.0.0.2", *files, port=port) as server:
        yield server, made


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_tls(secured, name):
    server, made = secured
    client = {"ssl_certfile": str(made.certificate), "ssl_keyfile": str(made.key), "ssl_check_hostname": True}
    run(assert_works([{"address": f"rediss://{name}:{server.port}", "ssl_ca_certs": str(made.authority), **client}]))
    text = made.authority.read_text()
    run(assert_works([{"address": f"rediss://{name}:{server.port}", "ssl_ca_data": text, **client}]))


def test_tls_large_messages(secured):
    server, made = secured

    async def main():
        files = {"ssl_ca_certs": str(made.authority), "ssl_certfile": str(made.certificate), "ssl_keyfile": str(made.key)}
        layer = layer_at({"address": f"rediss://localhost:{server.port}", **files})
        channel = await member(layer)
        for size in (1, 16_384, 1_000_000):
            await asyncio.gather(*[layer.group_send("prices", {"type": "x", "n": n, "text": "x" * size}) for n in range(5)])
            for n in range(5):
                message = await received(layer, channel)
                assert (message["n"], len(message["text"])) == (n, size)

    run(main())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ssl_ca_certs": "other_authority"}, "certificate"),
        ({"host": "127.0.0.2"}, "mismatch"),
        ({"ssl_certfile": None, "ssl_keyfile": None}, "TLS|closed|reset"),
        ({"ssl_ca_certs": "/nowhere"}, "CA certificates cannot be read"),
        ({"ssl": False}, "Server closed the connection|reset"),
    ],
)
def test_tls_that_must_fail(secured, change, said):
    server, made = secured
    change = {key: str(getattr(made, value)) if value and hasattr(made, str(value)) else value for key, value in change.items()}
    host = {
        "host": "127.0.0.1",
        "port": server.port,
        "ssl": True,
        "ssl_check_hostname": True,
        "ssl_ca_certs": str(made.authority),
    }
    host |= {"ssl_certfile": str(made.certificate), "ssl_keyfile": str(made.key), **change}

    async def main():
        layer = layer_at({key: value for key, value in host.items() if value is not None}, buffer_time=1)
        with pytest.raises(BusUnavailable, match=said):
            await layer.group_send("prices", {"type": "x"})

    run(main())


def test_several_shards_like_channels_redis():
    """Each group and each channel lies where channels_redis looks for it."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(redis_server()) for _ in range(3)]
        urls = [server.url for server in servers]

        def subscribers(topic):
            return sum(int(server.command("PUBSUB", "NUMSUB", topic)[-1][1:]) for server in servers)

        async def main():
            new, old = layer_at(*urls), RedisPubSubChannelLayer(hosts=urls)
            mine, theirs = await new.new_channel(), await old.new_channel()
            for n in range(20):
                await new.group_add(f"g{n}", mine)
                await old.group_add(f"g{n}", theirs)
            # channels_redis does not wait for Redis's confirmation.
            await eventually(lambda: all(subscribers(f"asgi__group__g{n}") == 2 for n in range(20)))
            for n in range(20):
                await new.group_send(f"g{n}", {"type": "new", "n": n})
                await old.group_send(f"g{n}", {"type": "old", "n": n})
                for layer, channel in ((new, mine), (old, theirs)):
                    both = [await received(layer, channel) for _ in range(2)]
                    assert sorted(message["type"] for message in both) == ["new", "old"]
                    assert {message["n"] for message in both} == {n}
            for _ in range(8):
                channel = await new.new_channel()
                await new.settled()
                await old.send(channel, {"type": "direct"})
                assert (await received(new, channel))["type"] == "direct"
                channel = await old.new_channel()
                await eventually(lambda topic=channel: subscribers(topic) == 1)
                await new.send(channel, {"type": "direct"})
                assert (await asyncio.wait_for(old.receive(channel), PATIENCE))["type"] == "direct"
            await old.flush()

        run(main())


# --- how many connections, how many commands ---


def statistic(redis, name):
    line = next(line for line in redis.command("INFO", "stats") if line.startswith(name.encode() + b":"))
    return int(line.split(b":")[1])


def test_two_connections_whatever_the_loops_and_threads(fresh_redis):
    layer = layer_at(fresh_redis.url)

    def publish():
        for n in range(20):
            async_to_sync(layer.group_send)("prices", {"type": "x", "n": n})

    async def main():
        channel = await member(layer)
        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(160):
            await received(layer, channel)
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])

    run(main())
    run(main())  # another loop
    assert len(fresh_redis.clients()) == 2
    total = int(
        next(line for line in fresh_redis.command("INFO", "stats") if line.startswith(b"total_connections")).split(b":")[1]
    )
    assert total < 2 + 20  # the test's own are among them


def test_one_subscription_however_many_members(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        channels = [await layer.new_channel() for _ in range(50)]
        for channel in channels:
            await layer.group_add("prices", channel)
        topics = fresh_redis.command("PUBSUB", "NUMSUB", "asgi__group__prices")
        assert topics[-1] == b":1"
        assert fresh_redis.subscribed_channels() == 50 + 1 + QUESTIONS
        for channel in channels[:-1]:
            await layer.group_discard("prices", channel)
        assert await layer.settled()
        assert fresh_redis.command("PUBSUB", "NUMSUB", "asgi__group__prices")[-1] == b":1"
        await layer.group_discard("prices", channels[-1])
        assert await layer.settled()
        assert fresh_redis.command("PUBSUB", "NUMSUB", "asgi__group__prices")[-1] == b":0"

    run(main())


def test_publishes_are_pipelined(fresh_redis):
    """A thousand publishes are a few reads of Redis, not a thousand."""

    async def main():
        layer = layer_at(fresh_redis.url)
        channel = await member(layer, "g")
        before = statistic(fresh_redis, "total_reads_processed")
        for n in range(1000):
            layer._core.group_send("g", encoded(layer, {"type": "x", "n": n}), None)
        assert await layer.settled()
        assert statistic(fresh_redis, "total_reads_processed") - before < 300
        await eventually(lambda: stats(layer)["bus_received"] == 1000)  # confirmed is not yet heard
        for n in range(100):
            assert (await received(layer, channel))["n"] == 900 + n  # its capacity is 100

    run(main())


def test_joined_then_published_arrives(redis):
    """Without waiting for anything between."""

    async def main():
        layer = layer_at(redis.url)
        channel = await layer.new_channel()
        for n in range(200):
            assert layer._core.group_add(f"r{n}", channel, 100, "drop-oldest") == "ok"
            assert layer._core.group_send(f"r{n}", encoded(layer, {"type": "x", "n": n}), None) == "ok"
            assert (await received(layer, channel))["n"] == n

    run(main())


def test_joining_and_leaving_in_a_hurry(redis):
    """Whatever was wanted last is what Redis has."""

    async def main():
        layer = layer_at(redis.url)
        channel = await layer.new_channel()
        for turns in range(1, 12):
            for n in range(turns):
                layer._core.group_add("hurry", channel, 100, "drop-oldest")
                if n < turns - 1 or turns % 2:
                    layer._core.group_discard("hurry", channel)
            assert await layer.settled()
            assert redis.command("PUBSUB", "NUMSUB", "asgi__group__hurry")[-1] == (b":0" if turns % 2 else b":1")
            layer._core.group_discard("hurry", channel)

    run(main())


async def assert_group_channels(hosts, **config):
    one, other, third = (layer_at(*hosts, **config) for _ in range(3))
    assert await one.group_channels("prices") == []
    mine = [await member(one) for _ in range(3)]
    theirs = [await member(other) for _ in range(2)]
    await member(other, "elsewhere")
    for layer in (one, other, third):
        assert await layer.group_channels("prices") == sorted(mine + theirs)
        assert await layer.group_count("prices") == 5
    await one.group_discard("prices", mine[0])
    assert await third.group_count("prices") == 4
    assert await third.settled()


def test_who_is_in_a_group_everywhere(fresh_redis):
    run(assert_group_channels([fresh_redis.url]))
    run(assert_group_channels([fresh_redis.url], symmetric_encryption_keys=["secret"]))


def test_who_asks_hears_of_no_answer_that_does_not_come(fresh_redis):
    """Somebody else listens on the topic and says nothing: what the others said is given; and nonsense is no answer."""

    async def main():
        layer = layer_at(fresh_redis.url)
        channel = await member(layer)
        old = RedisPubSubChannelLayer(hosts=[fresh_redis.url])
        with contextlib.suppress(asyncio.TimeoutError):
            listener = asyncio.ensure_future(old.receive("asgi__peneus__query"))
            await eventually(lambda: fresh_redis.command("PUBSUB", "NUMSUB", "asgi__peneus__query")[-1] == b":2")
            for nonsense in ("", "?", "!", "!0123456789abcdef" + "x", "?0123456789abcdef"):
                fresh_redis.command("PUBLISH", "asgi__peneus__query", nonsense)
            assert await layer.group_channels("prices") == [channel]
            listener.cancel()
        await old.flush()

    run(main())


def test_nobody_can_be_asked(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        await member(layer)
        fresh_redis.kill()
        await eventually(lambda: stats(layer)["bus_links_up"] == 0)
        with pytest.raises(BusUnavailable):
            await layer.group_channels("prices")

    run(main())


# --- ways to lose it ---


async def assert_recovers(layer, channel, fault, *, lost=1):
    before = stats(layer)
    fault()
    await eventually(lambda: stats(layer)["bus_reconnects"] >= before["bus_reconnects"] + lost)
    await layer.group_send("prices", {"type": "again"})
    assert (await received(layer, channel))["type"] == "again"
    await eventually(lambda: stats(layer)["bus_links_up"] == stats(layer)["bus_links"])
    assert layer._core.trouble() == ""


def test_client_kill(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        channel = await member(layer)
        await assert_recovers(layer, channel, lambda: fresh_redis.command("CLIENT", "KILL", "TYPE", "pubsub"))
        assert stats(layer)["bus_gaps"] == 1
        await assert_recovers(layer, channel, lambda: fresh_redis.command("CLIENT", "KILL", "TYPE", "normal"))
        assert stats(layer)["bus_gaps"] == 1  # who publishes misses nothing

    run(main())


def test_restarted_empty(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        channel = await member(layer)

        def fault():
            fresh_redis.kill()
            fresh_redis.start()

        for _ in range(3):
            await assert_recovers(layer, channel, fault, lost=2)

    run(main())


def test_stopped(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        channel = await member(layer)
        fresh_redis.freeze()
        began = time.monotonic()
        await eventually(lambda: stats(layer)["bus_links_up"] == 0)
        assert time.monotonic() - began < 15
        later = asyncio.get_running_loop().call_later(1, fresh_redis.thaw)
        await layer.group_send("prices", {"type": "waited"})
        later.cancel()
        assert (await received(layer, channel))["type"] == "waited"

    run(main())


def test_full_output_buffer():
    """Redis ends a subscriber that does not read: a lost connection as any other."""
    with redis_server("--client-output-buffer-limit", "pubsub", "200000", "0", "0") as server:

        async def main():
            layer = layer_at(server.url)
            channel = await member(layer)
            await assert_recovers(layer, channel, lambda: server.command("PUBLISH", "asgi__group__prices", "x" * 900_000))
            assert stats(layer)["bus_gaps"] >= 1

        run(main())


def test_not_there_at_first():
    with redis_server() as gone:
        port = gone.port

    async def main():
        layer = layer_at(f"redis://127.0.0.1:{port}", buffer_time=PATIENCE)
        channel = await layer.new_channel()
        layer._core.group_add("prices", channel, 100, "drop-oldest")
        assert layer._core.group_send("prices", encoded(layer, {"type": "early"}), None) == "ok"
        await eventually(lambda: "refused" in layer._core.trouble())
        with redis_server(port=port):
            assert (await received(layer, channel))["type"] == "early"

    run(main())


def test_publishes_wait_bounded_in_time(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url, buffer_time=0.5)
        await member(layer, "elsewhere")
        fresh_redis.kill()
        await eventually(lambda: stats(layer)["bus_links_up"] == 0)
        with pytest.raises(BusUnavailable, match="refused"):
            await layer.group_send("prices", {"type": "x"})
        assert stats(layer)["bus_unsent"] == 1
        assert stats(layer)["bus_bytes_pending"] == 0

    run(main())


def test_publishes_wait_bounded_in_bytes(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url, buffer_limit=100_000, buffer_time=PATIENCE)
        await member(layer, "elsewhere")
        fresh_redis.kill()
        await eventually(lambda: stats(layer)["bus_links_up"] == 0)
        payload = encoded(layer, {"type": "x", "text": "x" * 1000})
        results = [layer._core.group_send("prices", payload, None) for _ in range(200)]
        assert 50 < results.count("ok") < 100
        assert set(results[results.count("ok") :]) == {"unsent"}
        assert stats(layer)["bus_bytes_pending"] <= 100_000
        fresh_redis.start()
        await eventually(lambda: stats(layer)["bus_published"] == results.count("ok"))
        assert stats(layer)["bus_bytes_pending"] == 0

    run(main())


def test_order_is_kept_over_a_reconnect(fresh_redis):
    async def main():
        layer, other = layer_at(fresh_redis.url, capacity=10_000), layer_at(fresh_redis.url, buffer_time=PATIENCE)
        channel = await member(layer)
        await other.group_send("prices", {"type": "x", "n": -1})
        assert (await received(layer, channel))["n"] == -1
        fresh_redis.command("CLIENT", "KILL", "TYPE", "normal")
        for n in range(500):
            other._core.group_send("prices", encoded(other, {"type": "x", "n": n}), None)
        await other.group_send("prices", {"type": "x", "n": 500})
        numbers = []
        while not numbers or numbers[-1] != 500:
            numbers.append((await received(layer, channel))["n"])
        assert numbers == sorted(numbers)

    run(main())


def test_gap_is_told_once_everything_is_subscribed_again(fresh_redis):
    async def main():
        layer = layer_at(fresh_redis.url)
        channel = "asgispecific." + "0" * 32
        assert layer._core.new_channel(channel, 100, True)
        for n in range(30):
            await layer.group_add(f"g{n}", channel)
        fresh_redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        message = await received(layer, channel)
        assert message["type"] == "channel.layer.gap"
        assert sorted(message["groups"]) == sorted(f"g{n}" for n in range(30))
        assert fresh_redis.subscribed_channels() == 30 + 1 + QUESTIONS

    run(main())


def test_no_shard_but_the_lost_one_has_a_gap():
    with redis_server() as one, redis_server() as other:

        async def main():
            layer = layer_at(one.url, other.url)
            channel = "asgispecific." + "0" * 32
            assert layer._core.new_channel(channel, 100, True)
            for n in range(30):
                await layer.group_add(f"g{n}", channel)
            lost = {
                line.decode().removeprefix("asgi__group__") for line in one.command("PUBSUB", "CHANNELS", "asgi__group__*")[2::2]
            }
            assert 0 < len(lost) < 30
            one.command("CLIENT", "KILL", "TYPE", "pubsub")
            message = await received(layer, channel)
            assert set(message["groups"]) == lost

        run(main())


def test_garbage_instead_of_redis():
    """Something else listens there: an attempt that failed, again and again, and no more than that."""

    async def main():
        async def answer(reader, writer):
            await reader.read(10)
            with contextlib.suppress(OSError):
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        layer = layer_at(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", buffer_time=1)
        with pytest.raises(BusUnavailable, match="Protocol error"):
            await layer.group_send("prices", {"type": "x"})
        server.close()

    run(main())


# --- Sentinel, Cluster ---


def test_sentinel_fail_over():
    with sentinels() as fleet:

        async def main():
            addresses = [("127.0.0.1", sentinel.port) for sentinel in fleet.sentinels]
            layer = layer_at({"sentinels": addresses, "master_name": "market"}, buffer_time=PATIENCE)
            channel = await member(layer)
            await layer.group_send("prices", {"type": "before"})
            assert (await received(layer, channel))["type"] == "before"
            fleet.master.kill()
            await eventually(lambda: stats(layer)["bus_links_up"] == 0)
            assert layer._core.group_send("prices", encoded(layer, {"type": "after"}), None) == "ok"
            assert (await received(layer, channel))["type"] == "after"
            assert fleet.master_port() == fleet.replica.port
            # The old master comes back as a replica; and one Sentinel ends.
            fleet.sentinels[0].kill()
            fleet.master.start()
            fleet.replica.command("CLIENT", "KILL", "TYPE", "pubsub")
            await assert_recovers(layer, channel, lambda: None, lost=0)
            await eventually(lambda: len([client for client in fleet.replica.clients() if client["name"] == "peneus"]) == 2)

        run(main())


def test_sentinel_ordered_fail_over():
    """The master lives on, and is not the master any more."""
    with sentinels() as fleet:

        async def main():
            addresses = [("127.0.0.1", sentinel.port) for sentinel in fleet.sentinels]
            layer = layer_at({"sentinels": addresses, "master_name": "market"}, buffer_time=PATIENCE)
            channel = await member(layer)
            fleet.order_fail_over()
            await eventually(lambda: fleet.master_port() == fleet.replica.port)
            await eventually(lambda: [c for c in fleet.replica.clients() if c["name"] == "peneus" and "P" in c["flags"]])
            await layer.group_send("prices", {"type": "after"})
            assert (await received(layer, channel))["type"] == "after"

        run(main())


def test_sentinel_that_knows_no_such_master():
    with sentinels() as fleet:

        async def main():
            layer = layer_at({"sentinels": [("127.0.0.1", fleet.sentinels[0].port)], "master_name": "other"}, buffer_time=1)
            with pytest.raises(BusUnavailable, match="knows no master other"):
                await layer.group_send("prices", {"type": "x"})

        run(main())


@pytest.fixture(scope="module")
def nodes():
    with cluster() as fleet:
        yield fleet


def seeds(nodes):
    return {"cluster": [f"redis://127.0.0.1:{nodes[0].port}"]}


def test_cluster(nodes):
    """Sharded: each node hears of its own slots alone."""

    async def main():
        one, other = layer_at(seeds(nodes), capacity=1000), layer_at(seeds(nodes))
        channel = await one.new_channel()
        for n in range(30):
            await one.group_add(f"g{n}", channel)
        for n in range(30):
            await other.group_send(f"g{n}", {"type": "x", "n": n})
            assert (await received(one, channel))["n"] == n
        await other.send(channel, {"type": "direct"})
        assert (await received(one, channel))["type"] == "direct"
        topics = [int(node.command("PUBSUB", "SHARDCHANNELS")[0][1:]) for node in nodes]
        assert sum(topics) == 30 + 1 + QUESTIONS and min(topics) > 0
        for n in range(30):
            await one.group_discard(f"g{n}", channel)
        assert await one.settled()
        assert sum(int(node.command("PUBSUB", "SHARDCHANNELS")[0][1:]) for node in nodes) == 1

    run(main())


def test_who_is_in_a_group_of_a_cluster(nodes):
    run(assert_group_channels([seeds(nodes)]))


def test_cluster_whose_slots_move(nodes):
    """MOVED, and subscriptions that Redis ends by itself when their slot goes."""

    async def main():
        layer, other = layer_at(seeds(nodes), capacity=1000), layer_at(seeds(nodes), buffer_time=PATIENCE)
        channel = "asgispecific." + "0" * 32
        assert layer._core.new_channel(channel, 1000, True)
        groups = [f"m{n}" for n in range(40)]
        for group in groups:
            await layer.group_add(group, channel)
        for group in groups:
            await other.group_send(group, {"type": "x", "group": group})
            assert (await received(layer, channel))["group"] == group
        slots = {group: int(nodes[0].command("CLUSTER", "KEYSLOT", f"asgi__group__{group}")[0][1:]) for group in groups}
        moved = [group for group in groups if slots[group] <= 5460]
        assert moved
        ids = [node.command("CLUSTER", "MYID")[1].decode() for node in nodes]
        for group in moved:
            for node in (nodes[1], nodes[0], nodes[2]):
                node.command("CLUSTER", "SETSLOT", str(slots[group]), "NODE", ids[1])
        await eventually(lambda: sum(int(node.command("PUBSUB", "SHARDCHANNELS")[0][1:]) for node in nodes) == 40 + 1 + QUESTIONS)
        assert int(nodes[1].command("PUBSUB", "SHARDCHANNELS")[0][1:]) >= len(moved)
        missed = set()
        while not missed.issuperset(moved):  # the slots move one after the other, so there may be several gaps
            gap = await received(layer, channel)
            assert gap["type"] == "channel.layer.gap"
            missed.update(gap["groups"])
        for group in groups:
            await other.group_send(group, {"type": "x", "group": group})
            while (message := await received(layer, channel))["type"] == "channel.layer.gap":
                pass
            assert message["group"] == group

    run(main())


def test_cluster_whose_node_is_lost_and_comes_back(nodes):
    async def main():
        layer = layer_at(seeds(nodes), capacity=1000, buffer_time=PATIENCE)
        channel = await layer.new_channel()
        groups = [f"b{n}" for n in range(20)]
        for group in groups:
            await layer.group_add(group, channel)
        nodes[2].freeze()
        await eventually(lambda: stats(layer)["bus_links_up"] < stats(layer)["bus_links"])
        nodes[2].thaw()
        await eventually(lambda: stats(layer)["bus_links_up"] == stats(layer)["bus_links"])
        await layer.settled()
        for group in groups:
            await layer.group_send(group, {"type": "x", "group": group})
            assert (await received(layer, channel))["group"] == group

    run(main())
