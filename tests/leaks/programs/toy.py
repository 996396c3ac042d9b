"""The article's toy: two channels in one group, and only one of them is ever read."""

import asyncio
import json

from channels.layers import get_channel_layer

from tests.leaks.programs import frame


async def toy(scope, receive, send) -> None:
    layer = get_channel_layer()
    await layer.group_add("prices", await layer.new_channel())  # abandoned at once
    channel = await layer.new_channel()
    await layer.group_add("prices", channel)
    await receive()
    await send({"type": "websocket.accept"})

    async def forward() -> None:
        while True:
            message = await layer.receive(channel)
            await send({"type": "websocket.send", "text": json.dumps({"number": message["number"]})})

    forwarding = asyncio.ensure_future(forward())
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": "{}"})
    forwarding.cancel()
    await asyncio.wait([forwarding])


application = frame.application(toy)
