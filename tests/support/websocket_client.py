"""A blocking WebSocket client that is safe with TLS 1.3.

The blocking client of the package websockets reads in a thread of its own, so two threads use one TLS object. Session tickets
arrive right after the handshake: they are read while the request is written, and now and then the request is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import websockets.asyncio.client


class BlockingWebSocket:
    """The client of websockets.asyncio, whose event loop runs only during each call."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._client = self._run(self._connected(url, options))
        except BaseException:
            self._loop.close()
            raise

    @staticmethod
    async def _connected(url: str, options: dict[str, Any]) -> websockets.asyncio.client.ClientConnection:
        return await websockets.asyncio.client.connect(url, ping_interval=None, **options)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)

    def send(self, message: str | bytes) -> None:
        self._run(self._client.send(message))

    def recv(self, timeout: float) -> str | bytes:
        """The next message. TimeoutError after timeout seconds without one."""
        received: str | bytes = self._run(asyncio.wait_for(self._client.recv(), timeout))
        return received

    def close(self) -> None:
        try:
            self._run(self._client.close())
        finally:
            self._loop.close()


@contextmanager
def connect(url: str, **options: Any) -> Iterator[BlockingWebSocket]:
    """Connects, with the options of websockets.asyncio.client.connect(), and closes at the end."""
    client = BlockingWebSocket(url, **options)
    try:
        yield client
    finally:
        client.close()
