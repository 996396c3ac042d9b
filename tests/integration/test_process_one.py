"""The server as process 1 of a container: signals, exit codes, and processes that nobody else waits for."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.programs import command, get, until

HERE = "tests.integration.test_process_one"
UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def can_unshare():
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not can_unshare(), reason="no process may be number 1 of a namespace here")


async def answer(send, word):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(word).encode()})


async def application(scope, receive, send):
    """/orphan: makes one that ends soon, and answers with its number. /exists/N: whether that process does, or its zombie.
    /own: the exit status of a child that has ended long before it is asked for it."""
    path = scope["path"]
    if path == "/orphan":
        made = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.1 >&- & echo $!", stdout=subprocess.PIPE)
        return await answer(send, (await made.communicate())[0].decode().strip())
    if path.startswith("/exists/"):
        try:
            os.kill(int(path.rpartition("/")[2]), 0)
        except ProcessLookupError:
            return await answer(send, "no")
        return await answer(send, "yes")
    if path == "/own":
        child = subprocess.Popen(["sh", "-c", "exit 7"])  # noqa: ASYNC220 - and nobody looks at it meanwhile
        await asyncio.sleep(0.5)
        return await answer(send, child.wait())
    if path == "/process":
        return await answer(send, os.getpid())
    raise ValueError(f"nothing is at {path}")


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def as_process_one(*options, path="application"):
    return command("-m", "peneus", "-p", "0", *options, f"{HERE}:{path}", python=(*UNSHARE, sys.executable))


def process_one(server):
    """Its number outside."""
    return child_of(server.process.pid)


def child_of(number):
    return int(Path(f"/proc/{number}/task/{number}/children").read_text().split()[0])


def ask(server, path):
    return get(("127.0.0.1", server.port()), path).partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_orphans_are_reaped_and_nothing_else(options):
    with as_process_one(*options) as server:
        orphans = [ask(server, "/orphan") for _ in range(3)]
        assert ask(server, "/own") == "7"
        for orphan in orphans:
            until(lambda orphan=orphan: ask(server, f"/exists/{orphan}") == "no", "nothing is left of it")
        assert ask(server, "/process") != "1"
        os.kill(process_one(server), signal.SIGTERM)
        assert server.wait() == 0
        assert "Stopping" in server.output


def test_its_exit_code_is_the_servers():
    with as_process_one(path="fails") as server:
        assert server.wait() == 1
        assert "no database" in server.output
    with as_process_one() as server:
        server.port()
        os.kill(child_of(process_one(server)), signal.SIGKILL)
        assert server.wait() == 128 + signal.SIGKILL


def test_each_signal_counts_once():
    """A second one would end the server without waiting."""
    with as_process_one("--graceful-timeout", "1000") as server:
        server.port()
        os.kill(process_one(server), signal.SIGINT)
        assert server.wait() == 0
        assert server.output.count("Stopping") == 1
