"""The application's start and end: the ASGI lifespan protocol, for applications that speak it."""

import asyncio
import logging
from typing import Any

from .errors import StartupFailed
from .printable import printable

logger = logging.getLogger("peneus.server")


class Lifespan:
    """One run of application with a lifespan scope. `state` is filled by it, and a copy goes into every other scope."""

    def __init__(self, application: Any, state: dict[str, Any]) -> None:
        self._application = application
        self._state = state
        self._events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._asked = False  # the application has called receive()
        self._unanswered = ""  # the event that the application is to answer
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Returns when the application has started, or shown that it does not speak lifespan. StartupFailed where it says so."""
        self._ask("lifespan.startup")
        self._task = asyncio.create_task(self._run(), name="peneus-lifespan")
        answer = await self._answers.get()
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            message = answer.get("message") or "without a message"
            await asyncio.wait([self._task], timeout=1)
            raise StartupFailed(f"the application's startup failed: {message}")

    async def shutdown(self, timeout: float) -> None:
        """Tells the application to shut down; waits for it no longer than timeout seconds."""
        if self._task is None or self._task.done():
            return
        self._ask("lifespan.shutdown")
        try:
            answer = await asyncio.wait_for(self._answers.get(), timeout)
        except asyncio.TimeoutError:
            late = f"did not end within {timeout:g} s" if timeout else "is not waited for any longer"
            logger.error("The application's shutdown %s", late)
        else:
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                logger.error("The application's shutdown failed: %s", answer.get("message") or "without a message")
            await asyncio.wait([self._task], timeout=1)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    def _ask(self, kind: str) -> None:
        self._unanswered = kind
        self._events.put_nowait({"type": kind})

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._application(scope, self._receive, self._send)
        except Exception as error:
            if self._asked:
                text = printable(str(error) or repr(error))
                logger.error("Exception inside the application's lifespan: %s", text, exc_info=error)
            else:  # how Django, Channels and most others say that they do not know this type of scope
                logger.debug("The application does not speak lifespan: %r", error)
        finally:
            self._answers.put_nowait(None)

    async def _receive(self) -> dict[str, str]:
        self._asked = True
        return await self._events.get()

    async def _send(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind not in ANSWERS:
            raise ValueError(f"{kind!r} was sent in the lifespan scope, where only {', '.join(ANSWERS)} can be")
        if not self._unanswered or not kind.startswith(self._unanswered):
            logger.warning("The application sent %r, which is no answer to what it was asked: it is ignored", kind)
            return
        self._unanswered = ""
        self._answers.put_nowait(message)


ANSWERS = ("lifespan.startup.complete", "lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")
