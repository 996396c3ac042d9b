"""A worker: the process that `python -m peneus.worker` is. Its supervisor has started it, and is at the other end of its link.

The link carries a JSON object on each line. The supervisor sends first the order (what to serve), then `{"do": …}` with "stats",
"details", "retire", "reopen", "stop" or "hurry"; the worker sends `{"ready": true}`, `{"id": n, "reply": …}`, `{"hub": path}`
for a hub that it wants, and at its end `{"last": stats}`.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from . import cli, counters, hubs, logs, settings, signals
from .errors import ConfigurationError
from .pulse import Pulse
from .server import Server, access_logger

logger = logging.getLogger(__name__)

ORPHAN_CODE = 1012  # the close code of WebSockets when the supervisor is gone
ORPHAN_TIME = 10.0  # s beyond twice the graceful timeout after which a worker without a supervisor ends at the latest


class Link:
    """The worker's end of the socket to its supervisor."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._file = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def take(self) -> dict[str, Any] | None:
        """The next line; None at the end. One thread."""
        try:
            line = self._file.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def send(self, **message: Any) -> None:
        """Any thread. A supervisor that is gone takes nothing."""
        data = json.dumps(message, default=str).encode() + b"\n"
        with self._lock, suppress(OSError):
            self._socket.sendall(data)


class WorkerServer(Server):
    """A Server that its supervisor stops, and that signals may stop beside it: a terminal, or systemd, sends SIGINT or SIGTERM to
    the worker as well as to its supervisor, and that is not yet the second signal, after which nothing is waited for."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.supervised = True
        self._signals = 0
        self._asked = False
        self._asking = threading.RLock()  # a signal may come while the main thread has it

    def stop_once(self, code: int) -> None:
        """stop(), unless that has been called here. Any thread."""
        with self._asking:
            if not self._asked:
                self._asked = True
                self.stop(code)

    def hurry(self, code: int) -> None:
        """Stops without waiting for applications. Any thread."""
        self.stop_once(code)
        super()._on_signal(code)

    def _on_signal(self, code: int) -> None:
        self._signals += 1
        if self._signals > 1:
            self.hurry(code)
        else:
            self.stop_once(code)


class Worker:
    """Serves what order says, and answers its supervisor on a thread of its own."""

    def __init__(self, link: Link, crew: int, pulse: Pulse, order: dict[str, Any]) -> None:
        self._link = link
        self._crew = crew
        self._pulse = pulse
        self._path: str = order["application"]
        self._given: dict[str, Any] = order["settings"]
        self._fds: list[int] = order["fds"]
        self._prompt: bool = order["prompt"]
        self._ticket_keys = bytes.fromhex(order.pop("ticket_keys"))  # the server keeps only what follows from it
        self._endpoints = [f"{kind}:fileno={number}" for kind, number in zip(order["kinds"], self._fds, strict=True)]
        self._checked = settings.from_keywords({**self._given, "endpoints": self._endpoints})
        self._server: WorkerServer | None = None

    def run(self) -> int:
        """The exit code."""
        logs.configure(self._checked.verbosity, self._checked.log_fmt, self._checked.log_format)
        threading.Thread(target=self._answer, name="peneus-link", daemon=True).start()
        hubs.listen(lambda path: self._link.send(hub=path))
        try:
            application = cli.load(self._path)
        except cli.NotLoaded as error:
            return error.status
        try:
            given = {name: value for name, value in self._given.items() if name != "endpoints"}
            server = WorkerServer(
                application, self._endpoints, action_logger=access_logger(self._checked), ready_callable=self._ready, **given
            )
            server.ticket_keys, self._ticket_keys = self._ticket_keys, b""
            server.prompt = self._prompt
            server.crew = (self._crew, self._pulse.place)
            self._server = server
            return cli.run(server)
        except ConfigurationError as error:
            logger.critical("%s", error)
            return 1
        finally:
            self._link.send(last=counters.stats())

    def _ready(self) -> None:
        for number in self._fds:  # the server has its own by now
            os.close(number)
        self._pulse.begin(asyncio.get_running_loop(), self._checked.worker_timeout)
        self._link.send(ready=True)

    def _answer(self) -> None:
        while (request := self._link.take()) is not None:
            try:
                self._do(request)
            except Exception:  # one that cannot be answered: the supervisor stops waiting for it by itself
                logger.exception("Exception while the supervisor's request %r was answered", request.get("do"))
        self._abandoned()

    def _do(self, request: dict[str, Any]) -> None:
        match request["do"]:
            case "stats":
                self._link.send(id=request["id"], reply=counters.stats())
            case "details":
                self._link.send(id=request["id"], reply=counters.details(request["rows"]))
            case "retire":
                if self._server is not None:
                    self._server.prompt = False  # nobody waits: another serves
                    self._server.retire()
            case "reopen":
                if self._server is not None:
                    self._server.reopen_logs()
            case "stop":
                self._stop(request["code"])
            case "hurry":
                self._stop(request["code"], hurry=True)

    def _stop(self, code: int, hurry: bool = False) -> None:
        if self._server is None:  # it is being imported, and has nothing to clean up
            os._exit(0)
        elif hurry:
            self._server.hurry(code)
        else:
            self._server.stop_once(code)

    def _abandoned(self) -> None:
        logger.warning("The supervisor is gone: this worker stops")
        self._stop(ORPHAN_CODE)
        time.sleep(2 * self._checked.graceful_timeout + ORPHAN_TIME)
        logger.error("Ending although applications are stuck")
        os._exit(1)


def main() -> int:
    link_number, crew, place, stacks = (int(number) for number in sys.argv[1].split(","))
    for number in (link_number, crew, stacks):
        os.set_inheritable(number, False)
    pulse = Pulse(crew, place, stacks)
    pulse.answer()
    signals.spare()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # is for the supervisor, but may be sent to the whole process group
    link = Link(link_number)
    order = link.take()
    if order is None:  # the supervisor has ended before it could say
        return 1
    for number in order["fds"]:
        os.set_inheritable(number, False)
    sys.path[:] = order["path"]
    sys.argv[:] = order["arguments"]
    return Worker(link, crew, pulse, order).run()


if __name__ == "__main__":
    from peneus import worker  # not this copy of it, which is called __main__

    sys.exit(worker.main())
