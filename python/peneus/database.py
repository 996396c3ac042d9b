"""Channels' look for old database connections before each message of an asynchronous consumer.

It is made in the thread of synchronous code, so each message makes two hops between threads, and waits for whatever runs there.
Where that thread has no open database connection there is nothing to look at, and the look is left out. What is open is known
from Django's signal connection_created, and for a thread that was there before it is listened to, from one first look.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from ._core import current_connection

MODULES = ("channels.db", "channels.consumer", "channels.generic.websocket", "channels.generic.http")

_wanted = True


class _Opened(threading.local):
    """The open connections of one thread: written by it, read by others."""

    def __init__(self) -> None:
        self.list = _List()


class _List:
    def __init__(self) -> None:
        self.connections: tuple[weakref.ref[Any], ...] = ()  # replaced as a whole, so that others may read it

    def add(self, connection: Any) -> None:
        others = [known for known in self.connections if _is_open(known()) and known() is not connection]
        self.connections = (*others, weakref.ref(connection))

    def any_open(self) -> bool:
        return any(_is_open(known()) for known in self.connections)


def _is_open(connection: Any) -> bool:
    return connection is not None and connection.connection is not None


_used = False  # a connection is, or was, open since the signal is heard
_looked = False  # at the thread that all synchronous code has, if no connection has its own
_opened = _Opened()
_of_executor: weakref.WeakKeyDictionary[Any, _List] = weakref.WeakKeyDictionary()


def install(wanted: bool) -> None:
    """Puts the shortcut into the modules of Channels that look, once. wanted: it is taken."""
    global _wanted
    _wanted = wanted
    close = getattr(sys.modules.get("channels.db"), "aclose_old_connections", None)
    if close is None or hasattr(close, "peneus_wrapped"):  # Channels before 4.2 does not look
        return
    from django.db.backends.signals import connection_created  # type: ignore[import-untyped]

    connection_created.connect(_on_created, weak=False, dispatch_uid="peneus")
    shortened = _shortened(close)
    shortened.peneus_wrapped = close  # type: ignore[attr-defined]
    for name in MODULES:
        module = sys.modules.get(name)
        if getattr(module, "aclose_old_connections", None) is close:
            module.aclose_old_connections = shortened  # type: ignore[union-attr]


def close_all() -> None:
    """Closes every connection of this thread, which is about to end."""
    if "django.db" in sys.modules:
        sys.modules["django.db"].connections.close_all()


def _on_created(connection: Any, **_: Any) -> None:
    global _used
    _used = True
    _opened.list.add(connection)


def _is_outermost() -> bool:
    """Whether the task of a connection's application runs, with no synchronous code above it: looking costs less than asking."""
    connection = current_connection.get(None)
    return connection is not None and connection.task is asyncio.current_task()


def _shortened(close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async

    def thread() -> Executor | None:
        """Where SyncToAsync.__call__ would run it; None where it would make a thread for it, which has opened nothing."""
        if not _is_outermost() and (above := getattr(AsyncToSync.executors, "current", None)):
            return above  # type: ignore[no-any-return]
        context = SyncToAsync.thread_sensitive_context.get(None)
        if context is not None:
            return SyncToAsync.context_to_thread_executor.get(context)
        if AsyncToSync.loop_thread_executors:
            return AsyncToSync.loop_thread_executors.get(asyncio.get_running_loop()) or SyncToAsync.single_thread_executor
        return SyncToAsync.single_thread_executor

    async def look_first(executor: Executor) -> None:
        global _looked
        await close()
        _of_executor[executor] = await sync_to_async(_look)()
        _looked = _looked or executor is SyncToAsync.single_thread_executor

    async def aclose_old_connections() -> None:
        if not _wanted:
            await close()
        elif (_used or not _looked) and (executor := thread()) is not None:
            opened = _of_executor.get(executor)
            if opened is None:
                await look_first(executor)
            elif opened.any_open():
                await close()

    return aclose_old_connections


def _look() -> _List:
    """Which connections this thread has."""
    from django.db import connections  # type: ignore[import-untyped]

    for connection in connections.all(initialized_only=True):
        if _is_open(connection):
            _on_created(connection)
    return _opened.list
