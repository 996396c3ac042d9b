"""The native server with HTTP applications: scope, receive, send, and what happens when one side leaves."""

import asyncio
import threading
import time

import pytest
from peneus import _core

from tests.integration.core_harness import CoreServer, eventually


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def respond(send, body=b"", status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def expect_error(messages, check):
    """An application that sends messages, of which the last must raise; then it answers with what check says of it."""

    async def application(scope, receive, send):
        try:
            for message in messages:
                await send(message)
        except Exception as error:
            application.error = error
            raise
        raise AssertionError("no error")

    with CoreServer(application) as server:
        response = server.get()
        server.idle()
        assert server.errors == [application.error]
    check(application.error)
    return response


def test_scope(loop):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)
        await respond(send)

    state = {"key": object()}
    with CoreServer(application, loop, root_path="/root", state=state) as server:
        with server.connect() as client:
            port = client.socket.getsockname()[1]
            client.send(b"POST /caf%C3%A9/%2f%zz%ff?a=%20b&c HTTP/1.1\r\nHost: h\r\n")
            client.send(b"X-Two:  1 \r\nx-two: 2\r\nContent-Length: 0\r\n\r\n")
            assert client.response().status == 200
        scope = seen[-1]
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "extensions": {
                "http.response.pathsend": {},
                "http.response.zerocopysend": {},
                "http.response.trailers": {},
                "http.response.early_hint": {},
            },
            "method": "POST",
            "scheme": "http",
            "path": "/café//%zz\ufffd",
            "raw_path": b"/caf%C3%A9/%2f%zz%ff",
            "query_string": b"a=%20b&c",
            "root_path": "/root",
            "headers": [(b"host", b"h"), (b"x-two", b"1"), (b"x-two", b"2"), (b"content-length", b"0")],
            "client": ("127.0.0.1", port),
            "server": ("127.0.0.1", server.port),
            "state": state,
        }
        assert scope["state"] is not state and scope["state"]["key"] is state["key"]


def test_scopes_share_nothing_that_an_application_may_change():
    seen = []

    async def application(scope, receive, send):
        seen.append((dict(scope), {name: dict(scope[name]) for name in ("asgi", "state")}, list(scope["headers"])))
        scope["asgi"]["version"] = "9"
        scope["state"]["mine"] = True
        scope["headers"].clear()
        scope.clear()
        await respond(send)

    with CoreServer(application, state={}) as server, server.connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            client.response()
    assert seen[0][1:] == seen[1][1:]
    assert seen[0][1] == {"asgi": {"version": "3.0", "spec_version": "2.3"}, "state": {}}


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", b""),
        ("/?", "/", b""),
        ("/a?b?c", "/a", b"b?c"),
        ("http://h/a/b?c", "/a/b", b"c"),
        ("http://h", "/", b""),
        ("/a%", "/a%", b""),
        ("/a%2", "/a%2", b""),
    ],
)
def test_targets(target, path, query):
    async def application(scope, receive, send):
        await respond(send, repr((scope["path"], scope["query_string"])).encode())

    with CoreServer(application) as server:
        assert server.get(target).body == repr((path, query)).encode()


def test_prepare_scope():
    async def application(scope, receive, send):
        await respond(send, repr(scope["client"]).encode())

    def prepare(scope):
        scope["client"] = ["10.0.0.1", 80]

    with CoreServer(application, prepare_scope=prepare) as server:
        assert server.get().body == b"['10.0.0.1', 80]"
        eventually(lambda: server.access)
        assert server.access[0][1]["client"] == "10.0.0.1:80"


def test_body_arrives_in_events(loop):
    async def application(scope, receive, send):
        events, body = 0, b""
        while True:
            message = await receive()
            assert set(message) == {"type", "body", "more_body"} and message["type"] == "http.request"
            events += 1
            body += message["body"]
            if not message["more_body"]:
                break
        await respond(send, b"%d %d" % (events > 1, len(body)))

    with CoreServer(application, loop) as server, server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000)
        assert client.response().body == b"1 1000000"
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        time.sleep(0.05)
        client.send(b"1\r\n!\r\n0\r\n\r\n")
        assert client.response().body == b"1 6"


