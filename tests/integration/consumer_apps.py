"""Channels consumers for the tests of how they are run; over SQLite at TEST_DATABASE, where that is set."""

import asyncio
import functools
import json
import os
import sys
import threading
import time

import django
from django.conf import settings

if not settings.configured:
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("TEST_DATABASE", ""),
        "CONN_MAX_AGE": json.loads(os.environ.get("TEST_CONN_MAX_AGE", "0")),
        "CONN_HEALTH_CHECKS": True,
    }
    settings.configure(
        CHANNEL_LAYERS={
            "default": {"BACKEND": "peneus.ChannelLayer"},
            "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
            "own": {"BACKEND": "tests.integration.consumer_apps.OwnLayer"},
        },
        DATABASES={"default": database} if "TEST_DATABASE" in os.environ else {},
        SECRET_KEY="test",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
    )
    django.setup()

from asgiref.sync import async_to_sync, sync_to_async
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.db import connection
from django.urls import path
from peneus import ChannelLayer

if "TEST_WRAPPED" in os.environ:  # as a tracing package does
    plain_call = AsyncConsumer.__call__

    @functools.wraps(plain_call)
    async def traced_call(self, scope, receive, send):
        print("traced", flush=True)
        await plain_call(self, scope, receive, send)

    AsyncConsumer.__call__ = traced_call


class OwnLayer(ChannelLayer):
    """Receives in its own way."""

    async def receive(self, channel):
        return {**await super().receive(channel), "seen": True}


def way() -> str:
    """How the consumer that asks is run, by the functions that await it."""
    frame = sys._getframe()
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return "channels" if "await_many_dispatch" in names else "inbox" if "with_inbox" in names else "thread"


def released() -> bool:
    return os.path.exists(os.environ["TEST_FLAG"])


class Way(AsyncWebsocketConsumer):
    """Answers each message with how it was run, by way of its channel."""

    async def receive(self, text_data=None, bytes_data=None):
        if self.channel_layer is None:
            await self.send(text_data=way())
            return
        await self.channel_layer.send(self.channel_name, {"type": "say.way", "by": way()})

    async def say_way(self, event):
        assert event["by"] == way()
        await self.send(text_data=way() + (" seen" if event.get("seen") else ""))


class WayByMemory(Way):
    channel_layer_alias = "memory"


class WayByOwnLayer(Way):
    channel_layer_alias = "own"


class WayWithoutLayer(Way):
    channel_layer_alias = "none"


class WithDispatch(Way):
    """Its own dispatch() sees every event."""

    def __init__(self):
        super().__init__()
        self.seen = []

    async def dispatch(self, message):
        self.seen.append(message["type"])
        await super().dispatch(message)

    async def say_way(self, event):
        await self.send(text_data=" ".join([way(), *self.seen]))


class WithCall(Way):
    """Its own __call__() comes first."""

    async def __call__(self, scope, receive, send):
        self.before = scope["path"]
        await super().__call__(scope, receive, send)

    async def say_way(self, event):
        await self.send(text_data=f"{way()} {self.before}")


class Ordered(AsyncWebsocketConsumer):
    """Takes its time with the first message, and then says in which order the others have come."""

    seen = ()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "wait":
            print("waiting", self.channel_name, flush=True)
            while not released():  # noqa: ASYNC110 - another process says so
                await asyncio.sleep(0.01)
            return
        await self.note(text_data)

    async def message(self, event):
        await self.note(event["text"])

    async def note(self, text):
        self.seen = (*self.seen, text)
        if text == "last":
            await self.send(text_data=" ".join(self.seen))


class Publish(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content):
        await self.channel_layer.send(content["channel"], {"type": "message", "text": content["text"]})
        await self.send_json(content)


class Json(AsyncJsonWebsocketConsumer):
    groups = ["json"]

    async def receive_json(self, content):
        await self.channel_layer.group_send("json", {"type": "tell", "content": content})

    async def tell(self, event):
        await self.send_json(event["content"])


