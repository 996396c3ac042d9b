"""What the servers run: it remembers each request, and GET /control/seen tells and forgets them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

seen: list[dict[str, Any]] = []
open_requests = 0


def _text(value: bytes) -> str:
    return value.decode("latin-1").encode("unicode_escape").decode()


def _describe(scope: dict[str, Any]) -> str:
    target = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    host = "" if hosts == [b"example"] else f" host={_text(b' and '.join(hosts)) if hosts else 'none'}"
    return f"{scope.get('method', 'WEBSOCKET')} {_text(target)}{host}"


async def _answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def _tell(send: Any) -> None:
    for _ in range(100):
        if open_requests == 0:
            break
        await asyncio.sleep(0.005)
    told = [one["request"] + (one["rest"] or " cut") for one in seen]
    seen.clear()
    await _answer(send, json.dumps(told).encode())


async def _http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global open_requests
    path = scope["path"]
    if path == "/control/seen":
        return await _tell(send)
    if path == "/second":
        return await _answer(send, b"second")
    if path == "/innocent":
        return await _answer(send, b"innocent")
    one: dict[str, Any] = {"request": _describe(scope), "rest": ""}
    seen.append(one)
    body = b""
    open_requests += 1
    try:
        while True:
            event = await receive()
            if event["type"] != "http.request":
                return None
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        one["rest"] = f' "{_text(body[:100])}"' if body else "\0"
        await _answer(send, b"ok")
    finally:
        open_requests -= 1
    return None


async def _websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] != "/innocent":
        seen.append({"request": _describe(scope), "rest": "\0"})
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text") or ""})


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await _http(scope, receive, send)
    elif scope["type"] == "websocket":
        await _websocket(scope, receive, send)
    else:
        while (event := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": f"{event['type']}.complete"})
