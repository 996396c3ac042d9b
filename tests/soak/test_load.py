"""Up to 200 messages a second to 500 sockets, relayed: all of it arrives, whole and in order, also while a Python thread computes
all the time; and what clients that never read cost.

Latencies are printed beside those of a bare C loop that writes the same frames to as many sockets; nothing is asserted of them.
PENEUS_SOAK_SECONDS: how long, 3 by default, and a minute at most.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peneus.testing import LiveServer

from bench.servers import wait_for
from bench.work import build_tool
from tests.integration.core_harness import WebSocket
from tests.support.ports import free_port

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
SECONDS = min(float(os.environ.get("PENEUS_SOAK_SECONDS", "3")), 60)
SLOWDOWN = int(os.environ.get("PENEUS_TEST_SLOWDOWN", "1"))  # of instrumented builds
RATE = 200 // SLOWDOWN
SOCKETS = 500
SIZE = 256
PATIENCE = 300  # seconds, after which what has not arrived counts as lost: far more than a busy machine needs
# Clients here answer no pings, and some never read: on a machine that is slow enough they would be closed for it.
SILENCE_ALLOWED: dict[str, Any] = {"ping_interval": 0, "send_timeout": -1}


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Servers and clients inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def process(*command: object, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Has said "ready"; is killed at the end."""
    words = [str(word) for word in command]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr, text=True) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            assert line == "ready\n", line
            yield started
        finally:
            started.kill()


@dataclass
class Arrived:
    rate: float  # deliveries a second
    p50: float  # ms, from publish to receipt, as are the next two
    p99: float
    p999: float
    missing: int
    wrong: int

    def __str__(self) -> str:
        return f"{self.rate:,.0f} deliveries/s, p50 {self.p50:.1f}, p99 {self.p99:.1f}, p99.9 {self.p999:.1f} ms"


def relay_progress(listening: subprocess.Popen[str], publishing: subprocess.Popen[str]) -> str:
    """Writes to the publisher, at first and each time that the listener says so, how many messages all sockets have. Returns the
    listener's last line, which is its result or its error."""
    assert publishing.stdin is not None and listening.stdout is not None
    line = "0\n"
    while line.strip().isdigit():
        publishing.stdin.write(line)
        publishing.stdin.flush()
        line = listening.stdout.readline()
    return line


def load(
    port: int,
    sockets: int,
    publisher: tuple[object, ...],
    during: AbstractContextManager[None] | None = None,
    size: int = SIZE,
    rate: int = RATE,
) -> Arrived:
    """What sockets at /prices get of what publisher's process publishes for SECONDS. during: from when they are connected."""
    client = build_tool("ws_load")
    count = int(rate * SECONDS)
    seconds = SECONDS + PATIENCE
    arguments = (port, "/prices", "listen", sockets, count, size, seconds)
    with process(client, "127.0.0.1", *arguments, stderr=subprocess.STDOUT) as listening:
        publisher = (sys.executable, "-m", "tests.soak.publisher", rate, count, size, *publisher)
        with process(*publisher) as publishing, during or nullcontext():
            output = relay_progress(listening, publishing)
        assert listening.wait(PATIENCE) == 0, output
    rate, p50, p99, p999, missing, wrong = (float(word) for word in output.split())
    return Arrived(rate, p50 / 1000, p99 / 1000, p999 / 1000, int(missing), int(wrong))


@contextmanager
def bare_loop() -> Iterator[int]:
    port = free_port()
    with subprocess.Popen([str(build_tool("bare_fanout")), str(port), str(SIZE)]) as started:
        try:
            wait_for(port, started)
            yield port
        finally:
            started.kill()


def ask(client: WebSocket, text: str) -> dict[str, Any]:
    client.socket.settimeout(PATIENCE)
    client.text(text)
    answer: dict[str, Any] = json.loads(client.receive()[1])
    return answer


@contextmanager
def computing(server: LiveServer) -> Iterator[None]:
    """A Python thread of the server computes all the time."""
    with WebSocket(server.port, "/control").open() as control:
        ask(control, "compute")
        try:
            yield
        finally:
            ask(control, "rest")


def assert_all(arrived: Arrived) -> None:
    assert (arrived.missing, arrived.wrong) == (0, 0)


