"""Who made a channel, as layer.channels says it."""

import asyncio
import gc
import inspect
import weakref

import channels.consumer
import peneus
import pytest
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from peneus import origin

pytestmark = pytest.mark.asyncio


@pytest.fixture
def layer(monkeypatch):
    """The default layer of Channels, without a database behind it."""

    async def nothing():
        pass

    layer = peneus.ChannelLayer()
    monkeypatch.setattr(channels.consumer, "aclose_old_connections", nothing)
    monkeypatch.setattr(channel_layers, "backends", {"default": layer}, raising=False)
    return layer


class Prices(AsyncWebsocketConsumer):
    async def connect(self):
        self.own = await self.channel_layer.new_channel("own")
        await super().connect()


class Gaps(AsyncConsumer):
    async def channel_layer_gap(self, event):
        pass


async def run(consumer):
    """Until it has connected."""
    events = [{"type": "websocket.connect"}]

    class Done(Exception):
        pass

    async def receive():
        if events:
            return events.pop()
        raise Done

    async def send(event):
        raise Done

    with pytest.raises(Done):
        await consumer({"type": "websocket"}, receive, send)


async def test_a_consumer(layer):
    await run(Prices())
    found = {name.partition(".")[0]: channel for name, channel in layer.channels.items()}
    assert {channel["consumer"] for channel in found.values()} == {f"{__name__}.Prices"}
    file, _, line = found["specific"]["made_at"].rpartition(":")
    assert file == __file__
    first = inspect.getsourcelines(Prices)[1]
    assert first <= int(line) <= first + 1, "the consumer's class: Channels made the channel for it"
    lines, first = inspect.getsourcelines(Prices.connect)
    assert found["own"]["made_at"] == f"{__file__}:{first + 1}"


async def test_a_function(layer):
    async def application():
        return await layer.new_channel()

    (channel,) = [layer.channels[name] for name in [await application()]]
    assert channel["consumer"] == f"{__name__}.application"
    assert channel["made_at"] == f"{__file__}:{inspect.getsourcelines(application)[1] + 1}"


async def test_who_wants_to_hear_of_gaps(layer):
    told = []
    new_channel = layer._core.new_channel

    class Core:
        def __getattr__(self, name):
            return getattr(core, name)

        def new_channel(self, channel, capacity, gaps):
            told.append(gaps)
            return new_channel(channel, capacity, gaps)

    core, layer._core = layer._core, Core()
    with pytest.raises(Exception):  # noqa: B017 - it has no handler for the event
        await run(Gaps())
    await run(Prices())
    layer._core = core
    assert told == [True, False, False]


async def test_those_that_are_gone_are_forgotten(layer):
    from peneus import layer as module

    for _ in range(3 * module.FIRST_PRUNE):
        await layer.new_channel()
        if len(layer._origins) % 100 == 0:
            layer._core.flush()
    assert len(layer._origins) <= 2 * module.FIRST_PRUNE


async def test_consumers_that_are_made_at_run_time_are_garbage_later(layer):
    """As test suites have them: classes in functions, which signals and registries refer to weakly."""
    made = []

    async def once():
        class Local(AsyncWebsocketConsumer):
            async def connect(self):
                self.own = await self.channel_layer.new_channel("own")
                await super().connect()

        await run(Local())
        made.append(weakref.ref(Local))

    for _ in range(10):
        await once()
    await asyncio.sleep(0.01)  # the tasks that Channels has cancelled
    gc.collect()
    assert [reference for reference in made if reference() is not None] == []
    names = [channel["consumer"] for channel in layer.channels.values()]
    assert len(names) == 20 and set(names) == {f"{__name__}.{once.__qualname__}.<locals>.Local"}


async def test_functions_that_are_made_at_run_time_are_garbage_later(layer):
    codes = []
    for number in range(10):
        scope = {}
        exec(f"async def function_{number}(layer):\n    return await layer.new_channel()", scope)
        function = scope[f"function_{number}"]
        codes.append(weakref.ref(function.__code__))
        channel = await function(layer)
        assert layer.channels[channel]["consumer"].endswith(f"function_{number}")
        del function
        scope.clear()
    gc.collect()
    assert [reference for reference in codes if reference() is not None] == []


async def test_what_is_remembered_has_a_bound(layer, monkeypatch):
    monkeypatch.setattr(origin, "REMEMBERED", 10)
    kept = []
    for number in range(30):
        consumer = type(f"Consumer{number}", (AsyncWebsocketConsumer,), {})
        kept.append(consumer)
        await run(consumer())
        scope = {}
        exec(f"async def function_{number}(layer):\n    return await layer.new_channel()", scope)
        kept.append(scope[f"function_{number}"])
        await kept[-1](layer)
    assert len(origin._known) <= 10
    assert all(len(codes) <= 10 for codes in origin._known.values())
