"""What every program here shares: settings from the environment, and beside its WebSockets an HTTP endpoint in the same
process, which publishes to a group and measures what the process holds.

LEAKS_LAYER is the channel layer's BACKEND, LEAKS_CONFIG its CONFIG as JSON.
"""

import asyncio
import json
import os
from collections import Counter
from urllib.parse import parse_qsl

import django
from channels.layers import get_channel_layer
from django.conf import settings

from tests.leaks.programs.measuring import measure

settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": os.environ["LEAKS_LAYER"],
            "CONFIG": json.loads(os.environ.get("LEAKS_CONFIG", "{}")),
        }
    },
    USE_TZ=True,
)
django.setup()

# So many messages are sent before the probe must have got the last of them: less than any mailbox holds.
BATCH = 50

# What a program counts about itself; the harness reads it by /counts.
counts: Counter[str] = Counter()


async def settle(layer) -> None:
    """Waits until the bus of Peneus's layer has done what was asked of it: channels_redis waits for that in each call."""
    if hasattr(layer, "settled"):
        await layer.settled()


async def publish(group: str, count: int, size: int, pause: float) -> None:
    """Sends count messages of size bytes to group, as fast as a channel of its own gets them, or every pause seconds."""
    layer = get_channel_layer()
    probe = await layer.new_channel()
    await layer.group_add(group, probe)
    data = "x" * size
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count) - 1
        for number in range(first, last + 1):
            await layer.group_send(group, {"type": "notification", "number": number, "data": data})
            if pause:
                await asyncio.sleep(pause)
        while (await layer.receive(probe))["number"] != last:
            pass
        await settle(layer)  # the probe gets its messages without the bus, which may still hold all of them
        await asyncio.sleep(0)
    await layer.group_discard(group, probe)
    # A cancelled receive() is what makes channels_redis.pubsub forget a channel.
    pending = asyncio.ensure_future(layer.receive(probe))
    await asyncio.sleep(0.01)
    pending.cancel()
    await asyncio.wait([pending])


async def answer(path: str, query: dict[str, str]) -> dict[str, object]:
    if path == "/publish":
        await publish(query["group"], int(query["count"]), int(query.get("size", "1024")), float(query.get("pause", "0")))
        return {}
    if path == "/measure":
        await settle(get_channel_layer())  # the subscriptions of a connection that has just ended
        return measure()
    if path == "/counts":
        return dict(counts)
    raise ValueError(f"no such path: {path}")


async def control(scope, receive, send) -> None:
    query = dict(parse_qsl(scope["query_string"].decode()))
    body = json.dumps(await answer(scope["path"], query)).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def application(websocket):
    """The ASGI application: websocket for WebSockets, control for HTTP."""

    async def run(scope, receive, send) -> None:
        if scope["type"] == "http":
            await control(scope, receive, send)
        elif scope["type"] == "websocket":
            counts["started"] += 1
            try:
                await websocket(scope, receive, send)
            finally:
                counts["ended"] += 1
        else:
            raise ValueError(f"no {scope['type']} here")

    return run