def report(what: str, arrived: Arrived, bare: Arrived) -> None:
    print(f"\n{what}: {arrived}\nbare C loop: {bare}\np99 is {arrived.p99 / bare.p99:.2f} of the bare loop's")


def test_everything_arrives() -> None:
    with bare_loop() as port:
        bare = load(port, SOCKETS, ("socket", port))
    with LiveServer("tests.soak.load_program:application", **SILENCE_ALLOWED) as server:
        arrived = load(server.port, SOCKETS, ("socket", server.port))
    report("relay", arrived, bare)
    assert_all(arrived)


def test_while_python_computes(tmp_path: Path) -> None:
    """Another process publishes, over the hub, so that nothing on the way needs the GIL."""
    hub = str(tmp_path / "hub")
    with bare_loop() as port:
        bare = load(port, SOCKETS, ("socket", port))
    with LiveServer("tests.soak.load_program:application", environment={"LOAD_HUB": hub}, **SILENCE_ALLOWED) as server:
        idle = load(server.port, SOCKETS, ("hub", hub))
        computed = load(server.port, SOCKETS, ("hub", hub), computing(server))
    report("relay over the hub", idle, bare)
    report("relay over the hub while a Python thread computes", computed, bare)
    assert_all(idle)
    assert_all(computed)


WRITE_LIMIT = 64 * 1024  # websocket_write_limit
BIG = 4096
SLOW = 100
FLOOD = 500  # messages for each of them: 2,000 KiB, seven times what the server and the kernel may hold
SLOW_RATE = RATE // 4
SLACK = 8 * 1024 * SLOWDOWN  # KiB that the process may grow for other reasons
KERNEL = 512  # KiB for each client: 128 KiB unsent, what its window takes, and the kernel's bookkeeping


class Slow(WebSocket):
    """A client that reads its handshake and nothing more. Its window is small, so that the kernel soon takes no more for it."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(port, path)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def memory(server: LiveServer) -> int:
    """KiB that the server's process has to itself."""
    assert server.process is not None
    for line in Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise AssertionError("no Private_Dirty")


def dropped(counted: dict[str, Any]) -> int:
    return sum(counted["stats"]["messages_dropped_total"].values())


def in_kernel(server: LiveServer) -> int:
    """KiB that the kernel holds for the server's clients, because they do not take it."""
    command = ["ss", "-tmnH", "state", "established", "sport", "=", f":{server.port}"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sum(int(queued) for queued in re.findall(r"skmem:\([^)]*,w(\d+),", shown)) // 1024


def bound(message: int) -> int:
    """docs/operations.md, "Slow clients", in KiB: for each of them what waits, the message that is being written, and the
    allocator's share."""
    return SLOW * (WRITE_LIMIT + message) * 3 // 2 // 1024


def test_clients_that_never_read() -> None:
    """100 of 1,000. Each is also in a group of its own, whose messages fill what may wait for it: they share none of that."""
    settings = {**SILENCE_ALLOWED, "websocket_write_limit": WRITE_LIMIT}
    with LiveServer("tests.soak.load_program:application", environment={"LOAD_SIZE": str(BIG)}, **settings) as server:
        publisher = ("socket", server.port)
        alone = load(server.port, 900, publisher, size=BIG, rate=SLOW_RATE)
        with ExitStack() as stack:
            for number in range(SLOW):
                stack.enter_context(Slow(server.port, f"/own-{number},prices").open())
            control = stack.enter_context(WebSocket(server.port, "/control").open())
            before = memory(server)
            full = ask(control, f"flood {FLOOD}")
            grown, kernel = memory(server) - before, in_kernel(server)
            among = load(server.port, 900, publisher, size=BIG, rate=SLOW_RATE)
            drops = dropped(ask(control, "stats"))
            later = memory(server) - before
    print(f"\n900 clients: {alone}\nthe same among {SLOW} that never read: {among}")
    print(f"KiB: {grown:,} more, then {later:,}; the bound {bound(BIG):,}; in the kernel {kernel:,}")
    assert_all(alone)
    assert_all(among)
    assert dropped(full) > SLOW
    assert drops > dropped(full) + SLOW, "they still get nothing"
    assert grown < bound(BIG) + SLACK
    assert later < bound(BIG) + SLACK
    assert kernel < SLOW * KERNEL
