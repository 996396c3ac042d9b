"""The servers under measurement: how each is started, pinned to one core, and ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".cache" / "bench-venv" / "bin"
OURS = Path(sys.executable).parent


@dataclass(frozen=True)
class Server:
    """`command` has {app} and {port}. `peer`: from the bench's own environment; `ours`: a path of this checkout.
    `cores`: how many it may use; with more than one it shares the client's."""

    name: str
    command: str
    peer: bool = True
    ours: bool = False
    cores: int = 1

    @property
    def program(self) -> Path:
        return (ROOT if self.ours else PEERS if self.peer else OURS) / self.command.split()[0]


PENEUS = Server("peneus", "peneus --access-log /dev/null -v 0 -p {port} {app}", peer=False)
UVICORN = Server("uvicorn", "uvicorn --loop uvloop --http httptools --no-access-log --log-level warning --port {port} {app}")
DAPHNE = Server("daphne", "daphne -v 0 -p {port} {app}")
HYPERCORN = Server("hypercorn", "hypercorn --worker-class uvloop --log-level warning -b 127.0.0.1:{port} {app}")
GRANIAN = Server("granian", "granian --interface asgi --loop uvloop --log-level warning --host 127.0.0.1 --port {port} {app}")
H2CORN = Server("h2corn", "h2corn --bind 127.0.0.1:{port} {app}")
PENEUS_2 = Server("peneus, 2 workers", PENEUS.command + " --workers 2", peer=False, cores=2)
UVICORN_2 = Server("uvicorn, 2 workers", UVICORN.command + " --workers 2", cores=2)
BARE = Server("bare C loop", "build/bench/bare_fanout {port} 256", peer=False, ours=True)
ALL = [PENEUS, UVICORN, DAPHNE, HYPERCORN, GRANIAN, H2CORN]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pinned(core: int) -> list[str]:
    """A prefix that runs a command on one core, where there are two to choose from."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) >= 2 else []


@contextmanager
def running(server: Server, app: str, environment: Mapping[str, str] | None = None, core: int = 0) -> Iterator[tuple[int, int]]:
    """Runs server with app; gives (port, pid)."""
    port = free_port()
    words = server.command.format(app=app, port=port).split()
    command = [*(pinned(core) if server.cores == 1 else []), str(server.program), *words[1:]]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        end(process)
