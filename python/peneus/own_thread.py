"""Synchronous code of each connection in a thread of its own, where asgiref has one for all of the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from . import database

Application = Callable[[Any, Any, Any], Awaitable[None]]


def in_own_thread(application: Application) -> Application:
    """application, with a thread-sensitive context for each connection. Its thread is made when it is first needed; it ends, with
    its database connections, after the application, which does not wait for what still runs there."""

    async def with_own_thread(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        context = ThreadSensitiveContext()
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            await application(scope, receive, send)
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            executor = SyncToAsync.context_to_thread_executor.pop(context, None)
            if executor is not None:
                executor.submit(database.close_all)
                executor.shutdown(wait=False)

    return with_own_thread
