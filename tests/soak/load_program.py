"""What is under load: WebSockets that are in the groups of their path before they are accepted, and what a text makes it do.

At /publish a text is published to the group "prices", filled up to LOAD_SIZE bytes. At /control "compute" starts a Python thread
that computes all the time, "rest" stops it; "flood N" publishes N messages to each group but "prices"; each is answered with what
the layer and the server have counted, as JSON. LOAD_HUB in the environment is the hub of the layer.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Any

import peneus

SIZE = int(os.environ.get("LOAD_SIZE", "256"))
hub = os.environ.get("LOAD_HUB")
layer = peneus.ChannelLayer(**({"hub": hub} if hub else {}))
resting = threading.Event()


def compute() -> None:
    while not resting.is_set():
        sum(range(1000))


async def flood(count: int) -> None:
    groups = [group for group in layer.groups if group != "prices"]
    for _ in range(count):
        for group in groups:
            await layer.group_send(group, {"type": "websocket.send", "text": "x" * SIZE})
        await asyncio.sleep(0.001)


async def obey(text: str) -> str:
    if text == "compute":
        resting.clear()
        threading.Thread(target=compute, daemon=True).start()
    elif text == "rest":
        resting.set()
    elif text.startswith("flood "):
        await flood(int(text.split()[1]))
    return json.dumps({"stats": peneus.stats(), "groups": layer.group_details()}, default=str)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    path = scope["path"].strip("/")
    if path not in ("publish", "control"):
        channel = await layer.new_channel()
        for group in path.split(","):
            await layer.group_add(group, channel)
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if path == "publish":
            await layer.group_send("prices", {"type": "websocket.send", "text": event["text"].ljust(SIZE, "x")})
        elif path == "control":
            await send({"type": "websocket.send", "text": await obey(event["text"])})
