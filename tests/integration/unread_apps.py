"""An application that does not read what its clients send until `GET /go`.

A WebSocket `/HOW/GROUP` joins GROUP. With HOW "open" it accepts and sends "joined" first; with "early" it accepts after /go.
Then it reads until the end. `POST /upload/GROUP` joins GROUP and reads its body after /go. `GET /log` answers with
`peneus.stats()` and with what each application had read when it ended: the number of messages and the close code; of an upload
the number of bytes, and 0 where it was complete.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import peneus

layer = peneus.ChannelLayer()
go = asyncio.Event()
log: list[tuple[int, int | None]] = []


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    how, _, group = scope["path"].strip("/").partition("/")
    if how in ("go", "log"):
        if how == "go":
            go.set()
        await answer(send, json.dumps({"log": log, "stats": peneus.stats()}).encode())
        return
    if scope["type"] == "websocket":
        await receive()
    await layer.group_add(group, await layer.new_channel())
    if how == "upload":
        await upload(receive, send)
    else:
        await socket(how, receive, send)


async def socket(how: str, receive: Any, send: Any) -> None:
    if how == "open":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "joined"})
    await go.wait()
    if how == "early":
        await send({"type": "websocket.accept"})
    count = 0
    while (event := await receive())["type"] == "websocket.receive":
        count += 1
    log.append((count, event["code"]))


async def upload(receive: Any, send: Any) -> None:
    await go.wait()
    count, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            log.append((count, None))
            return
        count += len(event["body"])
        more = event["more_body"]
    log.append((count, 0))
    await answer(send, b"")


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
