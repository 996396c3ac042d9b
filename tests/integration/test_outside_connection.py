"""What outlives the connection that starts it: its channels, and those of other threads."""

import asyncio
import contextvars
import inspect
import logging
import sys
import threading

import peneus
import pytest
from peneus import ChannelLayer

from tests.integration.core_harness import CoreServer, eventually

WARNINGS = "peneus.layer"


class Site:
    """A WebSocket application whose first client starts `once`; the others only stay."""

    def __init__(self, once):
        self.once = once
        self.started = threading.Event()
        self.layer = ChannelLayer()
        self.tasks = []
        self.joined = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        if not self.started.is_set():
            await self.once(self)
            self.started.set()
        await receive()

    def owners(self):
        return {name.partition(".")[0]: channel["owner"] for name, channel in self.layer.channels.items()}


def come_and_go(site, server):
    with server.websocket():
        assert site.started.wait(30)
    server.idle()


def listener_of(site, got, may_begin=None):
    async def listen():
        if may_begin is not None:
            await may_begin.wait()
        channel = await site.layer.new_channel("listener")
        await site.layer.group_add("news", channel)
        site.joined.set()
        while True:
            got.append(await site.layer.receive(channel))

    return listen


def line_in(listen):
    lines, first = inspect.getsourcelines(listen)
    return first + next(number for number, line in enumerate(lines) if "new_channel" in line)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.name == WARNINGS and record.levelno == logging.WARNING]


def test_a_listener_of_the_first_client_is_deaf_and_the_log_says_so(caplog):
    listens = []

    async def once(site):
        listens.append(listener_of(site, []))
        site.tasks.append(asyncio.create_task(listens[0]()))
        await site.joined.wait()

    site = Site(once)
    with CoreServer(site) as server:
        come_and_go(site, server)
        (text,) = eventually(lambda: warnings_in(caplog), "a warning")
        server.loop.call_soon_threadsafe(site.tasks[0].cancel)
    assert "receive() waits for ever: channel listener." in text
    assert f"made at {__file__}:{line_in(listens[0])}, has ended with the connection" in text
    assert "peneus.outside_connection()" in text


def test_one_that_makes_its_channel_later(caplog):
    listens, events = [], []

    async def once(site):
        events.append(asyncio.Event())
        listens.append(listener_of(site, [], events[0]))
        site.tasks.append(asyncio.create_task(listens[0]()))

    site = Site(once)
    with CoreServer(site) as server:
        come_and_go(site, server)
        server.loop.call_soon_threadsafe(events[0].set)
        text = eventually(lambda: warnings_in(caplog), "a warning")[0]
        server.loop.call_soon_threadsafe(site.tasks[0].cancel)
    assert f"gets no messages: it was made at {__file__}:{line_in(listens[0])} when the connection" in text
    assert "peneus.outside_connection()" in text


def test_who_stops_its_listeners_is_not_warned(caplog):
    async def once(site):
        task = asyncio.create_task(listener_of(site, [])())
        asyncio.current_task().add_done_callback(lambda done: task.cancel())
        await site.joined.wait()

    site = Site(once)
    with CoreServer(site) as server:
        come_and_go(site, server)
        eventually(lambda: site.layer.channels == {}, "no channel")
        come_and_go(site, server)  # what was told by then has been looked at
    assert warnings_in(caplog) == []


def test_outside_connection(caplog):
    got = []

    async def once(site):
        with peneus.outside_connection():
            site.tasks.append(asyncio.create_task(listener_of(site, got)()))
            await site.layer.new_channel("outside")
        await site.layer.new_channel("inside")
        await site.joined.wait()
        owners = site.owners()
        assert (owners["listener"], owners["outside"]) == (None, None)
        assert owners["inside"] is not None

    site = Site(once)
    with CoreServer(site) as server:
        come_and_go(site, server)
        asyncio.run(site.layer.group_send("news", {"type": "t"}))
        assert eventually(lambda: got, "a message") == [{"type": "t"}]
        server.loop.call_soon_threadsafe(site.tasks[0].cancel)
    assert server.errors == [] and warnings_in(caplog) == []


def test_channels_of_other_threads():
    """As docs/channel-layer.md has it: a thread belongs to the connection when it has its context."""

    def make(site, name):
        asyncio.run(site.layer.new_channel(name))

    async def once(site):
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(make, site, "to_thread")
        await loop.run_in_executor(None, make, site, "executor")
        await loop.run_in_executor(None, contextvars.copy_context().run, make, site, "executor_with_context")
        for name, call in (("thread", make), ("thread_with_context", contextvars.copy_context().run)):
            arguments = (site, name) if call is make else (make, site, name)
            thread = threading.Thread(target=call, args=arguments)
            thread.start()
            await asyncio.to_thread(thread.join)
        owned = {name for name, owner in site.owners().items() if owner is not None}
        inherits = {"thread"} if getattr(sys.flags, "thread_inherit_context", False) else set()
        assert owned == {"to_thread", "executor_with_context", "thread_with_context"} | inherits

    site = Site(once)
    with CoreServer(site) as server:
        come_and_go(site, server)
    assert server.errors == []


@pytest.mark.asyncio
async def test_without_a_server():
    with peneus.outside_connection():
        await ChannelLayer().new_channel()
