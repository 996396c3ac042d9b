"""Channels consumers under Peneus: what they wait on, and what they are told at the end.

Channels gives a consumer its events by two tasks and a wait for each message. Where nothing stands between a consumer and its
connection, and its layer is a `peneus.ChannelLayer` (or it has none), it awaits one native inbox instead (`_core.Inbox`): the
events of its client and the messages of its channel in the order in which they came.

After the client has left, `send()` raises an OSError, as the ASGI specification asks. Channels lets it end the consumer, and then
`disconnect()` never runs: under Daphne, which drops what is sent to nobody, it always does. So a consumer that ends by that error
is given its `websocket.disconnect` first. And once a consumer has been given it, what it sends is dropped, as Daphne does: a
`disconnect()` that says goodbye comes to its end, with the cleanup behind it.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Awaitable, Callable
from types import BuiltinMethodType, ModuleType
from typing import Any

from . import database
from ._core import ClientGone, Connection, current_connection

logger = logging.getLogger("peneus")

Call = Callable[..., Awaitable[None]]

KNOWN_MAJORS = ("3", "4")  # versions of Channels whose AsyncConsumer.__call__ does what _Consuming does

DROPPED = ("websocket.send", "websocket.close")  # where the client has been seen to leave

_inbox_wanted = True


class _Outbound:
    """What a consumer sends by. From `over` on, which its `websocket.disconnect` sets, there is nobody to send to."""

    def __init__(self, send: Call) -> None:
        self.send = send
        self.over = False

    def __call__(self, message: Any) -> Awaitable[None]:
        if self.over and message["type"] in DROPPED:
            return _nothing()
        return self.send(message)

    async def awaited(self, message: Any) -> None:
        """The same for `async_to_sync()`, which warns of whatever is not marked as a coroutine function."""
        await self(message)


async def _nothing() -> None:
    pass


def install(inbox: bool = True, database_shortcut: bool = True) -> None:
    """Wraps `AsyncConsumer.__call__`, once, if the application has imported Channels. inbox: consumers await a native one;
    database_shortcut: see database.py. They count for the process: the last call decides."""
    global _inbox_wanted
    _inbox_wanted = inbox
    module = sys.modules.get("channels.consumer")
    if module is None:
        return
    database.install(database_shortcut)
    call = module.AsyncConsumer.__call__
    if not hasattr(call, "peneus_wrapped"):
        wrapped = _with_inbox(call, module) if _is_known(call, module) else _with_disconnect(call, module.StopConsumer)
        wrapped.peneus_wrapped = call  # type: ignore[attr-defined]
        module.AsyncConsumer.__call__ = wrapped


def _is_known(call: Call, module: ModuleType) -> bool:
    """Whether call is Channels' own, of a version that _with_inbox() knows; somebody else's wrapper goes on being called."""
    import channels  # type: ignore[import-untyped]

    own = getattr(call, "__module__", "") == module.__name__ and not hasattr(call, "__wrapped__")
    return own and channels.__version__.split(".")[0] in KNOWN_MAJORS


def _with_inbox(call: Call, module: ModuleType) -> Call:
    from .layer import ChannelLayer

    async_to_sync = module.async_to_sync
    stop_consumer = module.StopConsumer
    by_channels = _with_disconnect(call, stop_consumer)

    @functools.wraps(call)
    async def with_inbox(self: Any, scope: Any, receive: Any, send: Any) -> None:
        connection = current_connection.get(None)
        layer = module.get_channel_layer(self.channel_layer_alias)
        direct = _inbox_wanted and connection is not None and _is_receive_of(connection, receive)
        if not direct or (layer is not None and not _is_plain(layer)):
            await by_channels(self, scope, receive, send)
            return
        assert connection is not None
        self.scope = scope
        self.channel_layer = layer
        inbox = None
        if layer is not None:
            self.channel_name = await layer.new_channel()
            self.channel_receive = functools.partial(layer.receive, self.channel_name)
            inbox = layer.inbox(self.channel_name, connection)
        outbound = _Outbound(send)
        self.base_send = async_to_sync(outbound.awaited) if self._sync else outbound
        try:
            try:
                while True:
                    event = await (receive() if inbox is None else inbox)
                    # A channel's message may have that type too: then the client is there.
                    if event.get("type") == "websocket.disconnect" and connection.told:
                        outbound.over = True
                    await self.dispatch(event)
            except ClientGone:
                if scope["type"] != "websocket" or connection.told:
                    raise
            logger.debug("%r was sending when its client left: it gets its websocket.disconnect", self)
            while not connection.told:
                event = await receive()
            outbound.over = True
            await self.dispatch(event)
        except stop_consumer:
            pass

    def _is_plain(layer: object) -> bool:
        """Whether layer receives as ChannelLayer does, and no subclass or attribute has it otherwise."""
        return isinstance(layer, ChannelLayer) and type(layer).receive is ChannelLayer.receive and "receive" not in vars(layer)

    return with_inbox


def _is_receive_of(connection: Connection, receive: object) -> bool:
    """Whether receive is what the server gave to connection's application, and no middleware's."""
    return isinstance(receive, BuiltinMethodType) and receive.__self__ is connection and receive.__name__ == "receive"


def _with_disconnect(call: Call, stop_consumer: type[Exception]) -> Call:
    @functools.wraps(call)
    async def with_disconnect(self: Any, scope: Any, receive: Any, send: Any) -> None:
        disconnect: dict[str, Any] | None = None
        dispatched = False
        connection = current_connection.get(None)
        outbound = _Outbound(send)
        dispatch = self.dispatch

        # A receive() that waits beside a handler may have taken the event already: then it is here, and nobody has seen it.
        async def receive_and_keep() -> Any:
            nonlocal disconnect
            event = await receive()
            if event["type"] == "websocket.disconnect":
                disconnect = event
            return event

        # One that a middleware has made up says nothing of the client.
        async def dispatch_and_note(message: Any) -> None:
            nonlocal dispatched
            if message is disconnect:
                dispatched = True
                outbound.over = connection is not None and connection.told
            await dispatch(message)

        self.dispatch = dispatch_and_note
        try:
            await call(self, scope, receive_and_keep, outbound.awaited if self._sync else outbound)
        except ClientGone:
            if scope["type"] != "websocket" or dispatched:
                raise
            logger.debug("%r was sending when its client left: it gets its websocket.disconnect", self)
            while disconnect is None:
                await receive_and_keep()
            try:
                await dispatch_and_note(disconnect)
            except stop_consumer:
                pass
        finally:
            del self.dispatch  # it refers to self

    return with_disconnect
