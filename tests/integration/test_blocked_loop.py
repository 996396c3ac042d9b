"""One application blocks the event loop: nobody else is killed for it, and the log says where it was."""

import asyncio
import ctypes
import os
import signal
import time

import pytest
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import Client

CLOSE_TIMEOUT = 0.5  # s


def sleeping(seconds):
    time.sleep(seconds)


def holding_the_gil(seconds):
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


BLOCKS = {"/sleeping": sleeping, "/holding_the_gil": holding_the_gil}


async def application(scope, receive, send):
    """/sleeping, /holding_the_gil: blocks the loop for as many seconds as a message says. /tidies: its cleanup takes a moment.
    /never: it takes for ever."""
    if scope["type"] != "websocket":
        raise ValueError("WebSockets only")
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        BLOCKS[scope["path"]](float(event["text"]))
    if scope["path"] == "/tidies":
        print("begun", flush=True)
        await asyncio.sleep(CLOSE_TIMEOUT / 5)
        print("finished", flush=True)
    elif scope["path"] == "/never":
        await asyncio.Event().wait()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["sleeping", "holding_the_gil"])
def test_who_leaves_meanwhile_may_finish(how, loop):
    with LiveServer(application, application_close_timeout=CLOSE_TIMEOUT, loop=loop) as server:
        leaving = [Client(server.port, "/tidies").open() for _ in range(5)]
        blocking = Client(server.port, f"/{how}").open()
        blocking.send(b"2")
        for client in leaving:
            client.reset()
        until(lambda: server.stdout.count("begun") == 5, "all of them hear of it")
        until(lambda: server.stdout.count("finished") == 5 or "was killed" in server.stderr, "their cleanup ends")
        assert "was killed" not in server.stderr
        blocking.close()


def test_who_had_begun_to_clean_up_may_finish():
    """The loop is blocked while their time runs, again and again."""
    with LiveServer(application, application_close_timeout=4 * CLOSE_TIMEOUT) as server:
        blocking = Client(server.port, "/sleeping").open()
        leaving = [Client(server.port, "/never").open() for _ in range(2)]
        for client in leaving:
            client.reset()
        blocking.send(b"2")
        blocking.send(b"2")
        until(lambda: server.stderr.count("was killed.") == 2, "their time is over at last")
        report = server.stderr[server.stderr.index("was killed.") :]
        assert "Meanwhile the event loop stood still for " in report, "for more than a second"
        assert "in sleeping\n    time.sleep(seconds)" in report
        assert "await asyncio.Event().wait()" in report[report.index("It is stuck at") :]
        blocking.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["sleeping", "holding_the_gil"])
def test_one_process_says_where_it_is_blocked(how, loop):
    with LiveServer(application, worker_timeout=0.5, loop=loop) as server:
        blocking = Client(server.port, f"/{how}").open()
        blocking.send(b"2")
        until(lambda: "The event loop goes on, after " in server.stderr, "it goes on")
        report = server.stderr
        assert "ERROR peneus.server: The event loop has stood still for " in report
        assert f"in {how}\n" in report and f'"{__file__}", line ' in report
        assert report.count("has stood still") == report.count("goes on") == 1
        blocking.close()


def test_a_process_that_was_stopped_blames_nobody():
    with LiveServer(application, worker_timeout=0.5) as server:
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(server.process.pid, signal.SIGCONT)
        until(lambda: "The event loop goes on, after " in server.stderr, "it goes on")
        assert "has stood still" not in server.stderr
