"""An application whose prices are relayed: each WebSocket joins the groups in its path, and HTTP says what to publish.

`/GROUP,GROUP?late` joins before it accepts, after a wait. A text "sleep S" blocks the event loop, "between…" sends and relays by
turns, "pid" is answered with the process, "task" with the next message of the channel.
`GET /publish?group=G&count=N&size=B` sends from a thread; `GET /stats` answers with what the layer and the server counted.
RELAY_LAYER in the environment is more of the layer's CONFIG, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import Any
from urllib.parse import parse_qs

import peneus
from asgiref.sync import async_to_sync

POLICIES = {"newest*": "drop-newest", "latest*": "latest", "close*": "close", "*": "drop-oldest"}
layer = peneus.ChannelLayer(overflow=POLICIES, **json.loads(os.environ.get("RELAY_LAYER", "{}")))


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await socket(scope, receive, send)
    elif scope["type"] == "http":
        await answer(scope, send)


async def socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    channel = await layer.new_channel()
    query = scope["query_string"].decode()
    if query == "late":
        await join(scope, channel)
        await layer.send(channel, {"type": "websocket.send", "text": "before"})
        await asyncio.sleep(0.1)
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "websocket.accept"})
        await join(scope, channel)
    await send({"type": "websocket.send", "text": "joined"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        if event["text"].startswith("sleep "):
            await send({"type": "websocket.send", "text": "sleeping"})
            await asyncio.sleep(0)
            time.sleep(float(event["text"].split()[1]))  # noqa: ASYNC251  the fault that is tested
        elif event["text"].startswith("between"):
            more = event["text"].removeprefix("between")
            for number in range(20):
                await send({"type": "websocket.send", "text": f"own {number}{more}"})
                await layer.group_send(groups(scope)[0], {"type": "websocket.send", "text": f"relayed {number}{more}"})
        elif event["text"] == "pid":
            await send({"type": "websocket.send", "text": str(os.getpid())})
        elif event["text"] == "task":
            message = await asyncio.wait_for(layer.receive(channel), 10)
            await send({"type": "websocket.send", "text": json.dumps(message)})


def groups(scope: dict[str, Any]) -> list[str]:
    return scope["path"].strip("/").split(",")


async def join(scope: dict[str, Any], channel: str) -> None:
    for group in groups(scope):
        await layer.group_add(group, channel)


def publish(group: str, count: int, size: int, kind: str) -> None:
    for number in range(count):
        text = f"{number} ".ljust(size, "x")
        message: dict[str, Any] = {"type": "websocket.send", "text": text, "key": str(number % 3)}
        if kind == "bytes":
            message = {"type": "websocket.send", "bytes": text.encode()}
        elif kind == "close":
            message = {"type": "websocket.close", "code": 4000, "reason": "over"}
        elif kind == "handler":
            message = {"type": "tick", "number": number}
        async_to_sync(layer.group_send)(group, message)


async def answer(scope: dict[str, Any], send: Any) -> None:
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    body = b"{}"
    if scope["path"] == "/publish":
        arguments = (query["group"], int(query.get("count", 1)), int(query.get("size", 1)), query.get("kind", "text"))
        delay = float(query.get("delay", 0))
        threading.Timer(delay, publish, arguments).start()
    elif scope["path"] == "/pid":
        body = json.dumps(os.getpid()).encode()
    else:
        body = json.dumps({"stats": peneus.stats(), "groups": layer.group_details()}, default=str).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
