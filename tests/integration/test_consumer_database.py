"""Channels' look for old database connections: left out only where it would find nothing, against a real database."""

import json

import httpx
import pytest
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import Client

APPLICATION = "tests.integration.consumer_apps:application"

CLOSED = {"open": False, "checked": True, "errors": False}
NEW = {"open": False, "checked": False, "errors": False}


@pytest.fixture(params=[False, True], ids=["shortcut", "by Channels"])
def serve(request, tmp_path):
    """Starts a server, with the shortcut and without: what a consumer sees is the same. Gives what asks it."""
    servers = []

    def serve(max_age=0, thread=False, **environment):
        environment |= {"TEST_DATABASE": str(tmp_path / "db"), "TEST_CONN_MAX_AGE": json.dumps(max_age)}
        server = LiveServer(
            APPLICATION, environment=environment, no_database_shortcut=request.param, thread_per_connection=thread
        )
        servers.append(server.__enter__())
        return server

    yield serve
    for server in servers:
        server.__exit__()


def asker(server):
    client = Client(server.port, "/database").open()

    def ask(text):
        client.send(text.encode())
        return json.loads(client.receive())

    ask.client = client
    return ask


@pytest.mark.parametrize("thread", [False, True], ids=["one thread", "own thread"])
def test_a_connection_is_closed_before_the_next_message(serve, thread):
    ask = asker(serve(thread=thread))
    assert not ask("state")["open"]
    for _ in range(3):
        ask("query")
        assert not ask("state")["open"]
        ask("query and close")
        assert not ask("state")["open"]


@pytest.mark.parametrize("thread", [False, True], ids=["one thread", "own thread"])
def test_a_connection_that_may_live_stays_and_is_checked_anew(serve, thread):
    ask = asker(serve(max_age=600, thread=thread))
    ask("query")
    for _ in range(3):
        seen = ask("query")
        assert seen["open"] and not seen["checked"], "each message begins as a request does"


def test_a_connection_with_an_error_is_looked_at(serve):
    ask = asker(serve(max_age=600))
    ask("query")
    ask("error")
    assert not ask("state")["errors"], "it was found usable"


def test_a_connection_that_grows_old_is_closed(serve):
    ask = asker(serve(max_age=0.5))
    ask("query")
    until(lambda: not ask("state")["open"], "it is closed when its time has come")


def test_a_connection_of_another_consumer_in_the_same_thread_is_closed(serve):
    server = serve()
    first, second = asker(server), asker(server)
    for ask in (first, second):
        ask("state")
    first("query")
    assert not second("state")["open"]


def test_a_connection_from_before_the_first_message_is_closed(serve):
    ask = asker(serve(TEST_QUERY_AT_STARTUP="1"))
    assert not ask("state")["open"]


def test_a_connection_of_the_loops_thread_stays_as_under_channels(serve):
    ask = asker(serve(DJANGO_ALLOW_ASYNC_UNSAFE="1"))
    ask("query here")
    assert ask("fds") == {"fds": 1}
    assert ask("fds") == {"fds": 1}


def test_where_nothing_is_open_nobody_waits_for_the_thread(tmp_path):
    flag = tmp_path / "flag"
    with LiveServer(APPLICATION, environment={"TEST_FLAG": str(flag), "TEST_DATABASE": str(tmp_path / "db")}) as server:
        echo = Client(server.port, "/echo", timeout=10).open()
        echo.send(b"before")  # from here on the thread is known
        assert echo.receive() == b"before"
        blocking = Client(server.port, "/blocking").open()
        blocking.send(b"block")
        until(lambda: "blocked" in server.stdout, "the thread of synchronous code is blocked")
        try:
            echo.send(b"meanwhile")
            assert echo.receive() == b"meanwhile"
            Client(server.port, "/leaving", timeout=10).open().close()
            until(lambda: "has left" in server.stdout, "a consumer that leaves does not wait either")
            assert httpx.post(server.url, content=b"body", timeout=10).status_code == 200
        finally:
            flag.touch()
        assert blocking.receive() == b"block False"


def test_own_connections_end_with_the_thread(serve):
    server = serve(max_age=600, thread=True)
    watcher = asker(server)
    threads = watcher("threads")["threads"]
    ask = asker(server)
    ask("query")
    assert watcher("fds") == {"fds": 1}
    assert watcher("threads")["threads"] == threads + 1
    ask.client.close()
    until(lambda: watcher("fds") == {"fds": 0}, "its database connection is closed")
    until(lambda: watcher("threads")["threads"] == threads, "its thread has ended")
