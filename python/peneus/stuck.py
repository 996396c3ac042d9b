"""Workers whose event loop stands still, or that do not come to serve: each is said once, with the stacks of its threads."""

import logging
import time

from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)

START_TIME = 30.0  # s after which a worker that has not begun to serve is mentioned
PAUSE = 2.0  # s between two looks after which it was this process that stood still
RECOVERY_TIME = 3.0  # s that workers then get to beat again


class StuckWatch:
    """Looks at workers for as long as it is asked to. timeout in seconds, None: never says that one stands still."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._looked: float | None = None
        self._blind_until = 0.0
        self._mentioned: set[int] = set()  # workers that are slow to start

    async def look(self, workers: list[WorkerProcess]) -> None:
        """Call it often."""
        now = time.monotonic()
        # Whoever stopped this process may have stopped the workers too.
        if self._looked is not None and now - self._looked > PAUSE:
            self._blind_until = now + RECOVERY_TIME
        self._looked = now
        for worker in workers:
            if worker.ended.is_set():
                self._mentioned.discard(worker.pid)
            elif worker.is_ready:
                if self._timeout is not None and now >= self._blind_until:
                    await self._check(worker, self._timeout)
            elif now - worker.started > START_TIME and worker.pid not in self._mentioned:
                self._mentioned.add(worker.pid)
                logger.warning("Worker %d does not serve yet after %.0f s%s", worker.pid, START_TIME, await _where(worker))
        self._looked = time.monotonic()

    async def _check(self, worker: WorkerProcess, timeout: float) -> None:
        silence = worker.pulse.silence()
        if silence is None:
            return
        if silence <= timeout:
            if worker.stuck_since is not None:
                took = time.monotonic() - silence - worker.stuck_since
                worker.stuck_since = None
                logger.warning("The event loop of worker %d goes on, after %.1f s", worker.pid, took)
        elif worker.stuck_since is None:
            worker.stuck_since = time.monotonic() - silence
            where = await _where(worker)
            logger.error("The event loop of worker %d has stood still for %.1f s%s", worker.pid, silence, where)


async def _where(worker: WorkerProcess) -> str:
    stacks = await worker.stacks()
    if not stacks:
        return "; it does not say where: it is stopped, or waits for the kernel"
    return "; its threads are at:\n" + stacks