def test_body_that_nobody_reads_stays_with_the_client():
    go = threading.Event()

    async def application(scope, receive, send):
        await asyncio.get_running_loop().run_in_executor(None, go.wait)
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        await respond(send, b"%d" % size)

    total = 32 << 20
    with CoreServer(application) as server, server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % total)
        sent = 0
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            while sent < total:
                sent += client.socket.send(b"x" * 65536)
        assert server.stats()["read_paused"] == 1
        go.set()
        client.socket.settimeout(20)
        while sent < total:
            sent += client.socket.send(b"x" * min(65536, total - sent))
        assert client.response().body == b"%d" % total


def test_expect_100_continue():
    """100 is sent when the application wants the body, and not before."""
    go = threading.Event()

    async def application(scope, receive, send):
        if scope["path"] == "/wait":
            await asyncio.get_running_loop().run_in_executor(None, go.wait)
            await respond(send, (await receive())["body"])
        else:
            await respond(send, b"no", 413)

    head = b"POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with CoreServer(application) as server:
        with server.connect() as client:
            client.send(head % b"/wait")
            client.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.fill()
            client.socket.settimeout(20)
            go.set()
            assert client.head()[0] == 100
            client.send(b"ok")
            assert client.response().body == b"ok"
        with server.connect() as client:
            client.send(head % b"/refuse")
            assert client.response().status == 413


def test_streamed_response(loop):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 201, "headers": [[b"x-a", b"1"]]})
        for part in (b"one ", bytearray(b"two "), memoryview(b"three")):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    with CoreServer(application, loop) as server:
        response = server.get()
        assert (response.status, response.body, response.header("x-a")) == (201, b"one two three", "1")


