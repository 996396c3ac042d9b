"""peneus.ChannelLayer against the Channels specification, from loops and threads, without any server."""

import asyncio
import datetime
import re
import subprocess
import sys
import threading
from enum import Enum

import msgpack
import peneus
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull, MessageTooLarge
from peneus import layer_config, serializers
from peneus.errors import SettingError

pytestmark = pytest.mark.asyncio
PATIENCE = 20


def make(**config) -> peneus.ChannelLayer:
    return peneus.ChannelLayer(**config)


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


async def drain(layer, channel):
    """What is queued now."""
    got = []
    while True:
        try:
            got.append(await asyncio.wait_for(layer.receive(channel), 0.05))
        except asyncio.TimeoutError:
            return got


async def nothing(layer, channel):
    """Whether nothing comes, as far as a short wait can tell."""
    return await drain(layer, channel) == []


async def test_attributes():
    layer = make(expiry=7, group_expiry=9, capacity=11)
    assert layer.extensions == ["groups", "flush"]
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (7, 9, 11)


async def test_send_and_receive_in_order():
    layer = make()
    for number in range(10):
        await layer.send("a.channel", {"type": "t", "number": number})
    assert [(await received(layer, "a.channel"))["number"] for _ in range(10)] == list(range(10))


async def test_receive_waits():
    layer = make()
    waiting = asyncio.create_task(layer.receive("a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await layer.send("a", {"type": "late"})
    assert await asyncio.wait_for(waiting, PATIENCE) == {"type": "late"}


async def test_new_channel():
    layer = make()
    names = [await layer.new_channel() for _ in range(3)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"specific\.[0-9a-f]{32}![0-9a-f]{32}", name) for name in names)
    assert len({name.split("!")[0] for name in names}) == 1
    assert (await layer.new_channel("other")).startswith("other.")
    await layer.send(names[0], {"type": "t"})
    assert await received(layer, names[0]) == {"type": "t"}


@pytest.mark.parametrize("name", ["¯\\_(ツ)_/¯", "a b", "", "a" * 100, 5, None, b"bytes", "a!b!c"])
async def test_names_of_channels(name):
    layer = make()
    with pytest.raises(TypeError):
        await layer.send(name, {"type": "t"})
    with pytest.raises(TypeError):
        await layer.receive(name)
    with pytest.raises(TypeError):
        await layer.group_add("group", name)
    with pytest.raises(TypeError):
        await layer.group_discard("group", name)


@pytest.mark.parametrize("name", ["a!b", "a b", "", "a" * 100, 5, None])
async def test_names_of_groups(name):
    layer = make()
    channel = await layer.new_channel()
    for call in (layer.group_add(name, channel), layer.group_discard(name, channel), layer.group_send(name, {"type": "t"})):
        with pytest.raises(TypeError):
            await call


async def test_names_of_99_characters():
    layer = make()
    await layer.send("a" * 99, {"type": "t"})
    await layer.group_add("g" * 99, "a" * 99)
    await layer.group_send("g" * 99, {"type": "u"})
    assert [(await received(layer, "a" * 99))["type"] for _ in range(2)] == ["t", "u"]


async def test_groups():
    layer = make()
    one, two, other = [await layer.new_channel() for _ in range(3)]
    await layer.group_add("group", one)
    await layer.group_add("group", one)
    await layer.group_add("group", two)
    await layer.group_add("other", other)
    await layer.group_discard("other", one)
    await layer.group_send("group", {"type": "first"})
    await layer.group_discard("group", two)
    await layer.group_send("group", {"type": "second"})
    await layer.group_send("nobody", {"type": "third"})
    assert [(await received(layer, one))["type"] for _ in range(2)] == ["first", "second"]
    assert (await received(layer, two))["type"] == "first"
    assert await nothing(layer, one) and await nothing(layer, two) and await nothing(layer, other)
    assert layer.groups == {"group": {one}, "other": {other}}
    groups = layer.group_details()
    assert groups["group"] == {"members": 1, "messages": 2, "dropped": 0, "queued": 0, "queued_bytes": 0}
    assert groups["other"] == {"members": 1, "messages": 0, "dropped": 0, "queued": 0, "queued_bytes": 0}


async def test_flush():
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, {"type": "t"})
    await layer.flush()
    await layer.group_send("group", {"type": "t"})
    assert await nothing(layer, channel)


# --- messages


class Color(str, Enum):
    RED = "red"


class Plain(Enum):
    ONE = 1


class Safe(str):
    pass


BOTH = [
    None,
    True,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    "text ☃",
    "",
    [1, [2, "x"]],
    {"a": {"b": None}},
]
MSGPACK_ONLY = [b"bytes\x00\xff", b""]


