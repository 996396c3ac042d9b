"""A server in a process of its own, for tests.

with peneus.testing.LiveServer("mysite.asgi:application", http_timeout=5) as server:
    httpx.get(f"{server.url}/")
"""

import base64
import json
import multiprocessing
import os
import pickle
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_TIME = 90.0  # s: a busy machine takes 30 to import five frameworks
STOP_TIME = 10.0  # s


class LiveServer:
    """Serves application, an import path or a callable that pickle can take, with the settings of `peneus.Server`; also with
    `workers`, where application is an import path: then `process` is their supervisor.

    On entering it listens on `host` and `port` (a free one unless settings say otherwise); RuntimeError with what it printed
    where it does not. `stdout` and `stderr` are what it has printed so far; `stop()` is SIGTERM, and gives the exit code.
    """

    def __init__(self, application: Any, *, environment: dict[str, str] | None = None, **settings: Any) -> None:
        self.application = application
        self.settings = {"host": "127.0.0.1", "port": 0, "graceful_timeout": 2, **settings}
        self.environment = environment or {}
        self.host = ""
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="peneus-")

    @property
    def url(self) -> str:
        return f"http{self._secure}://{_in_url(self.host)}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws{self._secure}://{_in_url(self.host)}:{self.port}"

    @property
    def _secure(self) -> str:
        return "s" if self.settings.get("ssl_certfile") else ""

    @property
    def stdout(self) -> str:
        return self._printed("stdout")

    @property
    def stderr(self) -> str:
        return self._printed("stderr")

    def __enter__(self) -> "LiveServer":
        what = {"application": self.application, "settings": self.settings, "path": sys.path}
        order = base64.b64encode(pickle.dumps(what)) + b"\n"
        reader, writer = os.pipe()
        try:
            with open(self._file("stdout"), "wb") as stdout, open(self._file("stderr"), "wb") as stderr:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", CHILD, json.dumps(sys.path), str(writer)],
                    stdin=subprocess.PIPE,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=[writer],
                    env={**os.environ, **self.environment},
                )
        finally:
            os.close(writer)
        try:
            assert self.process.stdin is not None
            with self.process.stdin as stdin:
                stdin.write(order)
            self._wait_ready(reader)
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(reader)
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._directory.cleanup()

    def stop(self, timeout: float = STOP_TIME) -> int:
        """SIGTERM, and SIGKILL timeout seconds later; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _wait_ready(self, reader: int) -> None:
        readable, _, _ = select.select([reader], [], [], START_TIME)
        line = os.read(reader, 65536) if readable else b""
        if not line:
            why = "did not start" if readable else f"did not start within {START_TIME:g} s"
            self.stop(1)
            raise RuntimeError(f"the server {why}; it printed:\n{self.stdout}{self.stderr}")
        first = json.loads(line)[0]
        if not isinstance(first, str):
            self.host, self.port = first

    def _file(self, name: str) -> Path:
        return Path(self._directory.name) / name

    def _printed(self, name: str) -> str:
        file = self._file(name)
        return file.read_text(errors="replace") if file.exists() else ""


# The child must have the parent's path before it can find this module, or the application's.
CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from peneus.testing import serve_order
serve_order(int(sys.argv[2]))
"""


def serve_order(ready: int) -> None:
    """In the child: takes the order from standard input, serves, and writes the addresses to the file descriptor ready."""
    from . import logs, settings
    from .server import Server, make
    from .supervisor import Supervisor

    order = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))
    checked = settings.from_keywords(order["settings"])
    logs.configure(checked.verbosity, "%(levelname)s %(name)s: %(message)s", checked.log_format)

    def tell() -> None:
        os.write(ready, json.dumps(server.listening_addresses).encode() + b"\n")
        os.close(ready)

    server: Server | Supervisor
    if checked.is_supervised:
        server = Supervisor(order["application"], order["settings"], checked, tell)
        sys.exit(server.run())
    server = make(order["application"], order["settings"], checked, ready_callable=tell)
    server.owns_process = True
    server.answers = True
    server.run()


class ServerProcess(multiprocessing.Process):
    """What `channels.testing.ChannelsLiveServerTestCase.ProtocolServerProcess` has to be: that of Daphne, with Peneus inside."""

    def __init__(
        self,
        host: str,
        get_application: Callable[[], Any],
        kwargs: dict[str, Any] | None = None,
        setup: Callable[[], object] | None = None,
        teardown: Callable[[], object] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__()
        self.host = host
        self.get_application = get_application
        self.kwargs = kwargs or {}
        self.setup = setup
        self.teardown = teardown
        self.port = multiprocessing.Value("i", port or 0)
        self.ready = multiprocessing.Event()
        self.errors: multiprocessing.Queue[tuple[BaseException, str]] = multiprocessing.Queue()

    def run(self) -> None:
        from . import endpoints
        from .server import Server

        try:
            if self.setup is not None:
                self.setup()
            server = Server(
                self.get_application(),
                endpoints=endpoints.describe(self.host, self.port.value),
                signal_handlers=False,
                ready_callable=lambda: self._tell(server.listening_addresses[0][1]),
                **self.kwargs,
            )
            try:
                server.run()
            finally:
                if self.teardown is not None:
                    self.teardown()
        except BaseException as error:
            self.errors.put((error, traceback.format_exc()))

    def _tell(self, port: Any) -> None:
        self.port.value = port
        self.ready.set()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
