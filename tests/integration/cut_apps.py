"""An application whose responses and messages end before their slow client has read them.

`GET /HOW/MARK` sends pattern(MARK), which stays queued because the client does not read. When `GET /go` arrives, the
response ends as HOW says: "whole", "raises", "returns" (incomplete), "short" (of its Content-Length), "waits" (never).
"file" sends the file that FILE in the environment names. A WebSocket `/HOW/MARK` sends pattern(MARK) as one message,
and ends as HOW says: "raises", "returns", "closes", "waits"; "echo" answers each message with itself; "join" joins the
group MARK. `GET /publish/GROUP?SIZE,SIZE…` sends a relayed message of each size to GROUP; each begins with its number.
`GET /stats` answers with `peneus.stats()`.
"""

from __future__ import annotations

import asyncio
import json
import os
from array import array
from typing import Any

import peneus

layer = peneus.ChannelLayer(overflow={"newest": "drop-newest", "latest": "latest", "close": "close"})
SIZE = 3_000_000  # more than the kernel's buffers, FILL_LIMIT and the send window together
go = asyncio.Event()


def pattern(mark: int, size: int = SIZE) -> bytes:
    """Bytes that identify their response and their position: mark and word index alternate, 4 bytes each."""
    count = (size + 7) // 8
    words = array("I", bytes(8 * count))
    words[0::2] = array("I", [mark]) * count
    words[1::2] = array("I", range(count))
    return words.tobytes()[:size]


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise NotImplementedError
    how, _, mark = scope["path"].strip("/").partition("/")
    if how in ("go", "publish", "stats"):
        if how == "go":
            go.set()
        elif how == "publish":
            await publish(mark, [int(size) for size in scope["query_string"].split(b",")])
        body = json.dumps(peneus.stats()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
    elif scope["type"] == "websocket":
        await socket(how, mark, receive, send)
    else:
        await respond(how, int(mark), receive, send)


async def respond(how: str, mark: int, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"%d" % (SIZE + 1))] if how == "short" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if how == "whole":
        await send({"type": "http.response.body", "body": pattern(mark)})
        return
    if how == "file":
        await send({"type": "http.response.pathsend", "path": os.environ["FILE"]})
        return
    begun = asyncio.ensure_future(send({"type": "http.response.body", "body": pattern(mark), "more_body": True}))
    await go.wait()
    begun.add_done_callback(asyncio.Future.exception)  # expected to fail: the client does not read it
    await end(how)
    if how == "short":
        await send({"type": "http.response.body"})


async def publish(group: str, sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        text = f"{number} ".ljust(size, "x")
        await layer.group_send(group, {"type": "websocket.send", "text": text, "key": str(number % 3)})


async def socket(how: str, mark: str, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    if how == "join":
        await layer.group_add(mark, await layer.new_channel())
        await send({"type": "websocket.send", "text": "joined"})
    if how in ("echo", "join"):
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": event["bytes"]})
        return
    begun = asyncio.ensure_future(send({"type": "websocket.send", "bytes": pattern(int(mark))}))
    await go.wait()
    begun.add_done_callback(asyncio.Future.exception)
    await end(how)
    if how == "closes":
        await send({"type": "websocket.close", "code": 4001})


async def end(how: str) -> None:
    if how == "raises":
        raise ValueError("in the middle")
    if how == "waits":
        await asyncio.Event().wait()