@pytest.mark.parametrize(
    ("serializer", "value"), [("json", value) for value in BOTH] + [("msgpack", value) for value in BOTH + MSGPACK_ONLY]
)
async def test_what_a_message_may_hold(serializer, value):
    layer = make(serializer_format=serializer)
    await layer.send("a", {"type": "t", "value": value})
    got = (await received(layer, "a"))["value"]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("value", "arrives"),
    [((1, (2,)), [1, [2]]), (Safe("x"), "x"), (Color.RED, "red"), ({Color.RED: 1, Safe("k"): 2}, {"red": 1, "k": 2})],
)
async def test_what_arrives_as_its_plain_kind(serializer, value, arrives):
    layer = make(serializer_format=serializer)
    await layer.send("a", {"type": "t", "value": value})
    got = (await received(layer, "a"))["value"]
    assert got == arrives and type(got) is type(arrives)
    assert not isinstance(got, dict) or all(type(key) is str for key in got)


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 1, 1),
        datetime.date(2026, 1, 1),
        {1, 2},
        pytest.param(object(), id="object"),
        Plain.ONE,
        1 + 2j,
        {1: "a"},
        {None: "a"},
        {"a": {b"b": 1}},
        {(1, 2): 3},
        len,
    ],
    ids=repr,
)
async def test_what_a_message_must_not_hold(serializer, value):
    layer = make(serializer_format=serializer)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for call in (layer.send(channel, {"type": "t", "value": value}), layer.group_send("group", {"type": "t", "value": value})):
        with pytest.raises((TypeError, ValueError)):
            await call
    assert await nothing(layer, channel)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800"])
async def test_what_msgpack_has_no_form_for(value):
    with pytest.raises((TypeError, ValueError)):
        await make().send("a", {"type": "t", "value": value})


@pytest.mark.parametrize("message", [None, "text", [1], b"bytes"])
async def test_a_message_is_a_dict(message):
    for call in (make().send("a", message), make().group_send("a", message)):
        with pytest.raises(TypeError, match="a channel message is a dict"):
            await call


async def test_the_encoding_is_that_of_msgpack():
    """The same bytes as channels_redis writes, so that the two can share a bus."""
    for message in ({"type": "t", "a": [1, -1, 2**40, 1.5, None, True, b"\xff", "ü" * 40, {"b": {}}]}, {"k" * 40: "x" * 70000}):
        assert serializers.SERIALIZERS["msgpack"].encode(message) == msgpack.packb(message, use_bin_type=True)


async def test_receivers_share_nothing():
    layer = make()
    one, two = [await layer.new_channel() for _ in range(2)]
    for channel in (one, two):
        await layer.group_add("group", channel)
    sent = {"type": "t", "list": [1]}
    await layer.group_send("group", sent)
    sent["list"].append(2)
    first = await received(layer, one)
    first["list"].append(3)
    assert await received(layer, two) == {"type": "t", "list": [1]}


async def test_a_message_of_a_million_bytes():
    layer = make()
    await layer.send("a", {"type": "t", "data": b"x" * 1_000_000})
    assert len((await received(layer, "a"))["data"]) == 1_000_000


async def test_message_too_large():
    layer = make(message_limit=1000)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for call in (layer.send(channel, {"data": b"x" * 1000}), layer.group_send("group", {"data": b"x" * 1000})):
        with pytest.raises(MessageTooLarge):
            await call
    await layer.send(channel, {"data": b"x" * 900})


# --- capacity, overflow, expiry


async def test_channel_full():
    layer = make(capacity=3)
    for number in range(3):
        await layer.send("a", {"number": number})
    with pytest.raises(ChannelFull):
        await layer.send("a", {"number": 3})
    await received(layer, "a")
    await layer.send("a", {"number": 4})
    assert [(await received(layer, "a"))["number"] for _ in range(3)] == [1, 2, 4]


async def test_full_in_bytes():
    layer = make(mailbox_bytes=1000)
    await layer.send("a", {"data": b"x" * 600})
    with pytest.raises(ChannelFull):
        await layer.send("a", {"data": b"x" * 600})


async def test_channel_capacity_by_pattern_in_order():
    layer = make(
        capacity=5, channel_capacity={"http.request": 2, re.compile(r"^websocket.send\!.+"): 3, "http.*": 4, "http.r*": 1}
    )
    for channel, capacity in (("http.request", 2), ("websocket.send!abc", 3), ("http.response", 4), ("x.http.request", 5)):
        assert layer.get_capacity(channel) == capacity
        assert layer.get_capacity(channel) == capacity, "remembered"
    for _ in range(2):
        await layer.send("http.request", {})
    with pytest.raises(ChannelFull):
        await layer.send("http.request", {})


async def test_what_is_remembered_of_patterns_is_bounded():
    layer = make(channel_capacity={"a*": 7})
    for number in range(20_000):
        assert layer.get_capacity(f"a{number}") == 7
    assert len(layer._capacities._known) <= 4096


