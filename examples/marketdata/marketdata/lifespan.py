"""A background task that lives as long as the server."""

import asyncio
from collections.abc import Awaitable, Callable


def while_serving(job: Callable[[], Awaitable[None]]):
    """An ASGI lifespan application that starts job() with the server and cancels it with the shutdown."""

    async def lifespan(scope, receive, send):
        await receive()  # lifespan.startup
        task = asyncio.create_task(job())
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})

    return lifespan
