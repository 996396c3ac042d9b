"""An application for tests of large messages: zlib's work on them is done in slices.

A WebSocket sends an order as a JSON text: {"seed", "padding", "end"}. The application answers with messages "N:…" whose numbers
N count up: the first one says what it has read of the padding, the others are of sizes and contents that depend on seed; some of
them are sent by itself, alone or several at once, others to a group in which only this WebSocket is (relayed). After the last one
comes "N:done", or with "end" the close code 4000, by itself ("close") or relayed to the group ("relayed close"). `GET /` answers
with `peneus.stats()`; `GET /relay/SIZE` relays a text of SIZE bytes, and then "behind", to all WebSockets before.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from typing import Any

import peneus

layer = peneus.ChannelLayer()
SIZES = [0, 10, 300, 5000, 32 * 1024, 40_000, 100_000, 400_000]


def content(source: random.Random, size: int) -> str:
    """Text that compresses well, a little, or not at all."""
    kind = source.randrange(3)
    if kind == 0:
        return (f"{source.random()} a line like many others, " * (size // 20 + 1))[:size]
    if kind == 1:
        return source.randbytes(size // 2).hex()
    return "".join(map(chr, source.choices(range(0x4E00, 0x9F00), k=size // 3)))


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "http":
        if scope["path"].startswith("/relay/"):
            text = random.Random(1).randbytes(int(scope["path"][7:]) // 2).hex()
            await layer.group_send("all", {"type": "websocket.send", "text": text})
            await layer.group_send("all", {"type": "websocket.send", "text": "behind"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(peneus.stats()).encode()})
        return
    await receive()
    channel = await layer.new_channel()
    group = "only." + channel.replace("!", ".")
    await layer.group_add(group, channel)
    await layer.group_add("all", channel)
    await send({"type": "websocket.accept"})
    number = 0
    while (event := await receive())["type"] == "websocket.receive":
        number = await obey(json.loads(event["text"]), number, group, send)


async def obey(order: dict[str, Any], number: int, group: str, send: Any) -> int:
    source = random.Random(order["seed"])
    texts = [f"{number}:read {len(order['padding'])} {zlib.crc32(order['padding'].encode())}"]
    texts += [f"{number + n}:" + content(source, source.choice(SIZES)) for n in range(1, source.randrange(2, 12))]
    if order["end"] is None:
        texts.append(f"{number + len(texts)}:done")
    at = 0
    while at < len(texts):
        events = [{"type": "websocket.send", "text": text} for text in texts[at : at + source.randrange(1, 4)]]
        at += len(events)
        how = source.randrange(3)
        if how == 0:
            await asyncio.gather(*[send(event) for event in events])
        elif how == 1:
            for event in events:
                await send(event)
        else:
            for event in events:
                await layer.group_send(group, event)
    close = {"type": "websocket.close", "code": 4000}
    if order["end"] == "close":
        await send(close)
    elif order["end"] == "relayed close":
        await layer.group_send(group, close)
    return number + len(texts)
