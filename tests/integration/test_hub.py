"""The hub between real processes: who gets what, what a death takes with it, and what the hub's own death costs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import peneus.hub
import pytest

from tests.integration.core_harness import eventually

ROOT = Path(__file__).resolve().parents[2]
TICK = {"type": "tick", "n": 1}


class Process:
    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "tests.integration.hub_process", str(path)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self.read() == "ready"

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *command: Any) -> Any:
        self.begin(*command)
        return self.read()

    def begin(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def hub(path: Path) -> Iterator[peneus.hub.Hub]:
    hub = peneus.hub.host(path)
    yield hub
    hub.close()


def test_groups_across_processes(path: Path, hub: peneus.hub.Hub) -> None:
    with Process(path) as a, Process(path) as b, Process(path) as c:
        mine, yours = a.ask("new"), b.ask("new")
        a.ask("add", "prices", mine)
        b.ask("add", "prices", yours)
        c.ask("group_send", "prices", TICK)
        assert a.ask("receive", mine, 10) == b.ask("receive", yours, 10) == TICK
        a.ask("group_send", "prices", {"type": "own"})
        assert a.ask("receive", mine, 10) == b.ask("receive", yours, 10) == {"type": "own"}
        assert a.ask("receive", mine, 0.2) == {"error": "TimeoutError"}, "what it published itself came back"
        assert c.ask("members", "prices") == a.ask("members", "prices") == sorted([mine, yours])
        b.ask("discard", "prices", yours)
        before = hub.stats()["forwarded"]
        a.ask("group_send", "prices", TICK)
        assert a.ask("receive", mine, 10) == TICK
        assert hub.stats()["forwarded"] == before, "it went where nobody listens"


def test_order(path: Path, hub: peneus.hub.Hub) -> None:
    with Process(path) as a, Process(path) as b:
        channel = a.ask("new")
        a.ask("add", "g", channel)
        for number in range(90):
            b.ask("group_send", "g", {"type": "tick", "n": number})
        assert [a.ask("receive", channel, 10)["n"] for _ in range(90)] == list(range(90))


def test_direct_sends(path: Path, hub: peneus.hub.Hub) -> None:
    with Process(path) as a, Process(path) as b, Process(path) as c:
        mine = a.ask("new")
        b.ask("send", mine, TICK)
        assert a.ask("receive", mine, 10) == TICK
        c.ask("send", "jobs", {"type": "job", "n": 1})  # waits in the hub: nobody receives yet
        assert b.ask("receive", "jobs", 10) == {"type": "job", "n": 1}
        a.begin("receive", "more", 20)
        c.ask("send", "more", {"type": "job", "n": 2})
        assert a.read() == {"type": "job", "n": 2}


def test_a_killed_process_is_gone_everywhere(path: Path, hub: peneus.hub.Hub) -> None:
    with Process(path) as a, Process(path) as b:
        mine, yours = a.ask("new"), b.ask("new")
        a.ask("add", "g", mine)
        b.ask("add", "g", yours)
        assert hub.stats()["members"] == 2
        a.kill()
        eventually(lambda: hub.stats()["members"] == 1)
        b.ask("group_send", "g", TICK)
        assert b.ask("receive", yours, 10) == TICK
        assert b.ask("members", "g") == [yours]
        assert hub.stats()["forwarded"] == 0


def test_the_hub_dies_and_returns(path: Path) -> None:
    hub = peneus.hub.host(path)
    with Process(path) as a, Process(path) as b:
        channel = a.ask("new")
        a.ask("add", "g", channel)
        hub.close()
        eventually(lambda: b.ask("links") == 0)
        b.begin("group_send", "g", TICK)  # waits for the hub
        hub = peneus.hub.host(path)
        assert b.read() is None
        assert a.ask("receive", channel, 10) == TICK
        eventually(lambda: hub.stats()["groups"] == 1)
    hub.close()
    assert not path.exists()


def test_who_is_in_a_group_is_not_half_the_truth(path: Path, hub: peneus.hub.Hub) -> None:
    """One of the processes has members and does not answer."""
    with Process(path) as a, Process(path) as b, Process(path) as c:
        mine, yours = a.ask("new"), b.ask("new")
        a.ask("add", "g", mine)
        b.ask("add", "g", yours)
        eventually(lambda: c.ask("members", "g") == sorted([mine, yours]))  # a slow machine may connect after the join
        b.process.send_signal(signal.SIGSTOP)
        assert c.ask("members", "g") == {"error": "BusUnavailable"}
        b.process.send_signal(signal.SIGCONT)
        eventually(lambda: c.ask("members", "g") == sorted([mine, yours]))


HOST = "import peneus.hub, sys, time; hub = peneus.hub.host(sys.argv[1]); print('ready', flush=True); time.sleep(600)"


def test_a_hub_that_hangs(path: Path) -> None:
    """Nobody who joins waits for it for long; it is given up; and when it runs again everybody is back, with all groups."""
    with Process(path) as a, Process(path) as b:
        hub = subprocess.Popen([sys.executable, "-c", HOST, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        try:
            assert hub.stdout is not None and hub.stdout.readline() == b"ready\n"
            channel = a.ask("new")
            a.ask("add", "before", channel)
            hub.send_signal(signal.SIGSTOP)
            for number in range(20):
                a.ask("add", f"meanwhile-{number}", channel)
            eventually(lambda: a.ask("links") == b.ask("links") == 0)
            a.ask("discard", "before", channel)
            hub.send_signal(signal.SIGCONT)
            eventually(lambda: a.ask("links") == b.ask("links") == 1)
            eventually(lambda: b.ask("members", "meanwhile-19") == [channel])
            assert b.ask("members", "before") == []
            b.ask("group_send", "meanwhile-0", TICK)
            assert a.ask("receive", channel, 10) == TICK
        finally:
            hub.kill()
            hub.communicate()


def test_without_a_hub_publishing_fails_with_a_sentence(path: Path) -> None:
    layer = peneus.ChannelLayer(bus="hub", hub=path, buffer_time=0.3)

    async def publish() -> None:
        await layer.group_send("g", TICK)

    with pytest.raises(peneus.BusUnavailable, match="hub"):
        asyncio.run(publish())


def test_one_host_for_a_path(path: Path, hub: peneus.hub.Hub) -> None:
    with pytest.raises(OSError, match="another process is the hub there"):
        peneus.hub.host(path)
    hub.close()
    peneus.hub.host(path).close()


def test_only_this_user(path: Path, hub: peneus.hub.Hub) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    if os.geteuid() != 0:
        return
    os.chmod(path, 0o666)  # so that only the credentials refuse
    os.chmod(path.parent, 0o755)
    for parent in path.parents:
        if str(parent).startswith("/tmp/pytest"):
            os.chmod(parent, 0o755)
    connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.exit(s.recv(10) != b'')"
    anybodys = shutil.which("python3", path="/usr/bin") or pytest.skip("the one Python here cannot be run by other users")
    subprocess.run([anybodys, "-c", connect, str(path)], user=65534, group=65534, check=True, timeout=20)
    eventually(lambda: hub.stats()["refused"] == 1)


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="no socket"):
        peneus.hub.host(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(OSError, match="longer than"):
        peneus.hub.host(tmp_path / ("x" * 200))
    with pytest.raises(OSError, match="missing/hub"):
        peneus.hub.host(tmp_path / "missing" / "hub")


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\x0a\0\0\0\x06\0" + bytes(8), b"\x0a\0\0\0\x01\0" + bytes(8)],
    ids=["http", "long", "no hello", "version 0"],
)
def test_garbage_is_refused_and_disturbs_nobody(path: Path, hub: peneus.hub.Hub, garbage: bytes) -> None:
    with ExitStack() as stack:
        a = stack.enter_context(Process(path))
        channel = a.ask("new")
        a.ask("add", "g", channel)
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(path))
        client.sendall(garbage)
        client.settimeout(20)
        assert client.recv(10) == b""
        with Process(path) as b:
            b.ask("group_send", "g", TICK)
        assert a.ask("receive", channel, 10) == TICK