def test_head_is_held_until_the_first_body():
    """An error between start and body still gets a clean 500."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        raise RuntimeError("late")

    with CoreServer(application) as server:
        assert server.get().status == 500
        server.idle()
        assert [str(error) for error in server.errors] == ["late"]
        assert server.errors[0].__traceback__ is not None


BODY = {"type": "http.response.body"}
START = {"type": "http.response.start", "status": 200}


@pytest.mark.parametrize(
    ("messages", "kind", "parts"),
    [
        ([BODY], RuntimeError, ["'http.response.body'", '"request"', "'http.response.start'"]),
        ([START, START], RuntimeError, ["'http.response.start'", '"response started"', "'http.response.body'"]),
        ([{"type": "websocket.send"}], RuntimeError, ["'websocket.send'", "HTTP", "'http.response.start'"]),
        ([{"type": "http.nonsense"}], RuntimeError, ["'http.nonsense'"]),
        ([{"status": 200}], ValueError, ["'type'"]),
        (["text"], TypeError, ["<class 'str'>"]),
        ([{"type": "http.response.start"}], ValueError, ["'status'"]),
        ([{**START, "status": "200"}], TypeError, ["'status'", "int", "'200'"]),
        ([{**START, "status": 99}], ValueError, ["'status'", "200", "99"]),
        ([{**START, "headers": 5}], ValueError, ["headers", "5"]),
        ([{**START, "headers": [b"abc"]}], ValueError, ["(name, value)", "b'abc'"]),
        ([{**START, "headers": [(b"a", b"b", b"c")]}], ValueError, ["(name, value)"]),
        ([{**START, "headers": [("a", b"b")]}], ValueError, ["Header name 'a' expected to be `bytes`, but got `<class 'str'>`"]),
        ([{**START, "headers": [(b"a", 1)]}], ValueError, ["Header value '1' expected to be `bytes`, but got `<class 'int'>`"]),
        ([{**START, "headers": [(b"a b", b"")]}], ValueError, ["b'a b'", "token"]),
        ([{**START, "headers": [(b"", b"")]}], ValueError, ["token"]),
        ([{**START, "headers": [(b"x-evil", b"1\r\nSet-Cookie: a")]}], ValueError, ["b'x-evil'", "CR, LF, NUL"]),
        ([{**START, "headers": [(b"x-evil", b"\0")]}], ValueError, ["b'x-evil'", "CR, LF, NUL"]),
        ([{**START, "headers": [(b"x-evil", b"\x0b")]}], ValueError, ["b'x-evil'", "another control character"]),
        ([{**START, "headers": [(b"x-evil", b"a\x7f")]}], ValueError, ["b'x-evil'", "another control character"]),
        ([{**START, "headers": [(b"content-length", b"1x")]}], ValueError, ["content-length", "digits", "b'1x'"]),
        ([{**START, "headers": [(b"content-length", b"")]}], ValueError, ["content-length", "digits"]),
        ([{**START, "headers": [(b"content-length", b"1"), (b"Content-Length", b"2")]}], ValueError, ["two headers", "b'2'"]),
        ([START, {**BODY, "body": "text"}], TypeError, ["'body'", "bytes", "str"]),
    ],
)
def test_wrong_events(messages, kind, parts):
    def check(error):
        assert type(error) is kind, error
        for part in parts:
            assert part in str(error)

    assert expect_error(messages, check).status == 500


def test_event_after_the_response_is_complete():
    errors = []

    async def application(scope, receive, send):
        await respond(send, b"ok")
        try:
            await send(BODY)
        except RuntimeError as error:
            errors.append(str(error))

    with CoreServer(application) as server:
        assert server.get().body == b"ok"
        server.idle()
    assert '"response complete"; allowed then: nothing' in errors[0]


def test_application_that_returns_without_a_response():
    async def application(scope, receive, send):
        if scope["path"] == "/partial":
            await send(START)
            await send({**BODY, "body": b"part", "more_body": True})

    with CoreServer(application) as server:
        assert server.get().status == 500
        eventually(lambda: server.faults == ["the application ended before it sent a response"])
        with server.connect() as client:
            client.send(b"GET /partial HTTP/1.1\r\nHost: h\r\n\r\n")
            rest = client.rest()
            assert b"part" in rest and not rest.endswith(b"0\r\n\r\n")
        eventually(lambda: server.faults[1:] == ["the application ended before its response was complete"])


def test_response_framing_is_checked():
    async def application(scope, receive, send):
        body = b"too long" if scope["path"] == "/long" else b"s"
        await respond(send, body, headers=[(b"content-length", b"3")])

    with CoreServer(application) as server:
        for path, length in (("/long", 8), ("/short", 1)):
            with server.connect() as client:
                client.send(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % path.encode())
                client.rest()  # ends: the server closes the connection
            eventually(lambda: server.faults)
            assert f"{length} bytes" in server.faults[0] and "Content-Length says 3" in server.faults[0]
            server.faults.clear()


def test_client_leaves_while_the_application_waits(loop):
    ends = []

    async def application(scope, receive, send):
        assert (await receive())["type"] == "http.request"
        ends.append(await receive())
        ends.append(await receive())
        for message in (START, BODY):
            try:
                await send(message)
            except OSError as error:
                ends.append(str(error))

    with CoreServer(application, loop) as server:
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: server.stats()["applications"] == 1)
        client.reset()
        server.idle()
        assert ends == [{"type": "http.disconnect"}] * 2 + ["nothing can be sent: the client of this request has left"] * 2
        assert server.errors == [] and server.faults == []


def test_receive_after_the_response_is_complete():
    ends = []

    async def application(scope, receive, send):
        await respond(send)
        ends.append(await receive())
        ends.append(await receive())

    with CoreServer(application) as server, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        client.response()
        server.idle()
        assert ends == [{"type": "http.disconnect"}] * 2


def test_send_waits_for_a_slow_client(loop):
    progress = []
    errors = []

    async def application(scope, receive, send):
        await send(START)
        try:
            for i in range(1024):
                await send({**BODY, "body": bytes(65536), "more_body": True})
                progress.append(i)
        except OSError as error:
            errors.append(error)
            raise
        await send(BODY)

    with CoreServer(application, loop) as server:
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            client.until(b"\r\n\r\n")
            time.sleep(0.5)
            stuck = len(progress)
            assert stuck < 900, "64 MiB fit nowhere"
            time.sleep(0.3)
            assert len(progress) == stuck
            assert server.stats()["bytes_unwritten"] < 1 << 20
            assert len(client.rest()) > 64 << 20
        server.idle()
        assert len(progress) == 1024 and not errors
        progress.clear()
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        client.until(b"\r\n\r\n")
        time.sleep(0.3)
        client.reset()
        server.idle()
        assert len(errors) == 1 and "left" in str(errors[0])


def test_access_log():
    async def application(scope, receive, send):
        await receive()
        if scope["path"] == "/fail":
            raise RuntimeError
        await respond(send, b"12345", 404)

    with CoreServer(application) as server, server.connect() as client:
        port = client.socket.getsockname()[1]
        client.send(b"PUT /path?query HTTP/1.1\r\nHost: h\r\n\r\n")
        client.response()
        action, details = eventually(lambda: server.access)[0]
        assert action == "complete"
        assert 0 <= details.pop("time_taken") < 20
        assert details == {
            "path": "/path?query",
            "client": f"127.0.0.1:{port}",
            "status": 404,
            "method": "PUT",
            "size": 5,
        }
        client.send(b"GET /fail HTTP/1.1\r\nHost: h\r\n\r\n")
        client.response()
        action, details = eventually(lambda: server.access[1:])[0]
        assert (action, details["status"], details["path"]) == ("complete", 500, "/fail")
        server.idle()
        assert len(server.access) == 2


class Unfit:
    def __getitem__(self, index):
        raise LookupError


class UnfitText:
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("client", "logged"),
    [
        (("1.2.3.4", 5), "1.2.3.4:5"),
        (["::1", 5], "::1:5"),
        (("unix", None), "unix:None"),
        (None, None),
        (("1.2.3.4",), "own"),
        ("", "own"),
        ("unknown", "own"),
        ({}, "own"),
        (5, "own"),
        (Unfit(), "own"),
        ((UnfitText(), 5), "own"),
    ],
    ids=lambda value: type(value).__name__ if value is not None else "None",
)
def test_access_log_of_a_scope_that_was_changed(client, logged):
    """What a middleware says of the client is what is logged, where that is a client; the method is the request's."""

    async def application(scope, receive, send):
        scope["client"] = client
        scope["method"] = "CHANGED"
        await respond(send)

    with CoreServer(application) as server:
        with server.connect() as connection:
            address = connection.socket.getsockname()
            connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            connection.response()
        eventually(lambda: server.access)
        ((action, details),) = server.access
    assert (action, details["method"]) == ("complete", "GET")
    assert details["client"] == (f"{address[0]}:{address[1]}" if logged == "own" else logged)


