"""What is attacked: relay_apps, and `POST /upload`, which answers with the length of the body; `GET /big` and `GET /file`,
which send megabytes; and `GET /descriptors?left=N`, after which the process has N file descriptors left."""

from __future__ import annotations

import os
import resource
import tempfile
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from tests.integration import relay_apps

BIG = 64
CHUNK = b"x" * (256 * 1024)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    paths = {"/upload": upload, "/big": big, "/descriptors": descriptors, "/publish": publish, "/file": file}
    if scope["type"] == "http" and scope["path"] in paths:
        await paths[scope["path"]](scope, receive, send)
    else:
        await relay_apps.application(scope, receive, send)


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def upload(scope: dict[str, Any], receive: Any, send: Any) -> None:
    length, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        length += len(event["body"])
        more = event.get("more_body", False)
    await answer(send, b"%d" % length)


async def big(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    for _ in range(BIG):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def file(scope: dict[str, Any], receive: Any, send: Any) -> None:
    with tempfile.NamedTemporaryFile() as content:
        content.truncate(BIG * len(CHUNK))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.pathsend", "path": content.name})


async def descriptors(scope: dict[str, Any], receive: Any, send: Any) -> None:
    left = int(parse_qs(scope["query_string"].decode())["left"][0])
    soft = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    filled = []
    with suppress(OSError):
        while True:
            filled.append(os.dup(0))
    for descriptor in filled[:left]:
        os.close(descriptor)
    missing = left - len(filled)
    if missing > 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + missing, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    await answer(send, b"{}")


async def publish(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """As relay_apps', but from the event loop: a thread would need file descriptors of its own."""
    query = parse_qs(scope["query_string"].decode())
    for number in range(int(query["count"][0])):
        text = f"{number} ".ljust(int(query["size"][0]), "x")
        await relay_apps.layer.group_send(query["group"][0], {"type": "websocket.send", "text": text})
    await answer(send, b"{}")
