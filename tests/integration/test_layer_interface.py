"""peneus.ChannelLayer beside the layers that it takes the place of: what they offer, it offers."""

import asyncio
import inspect
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from asgiref.sync import async_to_sync
from channels.layers import BaseChannelLayer, InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from peneus import ChannelLayer
from peneus.errors import SettingError
from peneus.layer import NEVER_CALLED

REPLACED = {
    "BaseChannelLayer": BaseChannelLayer(),
    "InMemoryChannelLayer": InMemoryChannelLayer(),
    "RedisChannelLayer": RedisChannelLayer(),
    "RedisPubSubChannelLayer": RedisPubSubChannelLayer(),
    "RedisPubSubLoopLayer": RedisPubSubLoopLayer(channel_layer=None),  # what the one before passes everything else to
}
# How channels_redis works inside, and what CONFIG has told it: nobody else reads or calls these.
INSIDES = {
    "brpop_timeout",
    "channel_layer",
    "hosts",
    "on_disconnect",
    "on_reconnect",
    "receive_buffer",
    "receive_clean_locks",
    "receive_cleaners",
    "receive_count",
    "receive_event_loop",
    "receive_lock",
    "receive_single",
    "ring_size",
    "wait_received",
}
CONSTRUCTORS = [BaseChannelLayer, InMemoryChannelLayer, RedisChannelLayer, RedisPubSubLoopLayer]


def public(layer):
    return {name for name in dir(layer) if not name.startswith("_")}


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [each.name for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


@pytest.mark.parametrize("name", REPLACED)
def test_everything_public_is_there(name):
    missing = public(REPLACED[name]) - public(ChannelLayer())
    assert missing <= INSIDES | set(NEVER_CALLED), missing - INSIDES - set(NEVER_CALLED)


@pytest.mark.parametrize("name", REPLACED)
def test_everything_is_of_the_same_kind(name):
    theirs, ours = REPLACED[name], ChannelLayer()
    for each in public(theirs) & public(ours):
        their, our = getattr(theirs, each), getattr(ours, each)
        if each in ("groups", "channels"):
            assert isinstance(their, Mapping) and isinstance(our, Mapping)
        else:
            assert callable(their) == callable(our), each
        assert inspect.iscoroutinefunction(their) == inspect.iscoroutinefunction(our), each
        if inspect.ismethod(their):
            assert parameters(our)[: len(parameters(their))] == parameters(their), each


@pytest.mark.parametrize("cls", CONSTRUCTORS)
def test_every_key_of_config_is_known(cls):
    assert set(parameters(cls)) <= {*parameters(ChannelLayer), "channel_layer"}


def test_what_is_called_when_all_is_done():
    """As Celery tasks and tests of channels_redis users do it; the layer goes on working."""
    layer = ChannelLayer()

    async def task():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for close in (layer.close, layer.close_pools):
            await layer.group_send("group", {"type": "t"})
            await close()
            assert await layer.receive(channel) == {"type": "t"}

    for _ in range(2):
        async_to_sync(task)()


def test_groups_and_channels():
    layer = ChannelLayer()

    async def main():
        assert layer.groups == {} and layer.channels == {} and layer.groups() == {} and layer.channels() == {}
        one, other = await layer.new_channel(), await layer.new_channel()
        for number in range(100):
            await layer.group_add(f"group.{number}", one)
        await layer.group_add("group.7", other)
        await layer.send(one, {"type": "t"})
        assert set(layer.channels) == {one, other}
        assert layer.channels[one]["queued"] == 1
        assert layer.groups == {f"group.{number}": {one, other} if number == 7 else {one} for number in range(100)}
        assert layer.groups()["group.7"]["members"] == 2 and set(layer.channels()) == {one, other}, "they were methods once"
        layer.groups["group.7"].clear()
        layer.channels.clear()
        assert other in layer.groups["group.7"] and other in layer.channels, "a copy"
        await layer.group_discard("group.7", one)
        await layer.group_discard("group.7", other)
        assert "group.7" not in layer.groups

    asyncio.run(main())


@pytest.mark.parametrize("name", NEVER_CALLED)
def test_a_subclass_with_a_method_that_is_never_called(name):
    def method(self, *given):
        raise NotImplementedError

    with pytest.raises(SettingError, match=rf"^Mine\.{name}: .*never calls it; .*"):
        type("Mine", (ChannelLayer,), {name: method})
    mixin = type("Mixin", (), {name: method})
    with pytest.raises(SettingError, match=name):
        type("Mine", (mixin, ChannelLayer), {})
    type("Other", (ChannelLayer,), {"send": method})


APPLICATION = """
import json, os
from django.conf import settings
settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": os.environ["BACKEND"]}, "none": {"BACKEND": "not.there"}})
import channels.consumer

async def application(scope, receive, send):
    raise NotImplementedError
"""
LAYERS = """
from peneus import ChannelLayer

class Mine(ChannelLayer):
    {method}
"""


@pytest.mark.parametrize(
    ("method", "code"), [("def serialize(self, message): raise NotImplementedError", 1), ("prefix_of_mine = 5", 0)]
)
def test_it_is_an_error_at_start(tmp_path, method, code):
    """Although nothing has imported the class: Channels does so with the first consumer."""
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "layers.py").write_text(LAYERS.format(method=method))
    script = "import peneus; s = peneus.Server('app:application', ['tcp:port=0:interface=127.0.0.1'], signal_handlers=False);"
    script += "s.ready_callable = s.stop; s.run()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "BACKEND": "layers.Mine"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == code, result.stderr
    if code:
        assert "SettingError: Mine.serialize: peneus.ChannelLayer never calls it" in result.stderr
