"""The lifespan protocol: startup, state, shutdown, and applications that do not speak it."""

import asyncio
import threading

import pytest
from peneus import desk
from peneus.testing import LiveServer

from tests.integration.programs import PATIENCE, get, hello, peneus

pytestmark = pytest.mark.filterwarnings("error")


async def answer(send, text):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})


def say(*words):
    print(*words, flush=True)


async def complete(scope, receive, send):
    if scope["type"] == "http":
        scope["state"]["mine"] = scope["state"].get("mine", 0) + 1
        return await answer(send, f"{scope['state']}")
    assert scope["type"] == "lifespan" and scope["asgi"]["version"] == "3.0"
    assert (await receive()) == {"type": "lifespan.startup"}
    await asyncio.sleep(0.2)
    scope["state"]["database"] = "open"
    await send({"type": "lifespan.startup.complete"})
    say("started")
    assert (await receive()) == {"type": "lifespan.shutdown"}
    say("shutting down")
    await send({"type": "lifespan.shutdown.complete"})
    say("ended")


def test_state_goes_into_each_scope_as_a_copy():
    with LiveServer(complete) as server:
        for _ in range(2):
            assert b"{'database': 'open', 'mine': 1}" in get((server.host, server.port))


def test_startup_comes_before_and_shutdown_after():
    with LiveServer(complete) as server:
        assert "started" in server.stdout, "it was ready before the application had started"
        assert server.stop() == 0
        assert server.stdout.split("\n")[-3:] == ["shutting down", "ended", ""]


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_startup_failed():
    with pytest.raises(RuntimeError) as error:
        LiveServer(fails).__enter__()
    assert "the application's startup failed: no database" in str(error.value)


@pytest.mark.parametrize("exception", [ValueError, AssertionError, NotImplementedError])
def test_an_application_without_lifespan(exception):
    with LiveServer(without_lifespan, environment={"EXCEPTION": exception.__name__}) as server:
        assert b"{}" in get((server.host, server.port))
        assert "lifespan" not in server.stderr


async def without_lifespan(scope, receive, send):
    import builtins
    import os

    if scope["type"] != "http":
        raise getattr(builtins, os.environ["EXCEPTION"])("no lifespan here")
    await answer(send, f"{scope['state']}")


def test_an_application_that_speaks_http_only():
    with LiveServer(hello) as server:
        assert b"/x" in get((server.host, server.port), "/x")


async def returns(scope, receive, send):
    if scope["type"] == "http":
        await answer(send, "served")


def test_an_application_that_returns_at_once():
    with LiveServer(returns) as server:
        assert b"served" in get((server.host, server.port))


async def answers_twice(scope, receive, send):
    if scope["type"] == "http":
        return await answer(send, "served")
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})  # before it is asked
    await receive()
    await asyncio.sleep(1.5)
    say("closed the database")
    await send({"type": "lifespan.shutdown.complete"})


def test_answers_that_nobody_has_asked_for_cut_nothing_off():
    with LiveServer(answers_twice, graceful_timeout=20) as server:
        assert b"served" in get((server.host, server.port))
        assert server.stop() == 0
        assert "closed the database" in server.stdout
        assert server.stderr.count("is no answer to what it was asked") == 2 and "ERROR" not in server.stderr


def test_a_startup_that_fails_is_one_line():
    with peneus("-p", "0", "--metrics", "127.0.0.1:0", "tests.integration.test_lifespan:fails") as server:
        assert server.wait() == 1
        assert "CRITICAL" in server.output and "no database" in server.output
        assert "Traceback" not in server.output and "peneus-desk" not in server.output


def test_what_answers_beside_it_ends_while_it_starts(monkeypatch):
    """As where the application's startup fails at once."""
    begun, unhandled = threading.Event(), []

    async def slowly(self):
        begun.set()
        await asyncio.sleep(0.2)

    monkeypatch.setattr(desk.Desk, "start", slowly)
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    beside = desk.DeskThread(metrics=None, answers=False, is_stuck=lambda: False)
    beside.start()
    assert begun.wait(PATIENCE)
    beside.close()
    beside.close()
    assert unhandled == []


async def raises_in_startup(scope, receive, send):
    if scope["type"] == "http":
        return await answer(send, "served")
    await receive()
    raise RuntimeError("in startup")


def test_an_error_after_receive_is_logged_and_the_server_goes_on():
    """The specification wants it to go on; silence would hide what is wrong."""
    with LiveServer(raises_in_startup) as server:
        assert b"served" in get((server.host, server.port))
        assert "Exception inside the application's lifespan: in startup" in server.stderr


async def shutdown_fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "still busy"})


async def shutdown_hangs(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("application", "said"),
    [(shutdown_fails, "shutdown failed: still busy"), (shutdown_hangs, "shutdown did not end within 0.5 s")],
)
def test_shutdown_that_fails_or_hangs(application, said):
    with LiveServer(application, graceful_timeout=0.5) as server:
        assert server.stop() == 0
        assert said in server.stderr


async def wrong_event(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            await send({"type": "http.response.start", "status": 200})
        except ValueError as error:
            say(error)
        await send({"type": "lifespan.startup.complete"})


def test_a_wrong_event_is_named():
    with LiveServer(wrong_event) as server:
        assert "'http.response.start' was sent in the lifespan scope, where only lifespan.startup.complete" in server.stdout


async def never_starts(scope, receive, send):
    say("starting")
    await asyncio.sleep(3600)


def test_a_signal_during_startup():
    from tests.integration.programs import peneus

    with peneus("-p", "0", "tests.integration.test_lifespan:never_starts") as server:
        server.wait_for("starting")
        server.process.terminate()
        assert server.wait() == 0
