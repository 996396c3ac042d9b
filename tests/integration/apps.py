"""Applications for the black-box tests of the protocols, importable by the server's process."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers "hello" without reading the body."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the whole body."""
    assert scope["type"] == "http"
    body = b""
    while True:
        event = await receive()
        body += event["body"]
        if not event["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def resident_kib() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


async def counter(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Counts the bytes of the body; answers with them and with the KiB by which the process was ever larger than before."""
    assert scope["type"] == "http"
    before, most, count, events = resident_kib(), 0, 0, 0
    while True:
        event = await receive()
        count += len(event["body"])
        events += 1
        if events % 64 == 0:
            most = max(most, resident_kib() - before)
        if not event["more_body"]:
            break
    body = b"%d %d" % (count, most)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def sockets(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A WebSocket that echoes. /silent never accepts; "close" is answered by a close with 4001, "raise" by an exception, and
    after a close by the client "code reason" stands in the answer to GET."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": " ".join(seen).encode()})
        return
    assert scope["type"] == "websocket"
    await receive()
    if scope["path"] != "/silent":
        await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            seen[:] = [str(event["code"]), event.get("reason") or ""]
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "über"})
        elif event.get("text") == "raise":
            raise ValueError("asked for")
        else:
            await send({"type": "websocket.send", **{name: event.get(name) for name in ("text", "bytes")}})


seen: list[str] = []