async def in_full_group(sends, **config):
    """What a member of a full group has after sends; capacity is 3."""
    layer = make(capacity=3, **config)
    channel = await layer.new_channel()
    await layer.group_add("prices.eur", channel)
    for message in sends:
        await layer.group_send("prices.eur", message)
    return [message["number"] for message in await drain(layer, channel)], layer.group_details()["prices.eur"]["dropped"]


NUMBERED = [{"number": number} for number in range(5)]


@pytest.mark.parametrize(
    ("overflow", "left"),
    [
        ("drop-oldest", [2, 3, 4]),
        ("drop-newest", [0, 1, 2]),
        ("latest", [2, 3, 4]),
        ("close", [0, 1, 2]),
        ({"prices.*": "drop-newest"}, [0, 1, 2]),
        ({"news.*": "drop-newest"}, [2, 3, 4]),
        ({"news.*": "latest", "prices.e*": "drop-newest", "prices.*": "drop-oldest"}, [0, 1, 2]),
        ({re.compile(r".*\.eur"): "drop-newest"}, [0, 1, 2]),
    ],
)
async def test_overflow(overflow, left):
    assert await in_full_group(NUMBERED, overflow=overflow) == (left, 2)


@pytest.mark.parametrize(("bus", "usual"), [("local", "drop-oldest"), ("redis", "drop-oldest"), ("redis-core", "drop-newest")])
async def test_what_is_usual_where_nothing_is_said(bus, usual):
    assert layer_config.overflow(None, bus).of("group") == usual
    assert layer_config.overflow({"prices.*": "close"}, bus).of("group") == usual
    assert layer_config.overflow("latest", bus).of("group") == "latest"
    assert await in_full_group(NUMBERED) == ([2, 3, 4], 2)


async def test_overflow_latest_keeps_the_newest_of_each_key():
    ticks = [{"key": key, "number": number} for number, key in enumerate(["a", "b", "c", "b", "b", "a"])]
    left, _ = await in_full_group(ticks, overflow="latest")
    assert left == [2, 4, 5]


async def test_keys_of_different_types_are_different():
    ticks = [{"key": key, "number": number} for number, key in enumerate([1, "1", 1.5, "1"])]
    left, _ = await in_full_group(ticks, overflow="latest")
    assert left == [0, 2, 3]


async def test_group_send_never_raises_channel_full_and_a_full_member_starves_nobody():
    layer = make(capacity=1)
    full, free = [await layer.new_channel() for _ in range(2)]
    for channel in (full, free):
        await layer.group_add("group", channel)
    for number in range(3):
        await layer.group_send("group", {"number": number})
        assert (await received(layer, free))["number"] == number
    assert (await received(layer, full))["number"] == 2


async def test_messages_expire():
    layer = make(expiry=0.2)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "old"})
    await asyncio.sleep(0.4)
    await layer.send(channel, {"type": "new"})
    assert (await received(layer, channel))["type"] == "new"
    assert await nothing(layer, channel)


async def test_memberships_expire_unless_renewed():
    layer = make(group_expiry=1)
    gone, renewed = [await layer.new_channel() for _ in range(2)]
    for channel in (gone, renewed):
        await layer.group_add("group", channel)
    await asyncio.sleep(0.7)
    await layer.group_add("group", renewed)
    await asyncio.sleep(0.7)
    await layer.group_send("group", {"type": "t"})
    assert (await received(layer, renewed))["type"] == "t"
    assert await nothing(layer, gone)


async def test_what_has_expired_is_swept_although_nobody_reads():
    layer = make(expiry=0.1)
    await layer.send("left.behind", {"type": "t"})
    await asyncio.sleep(1.2)
    await layer.send("another", {"type": "t"})
    assert layer._core.stats()["messages_queued"] == 1


# --- loops and threads


async def test_two_receivers_of_one_channel_get_one_message_each():
    layer = make()
    channel = await layer.new_channel()
    tasks = [asyncio.create_task(layer.receive(channel)) for _ in range(3)]
    await asyncio.sleep(0)
    for number in range(2):
        await layer.send(channel, {"number": number})
    done, pending = await asyncio.wait(tasks, timeout=0.3)
    assert sorted(task.result()["number"] for task in done) == [0, 1]
    for task in pending:
        task.cancel()


async def test_a_cancelled_receive_loses_nothing():
    layer = make()
    channel = await layer.new_channel()
    for number in range(200):
        task = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        await layer.send(channel, {"number": number})
        if number % 2:
            await asyncio.sleep(0)
        task.cancel()
        try:
            got = await task
        except asyncio.CancelledError:
            got = await received(layer, channel)
        assert got == {"number": number}


