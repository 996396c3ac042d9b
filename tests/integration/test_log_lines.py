"""Nothing that a client or an application names begins a line of a log, ends one, or reaches a terminal as a command."""

import asyncio
import contextlib
import logging
import re
import sys
import threading

import pytest
from peneus import ChannelLayer
from peneus.access import AccessLog
from peneus.bus_log import BusLog
from peneus.channels_command import render
from peneus.kill import report_kill
from peneus.lifespan import Lifespan
from peneus.logs import TextFormatter
from peneus.printable import printable
from peneus.server import _on_error, _on_fault, _on_malformed
from peneus.testing import LiveServer

from tests.integration.programs import get, peneus, until
from tests.leaks.client import Client
from tests.support.ports import free_port
from tests.support.redis import redis_server

HERE = "tests.integration.test_log_lines"
EVIL = "x\n2026-01-01 00:00:00,000 CRITICAL forged\r\x1b[2J\x9b31m\x7f\u2028\u202e"
ESCAPED = r"x\n2026-01-01 00:00:00,000 CRITICAL forged\r\x1b[2J\x9b31m\x7f\u2028\u202e"
PATH = "/x%0a2026-01-01%2000:00:00,000%20CRITICAL%20forged%0d%1b[2J%c2%9b31m%7f%e2%80%a8%e2%80%ae"


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        asyncio.current_task().set_name(EVIL)
        child = asyncio.create_task(asyncio.Event().wait(), name=EVIL)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.to_thread(in_a_thread)
        await child
    elif scope["type"] == "http":
        if scope["query_string"] == b"raise":
            raise ValueError(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"short"})
    else:
        raise ValueError(scope["type"])


def in_a_thread():
    threading.current_thread().name = EVIL
    threading.Event().wait(3)


def has_only_honest_lines(log):
    """Whether each line begins as one of ours, and holds nothing but text."""
    lines = log.split("\n")
    return not any(line.startswith("2026-01-01") for line in lines) and all(line.isprintable() for line in lines)


def test_printable():
    assert printable(EVIL) == ESCAPED
    assert printable("/ä b\\'\"") == "/ä b\\'\""
    assert printable("\udc80") == r"\udc80"
    assert printable(None) == "None"


def test_what_is_logged_of_a_path():
    with LiveServer(application, verbosity=0, application_close_timeout=0.2) as server:
        get((server.host, server.port), PATH)
        until(lambda: "Content-Length" in server.stderr, "a fault")
        get((server.host, server.port), PATH + "?raise")
        until(lambda: "Exception inside application" in server.stderr, "an exception")
        client = Client(server.port, PATH).open()
        client.socket.close()
        until(lambda: "was killed" in server.stderr, "a kill report")
        log = server.stderr
    lines = log.splitlines()
    assert f"ERROR peneus.server: GET /{ESCAPED}: the response has 5 bytes" in log
    assert f"ERROR peneus.server: Exception inside application: /{ESCAPED}\n" in log
    assert re.search(re.escape(f"for connection <websocket /{ESCAPED} from 127.0.0.1:"), log)
    assert any(line.startswith(f"Thread {ESCAPED} runs for it") for line in lines)
    if sys.version_info >= (3, 12):
        assert any(line.startswith(f"Its task {ESCAPED} is at") for line in lines)
    # A traceback has the text of its exception as it is, line breaks included: that is its form.
    assert all(line.isprintable() for line in lines)
    assert sum("forged" in line and line.startswith("2026-01-01") for line in lines) == 1


class Gone:
    """A connection of whose application a kill report speaks."""

    protocol, state, stood_still = "websocket", EVIL, 0.0
    scope = {"path": EVIL, "client": (EVIL, 1)}

    def __init__(self, task):
        self.task = task

    def report(self):
        return {"channels": 1, "groups": 2, "group_names": [EVIL, "b"], "queued": 0, "queued_bytes": 0, "dropped": 0}


class Waits:
    def __await__(self):
        return self

    def __next__(self):
        return None

    def __repr__(self):
        return EVIL


def test_reports_name_groups_clients_and_what_is_awaited(caplog):
    async def main():
        async def stuck():
            await Waits()

        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        report_kill(Gone(task))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            await task

    asyncio.run(main())
    (record,) = caplog.records
    assert f"<websocket {ESCAPED} from {ESCAPED}:1, {ESCAPED}>" in record.getMessage()
    assert f"2 groups ({ESCAPED}, b)" in record.getMessage()
    assert f"waiting for {ESCAPED}" in record.getMessage()
    assert has_only_honest_lines(record.getMessage())


