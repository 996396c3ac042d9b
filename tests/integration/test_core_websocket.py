"""The native server with WebSocket applications."""

import asyncio
import time

import pytest
from peneus import _core

from tests.integration.core_harness import CoreServer, eventually


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def accept(receive, send, **more):
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send):
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def test_scope():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)
        await accept(receive, send)

    with CoreServer(application) as server:
        with server.websocket("/a%20b?c", "Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol:three\r\n").open():
            server.idle()
        scope = seen[0]
        assert scope["type"] == "websocket" and scope["scheme"] == "ws" and scope["http_version"] == "1.1"
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c")
        assert scope["subprotocols"] == ["one", "two", "three"]
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert "method" not in scope and "state" not in scope
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}


def test_echo(loop):
    with CoreServer(echo, loop) as server, server.websocket().open() as client:
        for opcode, payload in ((1, "grüß 🐉".encode()), (2, b"\xff\0"), (1, b""), (2, b""), (2, bytes(60000))):
            client.frame(opcode, payload)
            assert client.receive() == (opcode, payload)
        for i in range(500):
            client.text(str(i))
        assert [client.receive()[1] for _ in range(500)] == [b"%d" % i for i in range(500)]
        client.close(4321, "bye")
        assert client.closed()[0] == 4321
        server.idle()


def test_events_have_only_the_key_they_need():
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        for _ in range(3):
            seen.append(await receive())
        seen.append(await receive())

    with CoreServer(application) as server, server.websocket().open() as client:
        client.text("t")
        client.frame(2, b"b")
        client.close(4000, "the reason")
        client.closed()
        server.idle()
    end = {"type": "websocket.disconnect", "code": 4000, "reason": "the reason"}
    assert seen == [
        {"type": "websocket.receive", "text": "t"},
        {"type": "websocket.receive", "bytes": b"b"},
        end,
        end,
    ]


def test_accept_with_subprotocol_and_headers():
    async def application(scope, receive, send):
        await accept(receive, send, subprotocol="two", headers=[(b"x-a", b"1"), [b"x-b", b"2"]])

    with CoreServer(application) as server:
        client = server.websocket("/", "Sec-WebSocket-Protocol: one, two\r\n").open()
        headers = dict(client.headers)
        assert (headers["sec-websocket-protocol"], headers["x-a"], headers["x-b"]) == ("two", "1", "2")


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("x" * 122 + "ö", "x" * 122),
        ("x" * 121 + "ö!", "x" * 121 + "ö"),
        ("\u20ac" * 42, "\u20ac" * 41),
        ("\U0001f600" * 1000, "\U0001f600" * 30),
        ("no file \udcff", "no file ?"),
    ],
)
def test_a_reason_never_changes_the_code(reason, sent):
    """A reason is for people: what is too long of it, or no UTF-8, does not turn the application's code into another one."""
    seen = []

    async def application(scope, receive, send):
        if scope["path"] == "/rejected":
            await receive()
        else:
            await accept(receive, send)
        await send({"type": "websocket.close", "code": 4401, "reason": reason})
        seen.append(await receive())

    with CoreServer(application) as server:
        with server.websocket().open() as client:
            assert client.closed() == (4401, sent)
            client.close(4401)
            server.idle()
        assert seen == [{"type": "websocket.disconnect", "code": 4401, "reason": sent}]
        with server.websocket("/rejected") as client:
            assert client.head()[0] == 403
        server.idle()
        assert not server.errors


def test_close_by_the_application():
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 3001, "reason": "größer"})
        seen.append(await receive())
        try:
            await send({"type": "websocket.send", "text": "x"})
        except RuntimeError as error:
            seen.append(str(error))

    with CoreServer(application) as server, server.websocket().open() as client:
        assert client.closed() == (3001, "größer")
        client.close(3001)
        server.idle()
    assert (seen[0]["type"], seen[0]["code"]) == ("websocket.disconnect", 3001)
    assert '"closed"; allowed then: nothing' in seen[1]


def test_reject():
    seen = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})
        seen.append(await receive())

    with CoreServer(application) as server:
        with server.websocket() as client:
            assert client.head()[0] == 403
        server.idle()
        assert [action for action, _ in server.access] == ["connecting", "rejected"]
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


