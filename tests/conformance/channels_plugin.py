"""A pytest plugin: the WebSocket applications of Channels' communicators run under a Peneus server, a socket between, so that
consumers await the native inbox; and the in-memory layer is peneus.ChannelLayer.

What an application sends is noted on its way to the server, as a communicator does: the code of a refusal is not on the wire.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import struct
from typing import Any

import asgiref.testing
import channels.consumer
import channels.layers
from peneus import ChannelLayer, _core, consumers, settings

TEXT, BINARY, CLOSE = 1, 2, 8
counted = {"websockets": 0, "inboxes": 0}


class InMemoryChannelLayer(ChannelLayer):
    """A full channel drops the new message, as Channels' own."""

    def __init__(self, **config: Any) -> None:
        super().__init__(overflow="drop-newest", **config)

    def inbox(self, channel: str, connection: Any) -> Any:
        counted["inboxes"] += 1
        return super().inbox(channel, connection)


async def _noting(application: Any, scope: dict[str, Any], put: Any, ended: asyncio.Future[None], *given: Any) -> None:
    """application, called by the server with what is given, in the scope of the test."""
    server_scope, receive, send = given

    async def send_and_note(event: dict[str, Any]) -> None:
        await send(event)
        await put(event)

    try:
        await application({**server_scope, **scope}, receive, send_and_note)
    except BaseException as error:
        ended.set_exception(error)
        raise
    ended.set_result(None)


def _frame(event: dict[str, Any]) -> bytes:
    if event["type"] == "websocket.disconnect":
        opcode, payload = CLOSE, struct.pack("!H", event.get("code", 1000))
    elif event.get("text") is not None:
        opcode, payload = TEXT, event["text"].encode()
    else:
        opcode, payload = BINARY, event["bytes"]
    length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def _handshake(scope: dict[str, Any]) -> bytes:
    lines = ["GET / HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}"]
    lines += [f"Sec-WebSocket-Protocol: {name}" for name in scope["subprotocols"]]
    return "\r\n".join([*lines, "", ""]).encode()


async def _served(application: Any, scope: dict[str, Any], get: Any, put: Any) -> None:
    """application under a server of its own; get and put are those of the test's communicator."""
    counted["websockets"] += 1
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stopped = asyncio.Event()
    core = _core.Server(
        functools.partial(_noting, application, scope, put, ended),
        settings=settings.from_keywords({}).native(),
        on_error=lambda connection, error: None,
        on_fault=lambda connection, sentence: None,
        on_kill=lambda connection: None,
        on_drained=lambda: None,
        on_stopped=stopped.set,
    )
    core.listen_tcp("127.0.0.1", 0)
    core.start(loop)
    writer = None
    pump = None
    try:
        assert (await get())["type"] == "websocket.connect"
        _, writer = await asyncio.open_connection(*core.addresses[0])
        writer.write(_handshake(scope))

        async def send_events() -> None:
            while True:
                writer.write(_frame(await get()))

        pump = asyncio.ensure_future(send_events())
        await asyncio.shield(ended)
    finally:
        for task in (pump, ended):
            if task is not None:
                task.cancel()
        core.cancel_applications()
        core.stop()
        await stopped.wait()
        core.close()
        if writer is not None:
            writer.close()


def _install() -> None:
    plain = asgiref.testing.ApplicationCommunicator.__init__

    def live(self: Any, application: Any, scope: dict[str, Any]) -> None:
        plain(self, application, scope)
        if scope["type"] == "websocket":
            self.application = functools.partial(_served, self.application)

    asgiref.testing.ApplicationCommunicator.__init__ = live
    channels.layers.InMemoryChannelLayer = InMemoryChannelLayer
    consumers.install()


def pytest_unconfigure() -> None:
    """Says what has been under test: in a run in which no consumer awaited an inbox, all would pass and nothing be shown."""
    if path := os.environ.get("CONFORMANCE_COUNTED"):
        with open(path, "w") as file:
            file.write(f"{counted['inboxes']} of {counted['websockets']} WebSockets on an inbox")


_install()
