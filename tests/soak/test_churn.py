"""Two thousand connections that come and go at random while messages flow: at the end every gauge is back at zero, and
memory is where it was.

PENEUS_SOAK_SECONDS: how long, 60 by default. A first churn of the same size, which is not measured, brings the process to
its working size.
"""

import json
import os
import random
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from tests.leaks.harness import PENEUS, ROOT, Running, running
from tests.soak.churn import GROUPS

pytestmark = pytest.mark.alone

SECONDS = float(os.environ.get("PENEUS_SOAK_SECONDS", "60"))
WARM_UP = 20
CONNECTIONS = 2000
# A leak of 512 bytes for each connection that comes and goes would be more than this in a minute.
FLAT = 4 * 1024  # KiB


@pytest.fixture(autouse=True)
def many_files():
    """The server inherits the limit: it needs a file for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def messages_flow(server: Running):
    """To one instrument after another, and now and then to all."""
    stop = threading.Event()

    def flow() -> None:
        number = 0
        while not stop.wait(0.1):
            number += 1
            group = "prices" if number % 20 == 0 else f"instrument-{random.randrange(GROUPS)}"
            server.publish(1, group)

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def churn(server: Running, seconds: float, seed: int) -> dict[str, int]:
    """Runs the clients; looks every second at what must hold at any time."""
    command = [sys.executable, "-m", "tests.soak.churn", str(server.port), str(seconds), str(CONNECTIONS), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as clients:
        while True:
            try:
                output, _ = clients.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                measured = server.measure()
                assert measured["orphaned"] == 0
                assert measured["queued"] <= 100 * measured["channels"]
    assert clients.returncode == 0
    return json.loads(output)


def files_of(server: Running) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settled(server: Running) -> dict[str, int]:
    """What is left when every application has ended."""
    server.wait_ended()
    server.publish(200)
    return server.measure()


def test_churn():
    with running(PENEUS, "tests.soak.program") as server:
        with messages_flow(server):
            churn(server, WARM_UP, seed=1)
        before = settled(server)
        files = files_of(server)
        with messages_flow(server):
            counts = churn(server, SECONDS, seed=2)
        after = settled(server)
        print(counts, before, after, server.counts(), f"{after['rss_kib'] - before['rss_kib']} KiB")
        zero = ("memberships", "groups", "channels", "queued", "queued_bytes", "orphaned")
        assert {name: after[name] for name in zero} == dict.fromkeys(zero, 0)
        assert server.killed == 0
        assert files_of(server) <= files + 1
        assert after["rss_kib"] - before["rss_kib"] < FLAT
        assert counts["connections"] > CONNECTIONS * 1.5, "otherwise nothing came and went"
        assert counts["messages"] > 10 * CONNECTIONS
        assert not any(name.startswith(("failed", "closed by the server")) for name in counts), counts