def test_denial_response():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"you"})
        assert (await receive())["type"] == "websocket.disconnect"

    with CoreServer(application) as server:
        with server.websocket() as client:
            response = client.response()
            assert (response.status, response.body, response.header("x-why")) == (401, b"not you", "no")
        server.idle()
        assert server.errors == [] and server.faults == []


def test_error_in_the_handshake_and_afterwards(loop):
    async def application(scope, receive, send):
        if scope["path"] == "/after":
            await accept(receive, send)
            await receive()
        raise RuntimeError(scope["path"])

    with CoreServer(application, loop) as server:
        with server.websocket() as client:
            assert client.head()[0] == 500
        with server.websocket("/after").open() as client:
            client.text("go")
            assert client.closed()[0] == 1011
        server.idle()
        assert [str(error) for error in server.errors] == ["/", "/after"]


def test_application_that_returns():
    async def application(scope, receive, send):
        if scope["path"] == "/open":
            await accept(receive, send)

    with CoreServer(application) as server:
        with server.websocket() as client:
            assert client.head()[0] == 500
        eventually(lambda: server.faults == ["the application ended before it accepted or closed the WebSocket"])
        with server.websocket("/open").open() as client:
            assert client.closed()[0] == 1000
        server.idle()
        assert len(server.faults) == 1


OPEN = {"type": "websocket.accept"}


@pytest.mark.parametrize(
    ("message", "kind", "parts"),
    [
        ({"type": "websocket.send", "text": "a", "bytes": b"b"}, ValueError, ["either 'text' or 'bytes'"]),
        ({"type": "websocket.send", "text": None, "bytes": None}, ValueError, ["either 'text' or 'bytes'"]),
        ({"type": "websocket.send"}, ValueError, ["either 'text' or 'bytes'"]),
        ({"type": "websocket.send", "text": b"a"}, TypeError, ["'text'", "str", "bytes"]),
        ({"type": "websocket.send", "bytes": "a"}, TypeError, ["'bytes'", "bytes", "str"]),
        ({"type": "websocket.send", "text": "\ud800"}, UnicodeEncodeError, ["surrogates"]),
        ({"type": "websocket.close", "code": 1006}, ValueError, ["1006", "1000"]),
        ({"type": "websocket.close", "code": 42}, ValueError, ["'code'", "42"]),
        ({"type": "websocket.close", "reason": 5}, TypeError, ["'reason'", "str"]),
        (OPEN, RuntimeError, ["'websocket.accept'", '"open"', "'websocket.send', 'websocket.close'"]),
    ],
)
def test_wrong_events(message, kind, parts):
    async def application(scope, receive, send):
        await accept(receive, send)
        await send(message)

    with CoreServer(application) as server, server.websocket().open() as client:
        assert client.closed()[0] == 1011
        server.idle()
        error = server.errors[0]
        assert type(error) is kind
        for part in parts:
            assert part in str(error)


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({**OPEN, "headers": [(b"Sec-WebSocket-Protocol", b"x")]}, ["sec-websocket-protocol", "'subprotocol'"]),
        ({**OPEN, "subprotocol": "a b"}, ["subprotocol", "'a b'"]),
        ({**OPEN, "subprotocol": b"a"}, ["subprotocol", "str"]),
        ({"type": "websocket.send", "text": "x"}, ['"connecting"', "'websocket.accept'", "'websocket.http.response.start'"]),
    ],
)
def test_wrong_handshakes(message, parts):
    async def application(scope, receive, send):
        await receive()
        await send(message)

    with CoreServer(application) as server, server.websocket() as client:
        assert client.head()[0] == 500
        server.idle()
        for part in parts:
            assert part in str(server.errors[0])


def test_client_that_vanishes(loop):
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        seen.append(await receive())
        seen.append(await receive())
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as error:
            seen.append(str(error))

    with CoreServer(application, loop) as server:
        client = server.websocket().open()
        client.reset()
        server.idle()
        end = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert seen == [end, end, "nothing can be sent: the client of this WebSocket has left"]
        assert server.errors == []
        assert [action for action, _ in server.access] == ["connecting", "connected", "disconnected"]


