"""A WebSocket that says its channel's name, joins nothing, and takes its time to end. FOREIGN_LAYER: the CONFIG of its layer."""

import asyncio
import json
import os

import peneus

layer = peneus.ChannelLayer(**json.loads(os.environ["FOREIGN_LAYER"]))


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    channel = await layer.new_channel()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": channel})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    await asyncio.sleep(3)