def test_what_callbacks_log(caplog):
    caplog.set_level(logging.DEBUG)
    connection = Gone(None)
    connection.scope = {"path": EVIL, "method": EVIL}
    _on_fault(connection, EVIL)
    _on_malformed(connection.scope)
    _on_error(connection, ValueError(EVIL))

    async def lifespan(scope, receive, send):
        await receive()
        raise ValueError(EVIL)

    asyncio.run(Lifespan(lifespan, {}).startup())
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("peneus")]
    assert len(messages) == 4
    assert all(ESCAPED in message and message.isprintable() for message in messages), messages


def test_a_traceback_keeps_its_lines_and_nothing_else():
    try:
        raise ValueError(EVIL)
    except ValueError:
        text = TextFormatter().formatException(sys.exc_info())
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: " + ESCAPED.replace(r"\n", "\n"))


def test_what_a_channel_layer_logs(caplog):
    class Layer:
        where = "somewhere"

        def trouble(self):
            return f"Redis has refused SUBSCRIBE: {EVIL}"

    log = BusLog()
    log.look_at(Layer())
    with redis_server() as redis:
        layer = ChannelLayer(hosts=[redis.url], bus="redis", buffer_time=1)

        async def join():
            channel = await layer.new_channel()
            redis.kill()
            await layer.group_add(EVIL, channel)

        asyncio.run(join())
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("peneus")]
    assert any(message.startswith(f"Group {ESCAPED} is not joined") for message in messages), messages
    assert f"Channel layer: Redis has refused SUBSCRIBE: {ESCAPED}" in messages
    assert all(message.isprintable() for message in messages)


def test_peneus_channels_shows_names_on_one_line():
    channel = {"consumer": EVIL, "made_at": EVIL, "owner": EVIL, "groups": 1, "queued": 0, "queued_bytes": 0, "dropped": 0}
    worker = {"pid": 1, "groups": {EVIL: {"members": 1}}, "channels": {EVIL: channel}, "channels_total": 1}
    text = render({"pid": 1, "stats": {"workers": 1}, "workers": [worker]}, 10, 10_000)
    assert text.count(ESCAPED) == 5
    assert all(line.isprintable() for line in text.split("\n"))


def test_the_access_log_quotes():
    lines = []

    class Stream:
        def write(self, text):
            lines.append(text)

    log = AccessLog(Stream())
    log("websocket", "connected", {"path": '/a" 200 1\\', "client": "h:1"})
    log("websocket", "connected", {"path": EVIL, "client": f'h - - "{EVIL}"'})
    assert lines[0].endswith(r'] "WSCONNECT /a\" 200 1\\" - -' + "\n")
    assert lines[1].startswith(r"h\x20-\x20-\x20\"" + ESCAPED.replace(" ", r"\x20") + r"\" - - [")
    assert lines[1].endswith(rf'"WSCONNECT {ESCAPED}" - -' + "\n")
    assert lines[1].count(" ") == ESCAPED.count(" ") + 7


def test_the_access_log_of_a_server_quotes():
    with peneus("-p", "0", "-v", "1", "--proxy-headers", f"{HERE}:application") as server:
        get(("127.0.0.1", server.port()), '/a?"b\\c', 'X-Forwarded-For: 6.6.6.6 - - "GET /')
        server.wait_for(r'6\.6\.6\.6\\x20-\\x20-\\x20\\"GET\\x20/:0 - - \[.*\] "GET /a\?\\"b\\\\c" 200')


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("when", ["at_import", "at_startup"])
def test_a_logging_configuration_that_switches_all_loggers_off(when, workers):
    with peneus("-p", "0", "--workers", workers, f"tests.integration.log_apps:{when}") as server:
        get(("127.0.0.1", server.port()))
        server.wait_for("mine ERROR peneus.server: Exception inside application: on purpose")
        server.wait_for("RuntimeError: on purpose")


def test_a_logging_configuration_that_names_peneus():
    port = free_port()
    with peneus("-p", str(port), "tests.integration.log_apps:that_names_it") as server:
        until(lambda: answers(port), "it answers")
        server.wait_for('"GET /" 500')
        assert "on purpose" not in server.output


def answers(port):
    try:
        return get(("127.0.0.1", port))
    except ConnectionRefusedError:
        return False
