"""Channels consumers whose client leaves while a handler runs.

After the client has left, `send()` raises an OSError, as the ASGI specification asks. Channels lets it end the consumer, and then
`disconnect()` never runs: under Daphne, which drops what is sent to nobody, it always does. So where Channels is there, a
consumer that ends by that error is given its `websocket.disconnect` first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from ._core import ClientGone, current_connection

logger = logging.getLogger("peneus")

Call = Callable[..., Awaitable[None]]


def install() -> None:
    """Wraps `AsyncConsumer.__call__`, once, if the application has imported Channels."""
    module = sys.modules.get("channels.consumer")
    if module is None or hasattr(module.AsyncConsumer.__call__, "__wrapped__"):
        return
    module.AsyncConsumer.__call__ = _with_disconnect(module.AsyncConsumer.__call__, module.StopConsumer)


def _with_disconnect(call: Call, stop_consumer: type[Exception]) -> Call:
    @wraps(call)
    async def with_disconnect(self: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            await call(self, scope, receive, send)
        except ClientGone:
            connection = current_connection.get(None)
            if scope["type"] != "websocket" or connection is None or connection.told:
                raise
            logger.debug("%r was sending when its client left: it gets its websocket.disconnect", self)
            event = await receive()
            while event["type"] != "websocket.disconnect":
                event = await receive()
            try:
                await self.dispatch(event)
            except stop_consumer:
                pass

    return with_disconnect