class JsonInThread(JsonWebsocketConsumer):
    groups = ["json"]

    def receive_json(self, content):
        async_to_sync(self.channel_layer.group_send)("json", {"type": "tell", "content": content})

    def tell(self, event):
        self.send_json({**event["content"], "thread": threading.current_thread() is not threading.main_thread()})


class Failing(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        raise LookupError("what a handler raises")


class Page(AsyncHttpConsumer):
    async def handle(self, body):
        await self.channel_layer.send(self.channel_name, {"type": "answer", "body": body})
        await self.send_headers(headers=[(b"content-type", b"text/plain")])
        await self.send_body(b"", more_body=True)

    async def answer(self, event):
        await self.send_body(event["body"] + b" by " + way().encode())

    async def http_request(self, message):
        self.body = getattr(self, "body", []) + [message.get("body", b"")]
        if not message.get("more_body"):
            await self.handle(b"".join(self.body))


class Blocking(WebsocketConsumer):
    """Blocks its thread at "block" until TEST_FLAG is there; answers everything else."""

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "block":
            print("blocked", flush=True)
            while not released():
                time.sleep(0.01)
        self.send(text_data=f"{text_data} {threading.current_thread() is threading.main_thread()}")


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Leaving(AsyncWebsocketConsumer):
    """Says when Channels has done with it."""

    async def websocket_disconnect(self, message):
        try:
            await super().websocket_disconnect(message)
        finally:
            print("has left", flush=True)


def query():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


def state():
    """Of this thread's connection."""
    is_open = connection.connection is not None
    return {"open": is_open, "checked": connection.health_check_done, "errors": connection.errors_occurred}


def error():
    connection.errors_occurred = True


class Database(AsyncWebsocketConsumer):
    """Does what it is asked to and tells the state of the connection, of the thread of synchronous code, as it was before."""

    async def receive(self, text_data=None, bytes_data=None):
        before = await sync_to_async(state)()
        match text_data:
            case "query":
                await sync_to_async(query)()
            case "query here":
                query()
            case "query and close":
                await database_sync_to_async(query)()
            case "error":
                await sync_to_async(error)()
            case "fds":
                before = {"fds": _open_databases()}
            case "threads":
                before = {"threads": threading.active_count()}
        await self.send(text_data=json.dumps(before))


def _open_databases():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return links.count(os.environ["TEST_DATABASE"])


def wrapping_receive(application):
    async def wrapped(scope, receive, send):
        async def receive_on():
            return await receive()

        await application(scope, receive_on, send)

    return wrapped


def wrapping_send(application):
    async def wrapped(scope, receive, send):
        async def send_on(event):
            await send(event)

        await application(dict(scope), receive, send_on)

    return wrapped


def nested(application):
    """In a task of its own."""

    async def wrapped(scope, receive, send):
        await asyncio.create_task(application(scope, receive, send))

    return wrapped


routes = {
    "way": Way.as_asgi(),
    "memory": WayByMemory.as_asgi(),
    "own": WayByOwnLayer.as_asgi(),
    "none": WayWithoutLayer.as_asgi(),
    "dispatch": WithDispatch.as_asgi(),
    "call": WithCall.as_asgi(),
    "receive": wrapping_receive(Way.as_asgi()),
    "send": wrapping_send(Way.as_asgi()),
    "session": CookieMiddleware(SessionMiddleware(Way.as_asgi())),
    "nested": nested(Way.as_asgi()),
    "publish": Publish.as_asgi(),
    "ordered": Ordered.as_asgi(),
    "json": Json.as_asgi(),
    "json-in-thread": JsonInThread.as_asgi(),
    "failing": Failing.as_asgi(),
    "blocking": Blocking.as_asgi(),
    "leaving": Leaving.as_asgi(),
    "echo": Echo.as_asgi(),
    "database": Database.as_asgi(),
}
consumers = ProtocolTypeRouter(
    {"websocket": URLRouter([path(name, app) for name, app in routes.items()]), "http": Page.as_asgi()}
)


async def application(scope, receive, send):
    if scope["type"] != "lifespan":
        await consumers(scope, receive, send)
        return
    assert (await receive())["type"] == "lifespan.startup"
    if "TEST_QUERY_AT_STARTUP" in os.environ:
        await sync_to_async(query)()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