async def test_from_one_loop_to_another():
    layer = make()
    there, back = await layer.new_channel(), await layer.new_channel()

    async def echo():
        for _ in range(50):
            await layer.send(back, await layer.receive(there))

    thread = threading.Thread(target=lambda: asyncio.run(echo()))
    thread.start()
    for number in range(50):
        await layer.send(there, {"number": number})
        assert await received(layer, back) == {"number": number}
    await asyncio.to_thread(thread.join, PATIENCE)


async def test_async_to_sync_in_threads():
    """As synchronous views and signals do it: a new event loop for each call."""
    layer = make(capacity=1000)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)

    def work(first):
        for number in range(first, first + 50):
            async_to_sync(layer.group_send)("group", {"number": number})

    await asyncio.gather(*(asyncio.to_thread(work, first) for first in (0, 50, 100, 150)))
    numbers = [(await received(layer, channel))["number"] for _ in range(200)]
    assert sorted(numbers) == list(range(200))
    assert [number for number in numbers if number < 50] == list(range(50)), "each sender's messages keep their order"


async def test_async_to_sync_receive_in_a_thread():
    layer = make()
    got = asyncio.create_task(asyncio.to_thread(async_to_sync(layer.receive), "a"))
    await asyncio.sleep(0.05)
    await layer.send("a", {"type": "t"})
    assert await asyncio.wait_for(got, PATIENCE) == {"type": "t"}


# --- configuration


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"bus": "hub"}, "hub: is missing: bus 'hub' needs its path"),
        ({"bus": "hub", "hub": 5}, "hub: 5 is no path; write that of the hub's socket"),
        ({"bus": "kafka"}, "bus: 'kafka' is not known; write 'auto', 'local', 'hub', 'redis' or 'redis-core'"),
        ({"bus": "local", "hosts": ["redis://localhost"]}, "hosts: asks for Redis, and bus for 'local': leave hosts out"),
        ({"hosts": "redis://localhost"}, "hosts: is not a list, but a str"),
        ({"bus": "redis-core", "hosts": [{"cluster": [("a", 1)]}]}, "hosts: is a cluster, where bus 'redis-core' cannot work"),
        ({"on_disconnect": 5}, "on_disconnect: 5 is no type of a message; write one such as 'redis.disconnect'"),
        ({"buffer_limit": 0}, "buffer_limit: 0 is not a whole number from 1 on"),
        ({"buffer_time": "1s"}, "buffer_time: '1s' is not a number of seconds"),
        ({"random_prefix_length": -1}, "random_prefix_length: -1 is not a whole number from 0 on"),
        ({"capacity": 0}, "capacity: 0 is not a whole number from 1 on; write one such as 100"),
        ({"capacity": "9"}, "capacity: '9' is not a whole number"),
        ({"expiry": 0}, "expiry: 0 is not a number of seconds above 0"),
        ({"group_expiry": "a day"}, "group_expiry: 'a day' is not a number of seconds"),
        ({"overflow": "drop"}, "overflow: 'drop' is no policy; write 'drop-oldest', 'drop-newest', 'latest' or 'close'"),
        ({"overflow": {"a*": "x"}}, "overflow['a*']: 'x' is no policy"),
        ({"overflow": {5: "latest"}}, "overflow: 5 is no pattern; write a glob"),
        ({"channel_capacity": {"a*": 0}}, "channel_capacity['a*']: 0 is not a whole number from 1 on"),
        ({"channel_capacity": 5}, "channel_capacity: 5 is not a mapping"),
        ({"serializer_format": "pickle"}, "serializer_format: 'pickle' is not known; write 'msgpack' or 'json'"),
        ({"symmetric_encryption_keys": "secret"}, "symmetric_encryption_keys: is not a list; write [key]"),
        ({"prefix": b"asgi"}, "prefix: b'asgi' is not a string"),
        ({"mailbox_bytes": 0}, "mailbox_bytes: 0 is not a whole number from 1 on"),
    ],
)
async def test_what_is_wrong(config, said):
    with pytest.raises(SettingError) as error:
        make(**config)
    assert str(error.value).startswith(said)


async def test_a_secret_is_not_printed():
    with pytest.raises(SettingError) as error:
        make(symmetric_encryption_keys="the secret")
    assert "the secret" not in str(error.value)


async def test_channels_finds_it_by_its_name():
    script = (
        "from django.conf import settings\n"
        "layers = {'default': {'BACKEND': 'peneus.ChannelLayer', 'CONFIG': {'capacity': 7}}}\n"
        "settings.configure(CHANNEL_LAYERS=layers)\n"
        "from channels.layers import get_channel_layer\n"
        "print(type(get_channel_layer()).__module__, get_channel_layer().capacity)\n"
    )
    printed = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", script], text=True)
    assert printed.split() == ["peneus.layer", "7"]