def test_http_timeout_is_logged_with_its_status():
    async def application(scope, receive, send):
        await asyncio.sleep(60)

    with CoreServer(application, settings={"http_timeout_ms": 100}) as server:
        assert server.get().status == 503
        action, details = eventually(lambda: server.access)[0]
        assert (action, details["status"]) == ("complete", 503)
        assert server.call(server.core.cancel_applications) == 1
        server.idle()
        assert server.errors == []


@pytest.mark.parametrize("how", ["raises", "returns", "http_timeout"])
def test_a_body_of_http_1_0_that_is_cut_off_does_not_look_complete(how):
    """Without a Content-Length such a body ends where the connection ends: a client can only tell by a reset."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        if how == "http_timeout":
            await receive()  # the request
            await receive()  # the disconnect
        elif how == "raises":
            raise ValueError("in the middle")

    with CoreServer(application, settings={"http_timeout_ms": 300 if how == "http_timeout" else 0}) as server:
        with server.connect() as connection:
            connection.send(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                while connection.socket.recv(1000):
                    pass


def test_exceptions_of_callbacks_go_to_the_loop():
    async def application(scope, receive, send):
        await respond(send, b"fine")

    with CoreServer(application, prepare_scope=lambda scope: 1 / 0) as server:
        assert server.get().status == 500
        eventually(lambda: server.loop_errors)
        assert isinstance(server.loop_errors.pop()["exception"], ZeroDivisionError)
        assert server.stats()["applications"] == 0


def test_an_application_that_cannot_start_leaves_no_owner():
    slots = []

    async def application(scope, receive, send):
        slots.append(_core.current_connection.get().owner & 0xFFFFFFFF)  # base/slots.h
        await respond(send, b"fine")

    def prepare(scope):
        if scope["path"] == "/bad":
            raise ValueError

    with CoreServer(application, prepare_scope=prepare) as server:
        for path in ("/", *["/bad"] * 20, "/"):
            assert server.get(path).status == (500 if path == "/bad" else 200)
        server.loop_errors.clear()
    assert slots[1] < slots[0] + 10, slots


def test_pipelined_requests_keep_their_order(loop):
    async def application(scope, receive, send):
        if scope["path"] == "/0":
            await asyncio.sleep(0.05)
        await respond(send, scope["path"].encode(), headers=[(b"content-length", b"%d" % len(scope["path"]))])

    with CoreServer(application, loop) as server, server.connect() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in range(20)))
        assert [client.response().body for _ in range(20)] == [b"/%d" % i for i in range(20)]
