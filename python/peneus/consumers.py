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

from ._core import ClientGone

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
        disconnect: dict[str, Any] | None = None
        dispatched = False
        dispatch = self.dispatch

        # A receive() that waits beside a handler may have taken the event already: then it is here, and nobody has seen it.
        async def receive_and_keep() -> Any:
            nonlocal disconnect
            event = await receive()
            if event["type"] == "websocket.disconnect":
                disconnect = event
            return event

        async def dispatch_and_note(message: Any) -> None:
            nonlocal dispatched
            dispatched = dispatched or message is disconnect
            await dispatch(message)

        self.dispatch = dispatch_and_note
        try:
            await call(self, scope, receive_and_keep, send)
        except ClientGone:
            if scope["type"] != "websocket" or dispatched:
                raise
            logger.debug("%r was sending when its client left: it gets its websocket.disconnect", self)
            while disconnect is None:
                await receive_and_keep()
            try:
                await dispatch(disconnect)
            except stop_consumer:
                pass
        finally:
            del self.dispatch  # it refers to self

    return with_disconnect
