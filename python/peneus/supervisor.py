"""The supervisor of several workers: it binds the sockets that they share, starts them, watches them, and speaks for them.

SIGTERM and SIGINT stop all, SIGHUP replaces them one after another, SIGTTIN and SIGTTOU add and take away one, SIGUSR1 lets them
open their log files again. It never imports
the application, so new workers serve what the files hold when they start.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import control, counters, endpoints, reload, tls, totals
from .bus_config import HUB_VARIABLE
from .desk import Desk
from .errors import ConfigurationError, SettingError
from .hubs import Hosting
from .server import PROMPT_TIME, announce, waits_for
from .settings import SERVER_DESCRIPTORS, WORKER_DESCRIPTORS, Settings, check_descriptors
from .signals import CODES
from .sockets import Address, Listeners
from .words import counted
from .worker_process import WorkerProcess
from .workforce import Workforce

logger = logging.getLogger(__name__)

STOP_MARGIN = 10.0  # s beyond twice the graceful timeout (applications, then their lifespan) before a worker is killed
HUB_TIME = 1.0  # s between two tries to host a hub
REMEMBER_TIME = 2.0  # s between two looks at what workers have counted
TICKET_SECRET = 72  # bytes that the keys of TLS sessions come from (server/tls_tickets.h)
TICKET_PERIOD = 3600  # s that each of them is for
HURRY_TIME = 5.0  # s after a second signal before workers are killed

# What the supervisor does itself, and its workers therefore must not.
OWN = ("endpoints", "host", "port", "unix_socket", "file_descriptor", "workers", "reload", "metrics")


class Supervisor:
    """Serves application, a path, with settings, of which checked is what they say. ready_callable() is called when the first
    worker serves."""

    def __init__(
        self,
        application: object,
        settings: dict[str, Any],
        checked: Settings,
        ready_callable: Callable[[], object] | None = None,
    ) -> None:
        if not isinstance(application, str):
            name = "workers" if checked.workers > 1 else "reload"
            raise SettingError(name, f"needs the application's path, not {application!r}; write 'module:application'")
        if checked.reload:
            reload.check()
        for_workers = {name: value for name, value in settings.items() if name not in OWN}
        self._settings = checked
        self._order: dict[str, Any] = {"application": application, "settings": for_workers, "prompt": checked.reload}
        self._ready_callable = ready_callable
        self._listeners: Listeners | None = None
        self._workforce: Workforce | None = None
        self._signals = 0  # to stop

    @property
    def listening_addresses(self) -> list[Address]:
        return self._listeners.addresses if self._listeners is not None else []

    def run(self) -> int:
        """Serves until a signal; the exit code. ListenError, WorkersFailed, or what ready_callable raised."""
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("workers can only be run from the main thread, which gets the signals")
        check_descriptors(SERVER_DESCRIPTORS + WORKER_DESCRIPTORS * self._settings.workers)
        return asyncio.run(self._main())

    async def stats(self) -> dict[str, Any]:
        """Source: of all workers; of one that does not answer, what it has said last."""
        workers = self._workers()
        await asyncio.gather(*(_refresh(worker) for worker in workers if worker.is_ready))
        assert self._workforce is not None
        sums: totals.Stats = {}
        for stats in (counters.hub_stats(), self._workforce.retired, *(worker.stats for worker in self._workers())):
            totals.add(sums, stats)
        serving = [worker for worker in self._workforce.serving if worker.is_ready]
        stuck = sum(worker.stuck_since is not None for worker in serving)
        return {**sums, "workers": len(serving), "workers_stuck": stuck, "worker_restarts_total": self._workforce.restarts}

    async def details(self, rows: int) -> list[dict[str, Any]]:
        """Source."""
        workers = [worker for worker in self._workers() if worker.is_ready]
        answers = await asyncio.gather(*(worker.ask("details", rows=rows) for worker in workers))
        return [{"pid": worker.pid, **(answer or {"silent": True})} for worker, answer in zip(workers, answers, strict=True)]

    def _new_ticket_keys(self) -> None:
        """TLS sessions of before are not resumed any more, as behind one server that has read its certificates again."""
        period = int(time.time()) // TICKET_PERIOD
        self._order["ticket_keys"] = (period.to_bytes(8, "big") + os.urandom(TICKET_SECRET)).hex()

    def _renew(self) -> None:
        assert self._workforce is not None
        try:
            check_tls(self._settings, self._settings.endpoint_strings())
        except SettingError as error:
            logger.error("The workers go on as they are: %s", error)
            return
        self._new_ticket_keys()
        self._workforce.renew()

    def _workers(self) -> list[WorkerProcess]:
        return list(self._workforce.workers) if self._workforce is not None else []

    async def _main(self) -> int:
        settings = self._settings
        strings = settings.endpoint_strings()
        logger.info("Starting server at %s", ", ".join(strings))
        for string in strings:
            logger.info("Configuring endpoint %s", string)
        check_tls(settings, strings)
        self._listeners = Listeners(strings, settings.backlog)
        self._order["kinds"] = self._listeners.kinds
        self._new_ticket_keys()
        self._order["hub"] = path = os.environ.get(HUB_VARIABLE) or control.own_hub()
        hosting = Hosting()
        try:
            hosting.add(path)
            self._workforce = self._make_workforce(self._listeners, hosting)
            desk = Desk(self, settings.metrics, answers=True)
            try:
                await desk.start()
                return await self._serve(self._workforce, hosting)
            finally:
                desk.close()
        finally:
            hosting.close()
            control.forget_own_hub(path)
            self._listeners.close()

    def _make_workforce(self, listeners: Listeners, hosting: Hosting) -> Workforce:
        settings = self._settings
        patience = 2 * settings.graceful_timeout + STOP_MARGIN
        return Workforce(
            self._order,
            listeners.sockets,
            settings.workers,
            settings.worker_timeout,
            patience,
            on_serving=self._on_serving,
            on_hub=hosting.add,
        )

    async def _serve(self, workforce: Workforce, hosting: Hosting) -> int:
        settings = self._settings
        logger.info("Supervisor %d starts %s", os.getpid(), counted(settings.workers, "worker"))
        beside = [asyncio.create_task(_host(hosting))]
        if settings.metrics is not None:
            beside.append(asyncio.create_task(self._remember()))
        if settings.reload:
            beside.append(asyncio.create_task(reload.watch(workforce.renew)))
        try:
            with self._handled_signals(workforce):
                await workforce.run(wait_for_change=bool(settings.reload))
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        return 1 if self._signals > 1 and workforce.ended_badly else 0

    async def _remember(self) -> None:
        """What a worker has counted when it crashes is what it said last: so it is asked between scrapes too."""
        while True:
            await asyncio.sleep(REMEMBER_TIME)
            await self.stats()

    def _on_serving(self) -> None:
        announce(self.listening_addresses)
        if self._ready_callable is not None:
            self._ready_callable()

    @contextmanager
    def _handled_signals(self, workforce: Workforce) -> Iterator[None]:
        handlers: dict[signal.Signals, tuple[Callable[..., None], tuple[int, ...]]] = {
            signal.SIGCHLD: (workforce.look, ()),
            signal.SIGHUP: (self._renew, ()),
            signal.SIGTTIN: (workforce.add, ()),
            signal.SIGTTOU: (workforce.take_away, ()),
            signal.SIGUSR1: (workforce.reopen_logs, ()),
        }
        handlers |= {signal.Signals(number): (self._on_stop, (code,)) for number, code in CODES.items()}
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in handlers}
        for number, (handler, arguments) in handlers.items():
            loop.add_signal_handler(number, handler, *arguments)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number] or signal.SIG_DFL)

    def _on_stop(self, code: int) -> None:
        assert self._workforce is not None and self._listeners is not None
        self._signals += 1
        if self._signals == 1:
            self._listeners.close()  # new clients are refused as soon as the workers have closed theirs
            timeout = PROMPT_TIME if self._settings.reload else self._settings.graceful_timeout
            count = len(self._workforce.workers)
            waiting = waits_for("its applications" if count == 1 else "their applications", "them", timeout) if count > 0 else ""
            logger.info("Stopping %s%s", counted(count, "worker"), waiting)
            self._workforce.stop(code)
        else:
            self._workforce.hurry(code, HURRY_TIME)


def check_tls(settings: Settings, strings: list[str]) -> None:
    """SettingError where a worker could not serve strings for want of a file of TLS."""
    contexts = tls.Contexts(settings)
    for string in strings:
        endpoint = endpoints.parse(string)
        if isinstance(endpoint, endpoints.SSL):
            contexts.of(endpoint, string)


async def _host(hosting: Hosting) -> None:
    """Takes over the hubs that other processes have hosted."""
    while True:
        await asyncio.sleep(HUB_TIME)
        hosting.try_again()


async def _refresh(worker: WorkerProcess) -> None:
    if stats := await worker.ask("stats"):
        worker.stats = stats
