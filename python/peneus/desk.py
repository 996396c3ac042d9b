"""What a running server answers beside its clients: its control socket, and /metrics."""

import asyncio
import importlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import control, counters

if TYPE_CHECKING:
    from .metrics import Endpoint

logger = logging.getLogger(__name__)


class Desk:
    """Binds at once what is asked for, so that what cannot be had is known before the server starts: ListenError.

    start() and close() belong to one event loop; a Desk that was never started may be closed anywhere.
    """

    def __init__(self, source: control.Source, metrics: str | None, answers: bool) -> None:
        self._metrics_addresses: list[tuple[str, int]] = []
        self._metrics: Endpoint | None = None
        self._answers: control.Answers | None = None
        if metrics is not None:
            module = importlib.import_module(".metrics", __package__)  # with prometheus_client, which only this needs
            listeners = module.listen(metrics)
            self._metrics_addresses = [each.getsockname()[:2] for each in listeners]
            self._metrics = module.Endpoint(listeners, source)
        listener: socket.socket | None = control.listen() if answers else None
        if listener is not None:
            self._answers = control.Answers(listener, source)

    async def start(self) -> None:
        for part in (self._metrics, self._answers):
            if part is not None:
                await part.start()
        for host, port in self._metrics_addresses:
            logger.info("Metrics are at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)

    def close(self) -> None:
        for part in (self._metrics, self._answers):
            if part is not None:
                part.close()


class Here:
    """The Source of a server that is one process. is_stuck() says whether its event loop stands still."""

    def __init__(self, is_stuck: Callable[[], bool]) -> None:
        self._is_stuck = is_stuck

    async def stats(self) -> dict[str, Any]:
        return {**counters.stats(), "workers": 1, "workers_stuck": int(self._is_stuck()), "worker_restarts_total": 0}

    async def details(self, rows: int) -> list[dict[str, Any]]:
        return [{"pid": os.getpid(), **counters.details(rows)}]


class DeskThread:
    """A Desk with an event loop and a thread of its own, so that it answers even while the server's event loop is blocked."""

    def __init__(self, metrics: str | None, answers: bool, is_stuck: Callable[[], bool]) -> None:
        self._desk = Desk(Here(is_stuck), metrics, answers)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="peneus-desk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Any thread but its own. Twice does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
        elif not self._loop.is_closed():
            self._desk.close()
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._answer())
        finally:
            self._desk.close()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _answer(self) -> None:
        await self._desk.start()
        await self._closing.wait()
