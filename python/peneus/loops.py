"""Which event loop runs the applications."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from .errors import SettingError


def new_event_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A new loop of kind `auto`, `asyncio` or `uvloop`. Its default executor has ASGI_THREADS workers where that is set, as
    under Daphne."""
    loop = _new(kind)
    if threads := os.environ.get("ASGI_THREADS"):
        try:
            executor = ThreadPoolExecutor(max_workers=int(threads))
        except ValueError:
            loop.close()
            raise SettingError("ASGI_THREADS", f"{threads!r} is not a number of threads; write one such as 8") from None
        loop.set_default_executor(executor)
    return loop


def _new(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        if kind == "auto":
            return asyncio.new_event_loop()
        raise SettingError("--loop", "uvloop is not installed; install it, or write --loop asyncio") from None
    return uvloop.new_event_loop()
