"""A worker as its supervisor sees it: the process, the link to it, and its pulse."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from .bus_config import HUB_VARIABLE
from .pulse import Pulse
from .totals import Stats

logger = logging.getLogger(__name__)

ANSWER_TIME = 2.0  # s in which a worker must answer
LINE_LIMIT = 64 * 1024 * 1024  # bytes of one answer
RETIRE_TIME = 0.5  # s for requests and handshakes of clients that were taken just before
LAST_WORDS_TIME = 1.0  # s for what an ended worker has sent to be read


class WorkerProcess:
    """A running worker. One event loop; make it with start()."""

    def __init__(self, process: subprocess.Popen[bytes], pulse: Pulse, failures: int) -> None:
        self.process = process
        self.pulse = pulse
        self.failures = failures  # of workers in whose place it is, one after another
        self.stats: Stats = {}  # what it has told last
        self.is_ready = False
        self.is_stopping = False
        self.on_trial = False  # it is to replace another that still serves
        self.stuck_since: float | None = None  # by time.monotonic()
        self.started = time.monotonic()
        self.ready_at = 0.0
        self.kill_at: float | None = None
        self.on_hub: Callable[[str], object] = lambda path: None  # it wants the hub at path to be hosted
        self.settled = asyncio.Event()  # it is ready, or has ended
        self.ended = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def serves(self) -> bool:
        """It serves or will, as far as is known."""
        return not self.is_stopping and not self.ended.is_set()

    @classmethod
    async def start(
        cls, order: dict[str, Any], sockets: Sequence[socket.socket], crew: int, place: int, failures: int
    ) -> "WorkerProcess":
        """Starts a process that serves what order says on sockets, at place in the memory of the crew. OSError."""
        shared = [each.fileno() for each in sockets]
        process, pulse, link = _spawn(order, shared, crew, place)
        worker = cls(process, pulse, failures)
        reader, worker._writer = await asyncio.open_connection(sock=link, limit=LINE_LIMIT)
        worker._tell({**order, "fds": shared, "path": sys.path, "arguments": sys.argv})
        worker._reading = asyncio.create_task(worker._read(reader))
        return worker

    async def ask(self, do: str, **more: Any) -> Any:
        """The worker's answer; None where it gives none in time."""
        if self.ended.is_set():
            return None
        self._last_id = number = self._last_id + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._tell({"do": do, "id": number, **more})
        try:
            return await asyncio.wait_for(answer, ANSWER_TIME)
        except asyncio.TimeoutError:
            return None
        finally:
            del self._answers[number]

    async def stacks(self) -> str:
        """The stacks of its Python threads; "" where it does not write them, or ends meanwhile."""
        try:
            return await self.pulse.where(self.pid) if not self.ended.is_set() else ""
        except OSError:
            return ""

    def retire(self, code: int, patience: float) -> None:
        """Others take its place: as stop(), but whom it has already taken is first served a little longer, so that nobody meets
        a server that is stopping."""
        self.is_stopping = True
        self._tell({"do": "retire"})
        asyncio.get_running_loop().call_later(RETIRE_TIME, self.stop, code, patience)

    def stop(self, code: int, patience: float) -> None:
        """Lets it end: its WebSockets are closed with code. After patience seconds it is killed."""
        self.is_stopping = True
        self.kill_at = time.monotonic() + patience
        self._tell({"do": "stop", "code": code})

    def hurry(self, code: int, patience: float) -> None:
        self.is_stopping = True
        self.kill_at = time.monotonic() + patience
        self._tell({"do": "hurry", "code": code})

    def reopen_logs(self) -> None:
        self._tell({"do": "reopen"})

    def kill(self) -> None:
        self.kill_at = None
        self.process.kill()

    def look(self) -> None:
        """Notices that the process has ended."""
        if not self.ended.is_set() and self.process.poll() is not None:
            self.ended.set()
            self.settled.set()

    async def close(self) -> None:
        """After its end: takes what it has still said, and frees what belongs to it."""
        assert self._reading is not None and self._writer is not None
        await asyncio.wait([self._reading], timeout=LAST_WORDS_TIME)  # a child of its own may hold the link open
        self._reading.cancel()
        self._writer.close()
        self.pulse.close()

    def end(self) -> str:
        """How it ended, for people."""
        status = self.process.returncode
        if status >= 0:
            return f"exit status {status}"
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"

    def _tell(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                self._take(json.loads(line))
        except (OSError, ValueError) as error:
            logger.debug("Nothing more from worker %d: %s", self.pid, error)

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.is_ready = True
            self.ready_at = time.monotonic()
            self.settled.set()
        elif "hub" in message:
            self.on_hub(message["hub"])
        elif "last" in message:
            self.stats = message["last"]
        elif "id" in message:
            answer = self._answers.get(message["id"])
            if answer is not None and not answer.done():
                answer.set_result(message["reply"])


def _spawn(
    order: dict[str, Any], shared: list[int], crew: int, place: int
) -> tuple[subprocess.Popen[bytes], Pulse, socket.socket]:
    """A new process that has inherited the descriptors shared; its pulse and the link to it."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            pulse = Pulse.make(crew, place)
        except BaseException:
            ours.close()
            raise
        numbers = [theirs.fileno(), crew, place, pulse.stacks]
        command = [*_python(), "-m", "peneus.worker", ",".join(map(str, numbers)), order["application"]]  # the last is for `ps`
        inherited = [theirs.fileno(), crew, pulse.stacks, *shared]
        try:
            process = subprocess.Popen(command, pass_fds=inherited, env={**os.environ, HUB_VARIABLE: order["hub"]})
            return process, pulse, ours
        except BaseException:
            ours.close()
            pulse.close()
            raise


def _python() -> list[str]:
    """This Python, with the flags it was started with."""
    flags: list[str] = []
    rest = iter(sys.orig_argv[1:])
    for word in rest:
        if not word.startswith("-") or word[1:2] in ("m", "c", "-", ""):
            break
        flags.append(word)
        if word in ("-X", "-W"):
            flags.append(next(rest, ""))
    return [sys.executable, *flags]
