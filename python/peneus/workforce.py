"""The workers of a supervisor: as many as are wanted, others in place of those that end, all anew when that is asked for."""

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from . import totals
from .errors import WorkersFailed
from .pulse import PLACES, make_crew
from .stuck import StuckWatch
from .words import counted
from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)

RESTART = 1012  # the close code of WebSockets whose worker is replaced or taken away
TICK = 0.25  # s between two looks at the workers
BACKOFF_FIRST, BACKOFF_MOST = 0.25, 30.0  # s before a worker is started in place of one that ended
STEADY_TIME = 30.0  # s that a worker must have served for its predecessors' failures to be forgotten
MOST_WORKERS = PLACES // 2  # while one is replaced there are more


class Workforce:
    """Processes that serve what order says on sockets. One event loop, on which run() must run.

    patience: seconds that a worker gets to stop before it is killed. on_serving() is called once, when the first serves;
    on_hub(path) when a worker wants the hub at path to be hosted.
    """

    def __init__(
        self,
        order: dict[str, Any],
        sockets: Sequence[socket.socket],
        wanted: int,
        timeout: float | None,
        patience: float,
        on_serving: Callable[[], object],
        on_hub: Callable[[str], object],
    ) -> None:
        self.workers: list[WorkerProcess] = []
        self.wanted = wanted
        self.restarts = 0
        self.retired: totals.Stats = {}  # counters of workers that have ended
        self.has_served = False
        self.ended_badly = False  # one was stopped, and its exit status is not 0
        self._order = order
        self._sockets = sockets
        self._patience = patience
        self._on_serving = on_serving
        self._on_hub = on_hub
        self._watch = StuckWatch(timeout)
        self._crew = make_crew()
        self._stopping = False
        self._is_replacing = False
        self._replace_again = False
        self._starting: set[int] = set()  # places of the crew
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def serving(self) -> list[WorkerProcess]:
        """Those that serve, or will as far as is known; the newest last."""
        return [worker for worker in self.workers if worker.serves]

    async def run(self, wait_for_change: bool) -> None:
        """Keeps as many workers as are wanted, until stop(); then returns when the last has ended. WorkersFailed where none can
        start, unless wait_for_change: then renew() starts them."""
        looking = asyncio.create_task(self._look())
        try:
            # One first: what keeps it from starting is said once.
            first = await self._start()
            await first.settled.wait()
            if first.is_ready:
                await self._adjust()
            elif not self._stopping:
                await first.ended.wait()
                if not wait_for_change:
                    raise WorkersFailed(f"No worker could start: the first ended with {first.end()}", _status(first))
                logger.error("No worker could start; waiting for a file to change")
            while not self._stopping or self.workers:
                await asyncio.wait([self._failed], timeout=TICK)
                if self._failed.done():
                    self._failed.result()
        finally:
            for worker in self.workers:
                worker.kill()
            for task in (looking, *self._tasks):
                task.cancel()
            await asyncio.gather(looking, *self._tasks, return_exceptions=True)
            os.close(self._crew)

    def look(self) -> None:
        """Notices what processes have ended: call it at SIGCHLD."""
        for worker in self.workers:
            worker.look()

    def add(self) -> None:
        self.wanted = min(self.wanted + 1, MOST_WORKERS)
        logger.info("Workers that are wanted now: %d", self.wanted)
        self._spawn(self._adjust())

    def take_away(self) -> None:
        """The last one stays."""
        self.wanted = max(self.wanted - 1, 1)
        logger.info("Workers that are wanted now: %d", self.wanted)
        self._spawn(self._adjust())

    def renew(self) -> None:
        """Replaces each worker: a new one serves before its predecessor stops."""
        self._replace_again = True
        if not self._is_replacing and not self._stopping:
            self._is_replacing = True
            self._spawn(self._replace_all())

    def reopen_logs(self) -> None:
        for worker in self.workers:
            worker.reopen_logs()

    def stop(self, code: int) -> None:
        """Lets all end: their WebSockets are closed with code."""
        self._stopping = True
        for worker in self.workers:
            if not worker.is_stopping:
                worker.stop(code, self._patience)

    def hurry(self, code: int, patience: float) -> None:
        """After stop(): they end without waiting for applications, and are killed patience seconds later."""
        for worker in self.workers:
            worker.hurry(code, patience)

    async def _start(self, failures: int = 0, on_trial: bool = False) -> WorkerProcess:
        place = await self._free_place()
        self._starting.add(place)
        try:
            worker = await WorkerProcess.start(self._order, self._sockets, self._crew, place, failures)
        finally:
            self._starting.discard(place)
        worker.on_trial = on_trial
        worker.on_hub = self._on_hub
        self.workers.append(worker)
        if self._stopping:  # meanwhile
            worker.stop(RESTART, self._patience)
        self._spawn(self._attend(worker))
        return worker

    async def _free_place(self) -> int:
        """In the crew; many that are stopping may have to end first."""
        while True:
            taken = {worker.pulse.place for worker in self.workers} | self._starting
            for place in range(PLACES):
                if place not in taken:
                    return place
            await asyncio.sleep(TICK)

    async def _attend(self, worker: WorkerProcess) -> None:
        """From its start to its end, and to its successor."""
        await worker.settled.wait()
        if worker.is_ready:
            logger.info("Worker %d serves", worker.pid)
            if not self.has_served:
                self.has_served = True
                self._on_serving()
        await worker.ended.wait()
        await worker.close()
        totals.add(self.retired, totals.counters(worker.stats))
        self.workers.remove(worker)
        if worker.is_stopping:
            failed = worker.process.returncode != 0
            self.ended_badly = self.ended_badly or failed
            logger.log(logging.WARNING if failed else logging.INFO, "Worker %d has stopped: %s", worker.pid, worker.end())
        elif worker.on_trial:
            logger.error("Worker %d ended with %s before it served; the others stay", worker.pid, worker.end())
        elif self.has_served:
            await self._succeed(worker)

    async def _succeed(self, worker: WorkerProcess) -> None:
        """Starts another, later the more of its predecessors have failed."""
        steady = worker.is_ready and time.monotonic() - worker.ready_at >= STEADY_TIME
        failures = 1 if steady else worker.failures + 1
        delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 20)) * random.uniform(0.5, 1)
        what = "ended with" if worker.is_ready else "did not come to serve, and ended with"
        logger.error("Worker %d %s %s; another starts in %.1f s", worker.pid, what, worker.end(), delay)
        await asyncio.sleep(delay)
        if not self._stopping and len(self.serving) < self.wanted:
            self.restarts += 1
            await self._start(failures)

    async def _adjust(self) -> None:
        """Brings the number of workers to what is wanted."""
        while not self._stopping and not self._is_replacing and len(self.serving) < self.wanted:
            await self._start()
        if not self._is_replacing:
            for worker in self.serving[self.wanted :]:
                worker.retire(RESTART, self._patience)

    async def _replace_all(self) -> None:
        try:
            while self._replace_again and not self._stopping:
                self._replace_again = False
                logger.info("Replacing %s", counted(len(self.serving), "worker"))
                for old in self.serving:
                    if old.serves and not self._stopping and not await self._replace(old):
                        break
        finally:
            self._is_replacing = False
        await self._adjust()

    async def _replace(self, old: WorkerProcess) -> bool:
        """Whether there is another in place of old, which has ended."""
        new = await self._start(on_trial=True)
        await new.settled.wait()
        if not new.is_ready:
            return False
        new.on_trial = False
        if not old.is_stopping:
            old.retire(RESTART, self._patience)
        await old.ended.wait()
        return True

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.look()
            now = time.monotonic()
            for worker in self.workers:
                if worker.kill_at is not None and now >= worker.kill_at and not worker.ended.is_set():
                    logger.error("Worker %d has not stopped in time: it is killed", worker.pid)
                    worker.kill()
            try:
                await self._watch.look(list(self.workers))
            except Exception:  # whatever it is, the workers must still be looked after
                logger.exception("Exception while looking for workers that stand still")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._failed.done():
            self._failed.set_exception(task.exception())  # type: ignore[arg-type]


def _status(worker: WorkerProcess) -> int:
    """As a single process would have ended."""
    status = worker.process.returncode
    return status if status > 0 else 128 - status if status < 0 else 1
