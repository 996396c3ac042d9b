"""The server's side of tests/leaks/turns.py: an application for every scenario, and at /measure what the process holds.

TURNS_LAYERS is CHANNEL_LAYERS as JSON: the layers that there are, by name; a WebSocket's path is `/SCENARIO/LAYER`.
"""

import asyncio
import json
import os
from contextlib import suppress

import django
import peneus
from asgiref.sync import async_to_sync, sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from django.conf import settings

from tests.leaks.programs.holding import held

settings.configure(CHANNEL_LAYERS=json.loads(os.environ["TURNS_LAYERS"]), SECRET_KEY="turns", USE_TZ=True)
django.setup()

TEXT = "0123456789abcdef" * 40  # more than what is not compressed for being short


class Refused(Exception):
    """What applications raise here."""


async def answer(send, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive) -> bytes | None:
    """None where the client has left."""
    body = b""
    while (event := await receive())["type"] == "http.request":
        body += event["body"]
        if not event["more_body"]:
            return body
    return None


async def stream(receive, send) -> None:
    body = await body_of(receive)
    if body is None:
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-streamed", b"yes")]})
    for start in range(0, len(body), 4096):
        await send({"type": "http.response.body", "body": body[start : start + 4096], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def publish() -> bytes:
    """In a worker thread, whose channel is its connection's too."""
    layer = channel_layers["default"]
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("threads", channel)
    async_to_sync(layer.group_send)("everybody", {"type": "websocket.send", "text": TEXT})
    async_to_sync(layer.group_send)("threads", {"type": "own", "text": TEXT})
    return str(async_to_sync(layer.receive)(channel)["text"]).encode()


async def files(send) -> None:
    """Every extension, used well and badly."""
    await send({"type": "http.response.early_hint", "links": [b"</a>"]})
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    with open(__file__, "rb") as file:  # noqa: ASYNC230
        for wrong in ({"type": "http.response.pathsend", "path": "/none"}, {"type": "http.response.zerocopysend", "file": "x"}):
            with suppress(OSError, TypeError):
                await send(wrong)
        await send({"type": "http.response.zerocopysend", "file": file, "count": 100, "more_body": True})
        await send({"type": "http.response.body", "body": b"-", "more_body": True})
        await send({"type": "http.response.zerocopysend", "file": file})
    for wrong in ([(b"content-length", b"1")], 3):
        with suppress(ValueError):
            await send({"type": "http.response.trailers", "headers": wrong})
    await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})


async def http(scope, receive, send) -> None:
    path = scope["path"]
    if path == "/measure":
        await answer(send, json.dumps(held()).encode())
    elif path == "/stats":
        await answer(send, json.dumps(peneus.stats()).encode())
    elif path == "/hello":
        await answer(send, b"hello")
    elif path == "/stream":
        await stream(receive, send)
    elif path == "/raise":
        raise Refused(path)
    elif path == "/wrong":
        await send({"type": "http.response.start", "status": "none", "headers": []})
    elif path == "/files":
        await files(send)
    elif path == "/thread":
        await answer(send, await sync_to_async(publish)())
    elif path == "/left":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:  # until send() says that the client has left
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
            await asyncio.sleep(0)


async def groups(layer, send) -> None:
    channel = await layer.new_channel()
    for group in ("one", "two"):
        await layer.group_add(group, channel)
    await layer.send(channel, {"type": "own", "text": TEXT})
    await layer.receive(channel)
    own = f"own.{channel[-12:].replace('!', '.')}"
    await layer.group_add(own, channel)
    await layer.group_send(own, {"type": "all", "text": TEXT})
    while (await layer.receive(channel))["type"] != "all":
        pass
    await layer.group_discard(own, channel)
    await layer.group_discard("one", channel)
    await send({"type": "websocket.close", "code": 4000})  # in group "two": the server ends that


async def relay(layer, send, receive) -> None:
    channel = await layer.new_channel()
    group = f"relay.{channel[-12:].replace('!', '.')}"
    await layer.group_add("everybody", channel)
    await layer.group_add(group, channel)
    await layer.group_send(group, {"type": "websocket.send", "text": TEXT})
    await layer.group_send(group, {"type": "websocket.send", "bytes": b"short"})
    while (await receive())["type"] != "websocket.disconnect":
        await layer.group_send("everybody", {"type": "websocket.send", "text": "to all"})


async def swallow(receive, send, layer) -> None:
    """Has to be killed: it waits for a message that never comes."""
    channel = await layer.new_channel()
    await layer.group_add("stuck", channel)
    await send({"type": "websocket.accept"})
    await layer.receive(channel)


class Consumer(AsyncWebsocketConsumer):
    groups = ("consumers",)

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.send(self.channel_name, {"type": "told", "text": text_data})

    async def told(self, event):
        await self.send(event["text"])


consumer = Consumer.as_asgi()


async def websocket(scope, receive, send) -> None:
    _, scenario, *layers = scope["path"].split("/")
    layer = channel_layers[layers[0]] if layers else None
    if scenario == "consumer":
        await consumer(scope, receive, send)
        return
    await receive()
    if scenario == "reject":
        await send({"type": "websocket.close"})
        return
    if scenario == "stuck":
        await swallow(receive, send, layer)
        return
    if scenario == "raise":
        raise Refused(scenario)
    await send({"type": "websocket.accept"})
    if scenario == "groups":
        await groups(layer, send)
    elif scenario == "relay":
        await relay(layer, send, receive)
    elif scenario == "break":
        raise Refused(scenario)
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})


async def application(scope, receive, send) -> None:
    await {"http": http, "websocket": websocket}[scope["type"]](scope, receive, send)