def test_messages_before_the_disconnect_are_kept():
    """The order of what a client sent holds: its messages, then its end."""
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        await receive()
        await asyncio.sleep(0.3)
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message["text"])

    with CoreServer(application) as server:
        client = server.websocket().open()
        for i in range(100):
            client.text(str(i))
        client.close()
        client.closed()
        server.idle()
    assert seen == [str(i) for i in range(1, 100)]


def test_send_waits_for_a_slow_client(loop):
    sent = []

    async def application(scope, receive, send):
        await accept(receive, send)
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(100_000)})
                sent.append(1)
        except OSError:
            sent.append("gone")

    with CoreServer(application, loop) as server:
        client = server.websocket().open()
        eventually(lambda: sent)
        time.sleep(0.7)
        stuck = len(sent)
        time.sleep(0.3)
        assert len(sent) == stuck
        assert server.stats()["bytes_unwritten"] < 1 << 20
        for _ in range(stuck):
            client.receive()
        eventually(lambda: len(sent) > stuck)
        client.reset()
        server.idle()
        assert sent[-1] == "gone"


def test_messages_that_nobody_reads_stay_with_the_client():
    go = asyncio.Event()

    async def application(scope, receive, send):
        await accept(receive, send)
        await go.wait()
        total = 0
        while (message := await receive())["type"] == "websocket.receive":
            total += len(message["bytes"])
            if total == 2000 * 16384:
                await send({"type": "websocket.send", "text": "all"})

    with CoreServer(application) as server, server.websocket().open() as client:
        frame = bytes([0x82, 0xFE]) + (16384).to_bytes(2, "big") + bytes(4 + 16384)
        data, sent = frame * 2000, 0
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                sent += client.socket.send(data[sent : sent + 65536])
        server.loop.call_soon_threadsafe(go.set)
        client.socket.settimeout(20)
        client.send(data[sent:])
        assert client.receive() == (1, b"all")


def test_receive_as_a_task_is_cancelled_without_loss(loop):
    """As Channels does it: a task of receive() that is cancelled when another source was faster."""
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        for _ in range(20):
            task = asyncio.create_task(receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        await send({"type": "websocket.send", "text": "ready"})
        await asyncio.sleep(0.1)
        seen.append(await asyncio.ensure_future(receive()))
        seen.append(await asyncio.wait_for(receive(), 20))

    with CoreServer(application, loop) as server, server.websocket().open() as client:
        client.receive()
        client.text("a")
        client.text("b")
        server.idle()
        assert server.errors == []
    assert [message["text"] for message in seen] == ["a", "b"]


def test_two_receivers_at_once():
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)
        first, second = asyncio.create_task(receive()), asyncio.create_task(receive())
        await send({"type": "websocket.send", "text": "ready"})
        seen.extend(await asyncio.gather(first, second))

    with CoreServer(application) as server, server.websocket().open() as client:
        client.receive()
        client.text("a")
        client.text("b")
        server.idle()
    assert sorted(message["text"] for message in seen) == ["a", "b"]


def test_shutdown_and_stop(loop):
    with CoreServer(echo, loop) as server:
        client = server.websocket().open()
        with pytest.raises(RuntimeError, match="on_stopped"):
            server.call(server.core.close)
        server.core.shutdown(1001)
        assert client.closed()[0] == 1001
        client.close(1001)
        assert server.drained.wait(20)
        server.idle()


def test_group_that_closes_who_does_not_keep_up():
    layer = _core.Layer(expiry=60, group_expiry=60, message_limit=0, mailbox_bytes=1 << 20)

    async def application(scope, receive, send):
        channel = f"specific!{scope['path'][1:]}"
        assert layer.new_channel(channel, 2)
        assert layer.group_add("g", channel, 2, "close" if scope["path"] == "/slow" else "drop-oldest") == "ok"
        await accept(receive, send)
        while (await receive())["type"] == "websocket.receive":
            pass

    # Two servers in one process: the message of one must not close a connection of the other.
    with CoreServer(application) as server, CoreServer(echo) as other:
        with server.websocket("/slow").open() as slow, other.websocket().open() as bystander:
            for _ in range(4):
                layer.group_send("g", b"x", None)
            assert slow.closed()[0] == 1013
            bystander.text("still here")
            assert bystander.receive() == (1, b"still here")
        server.idle()
        assert server.stats()["kicks_total"] == 1
        assert layer.stats()["channels"] == 0
