"""What is under churn: the article's proxy, and a plain ASGI application that does the same without Channels' consumers."""

import asyncio
import json

from channels.layers import get_channel_layer

from tests.leaks.programs import frame
from tests.leaks.programs.proxy import Proxy


async def plain(scope, receive, send) -> None:
    """Joins what its client names, and never leaves a group itself."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await receive()
    await send({"type": "websocket.accept"})

    async def forward() -> None:
        while True:
            message = await layer.receive(channel)
            await send({"type": "websocket.send", "text": json.dumps({"number": message["number"]})})

    forwarding = asyncio.ensure_future(forward())
    try:
        while (event := await receive())["type"] != "websocket.disconnect":
            for group in json.loads(event["text"])["subscribe"]:
                await layer.group_add(group, channel)
            await send({"type": "websocket.send", "text": event["text"]})
    finally:
        forwarding.cancel()
        await asyncio.wait([forwarding])
        if not forwarding.cancelled():
            forwarding.exception()  # send() raised OSError: the client had left


proxy = Proxy.as_asgi()


async def route(scope, receive, send) -> None:
    await (plain if scope["path"] == "/plain" else proxy)(scope, receive, send)


application = frame.application(route)
