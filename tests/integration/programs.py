"""ASGI applications for the tests of the package, and the tools to run a command beside a test."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# s: only a broken test waits as long. Instrumented programs are several times as slow.
PATIENCE = 90.0 if "PENEUS_SANITIZED" in os.environ else 30.0


async def hello(scope, receive, send):
    """Answers with the path; speaks HTTP only."""
    assert scope["type"] == "http"
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def until(condition: Callable[[], object], what: str = "what was waited for") -> None:
    """Waits until condition() is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)


class Command:
    """A process whose output is read while it runs."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until a line of the output matches."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.output)

        until(lambda: found() or self.process.poll() is not None, f"{pattern!r} in {self.output}")
        match = found()
        assert match, f"it ended with {self.process.returncode}, without {pattern!r}:\n{self.output}"
        return match

    def port(self) -> int:
        """The port it says it listens on."""
        return int(self.wait_for(r"Listening on TCP address \S+:(\d+)")[1])

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def command(
    *arguments: str,
    cwd: Path = ROOT,
    python: tuple[str, ...] = (sys.executable,),
    pass_fds: tuple[int, ...] = (),
    **environment: str,
) -> Iterator[Command]:
    """Runs python with arguments, which inherits pass_fds; ends it afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PENEUS_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*python, *arguments],
                cwd=cwd,
                env={**inherited, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        try:
            yield Command(process, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started, such as a reloader's child
            process.wait()


def peneus(*arguments: str, cwd: Path = ROOT, **environment: str):
    """The command peneus, on a free port unless the arguments say otherwise."""
    return command("-m", "peneus", *arguments, cwd=cwd, **environment)


def get(address: tuple[str, int] | str, path: str = "/", *headers: str) -> bytes:
    """One HTTP request; the whole response."""
    with connect(address) as connection:
        lines = [f"GET {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
        connection.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def connect(address: tuple[str, int] | str) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        return connection
    return socket.create_connection(address, PATIENCE)
