"""HTTP/2: requests and WebSockets on streams, flow control both ways, floods, and how a connection ends."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

import pytest
from peneus.testing import LiveServer

from tests.integration.core_harness import CoreServer, eventually
from tests.support.http2 import Http2

RELAY = "tests.integration.relay_apps:application"
NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 5, 7, 8, 11
NO_RFC7540_PRIORITIES = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 2, 3, 4, 6, 9


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        body += event["body"]
        if not event["more_body"]:
            return body


async def answer(send: Any, body: bytes = b"", status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
    else:
        await answer(send, await body_of(receive))


def test_the_scope():
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await answer(send, await body_of(receive), 201, [(b"X-Own", b"value"), (b"Connection", b"close"), (b"Upgrade", b"h3")])

    with CoreServer(application) as server, Http2(server.port) as client:
        headers = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("under_score", "dropped"), ("te", "trailers")]
        response = client.get("/a%20b?c=d", method="PUT", headers=headers, authority="example.org:81")
        assert response.status == 201 and response.ended and response.headers["x-own"] == "value"
        assert response.headers["content-length"] == "0" and response.headers["date"]
        assert not {"connection", "upgrade", "transfer-encoding"} & set(response.headers)
        scope = scopes[0]
        assert (scope["http_version"], scope["method"], scope["scheme"], scope["type"]) == ("2", "PUT", "http", "http")
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=d")
        assert scope["headers"] == [
            (b"host", b"example.org:81"),
            (b"accept", b"x"),
            (b"te", b"trailers"),
            (b"cookie", b"a=1; b=2"),
        ]
        assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
        again = client.get("/again")
        assert again.status == 201 and server.stats()["http2_connections"] == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"headers": [("host", "other")]}, 400),
        ({"headers": [("x", "a\x85b")]}, 400),
        ({"path": "/a#b"}, 400),
        ({"path": "/" + "a" * 8192}, 414),
        ({"headers": [("x", "a" * 40000), ("y", "b" * 30000)]}, 431),
        ({"headers": [(f"x{i}", "a") for i in range(129)]}, 431),
        ({"method": "POST", "headers": [("content-length", "2000000000")], "end": False}, 413),
    ],
)
def test_a_head_that_is_refused(change, status):
    with CoreServer(echo, settings={"max_body_size": 1 << 30, "max_target_size": 8192}) as server, Http2(server.port) as client:
        assert client.get(**change).status == status
        assert client.get("/").status == 200  # nobody else is disturbed
        assert server.stats()["bad_requests_total"] == 1 and server.stats()["requests_total"] == 2


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
def test_bodies_both_ways(size):
    body = bytes(range(256)) * (size // 256 + 1)
    with CoreServer(echo) as server, Http2(server.port) as client:
        stream = client.request(method="POST", end=False)
        client.send(stream, body, end=True)
        assert hashlib.sha256(client.response(stream).body).digest() == hashlib.sha256(body).digest()


def test_many_streams_at_once():
    running = []
    everybody = asyncio.Event()

    async def application(scope, receive, send):
        running.append(scope["path"])
        if len(running) == 100:
            everybody.set()
        await everybody.wait()
        await answer(send, scope["path"].encode())

    with CoreServer(application, settings={"http2_max_concurrent_streams": 100}) as server, Http2(server.port) as client:
        client.until(lambda: client.settings)
        streams = {client.request(f"/{number}"): number for number in range(100)}
        for stream, number in streams.items():
            assert client.response(stream).body == f"/{number}".encode()
        assert client.settings[3] == 100


def test_more_streams_than_there_may_be():
    gate = asyncio.Event()

    async def application(scope, receive, send):
        await gate.wait()
        await answer(send)

    with CoreServer(application, settings={"http2_max_concurrent_streams": 3}) as server, Http2(server.port) as client:
        streams = [client.request() for _ in range(5)]  # before it knows
        client.until(lambda: client.streams[streams[4]].reset is not None)
        assert [client.streams[stream].reset for stream in streams] == [None] * 3 + [REFUSED_STREAM] * 2
        assert server.stats()["http2_refused_total"] == 2
        server.loop.call_soon_threadsafe(gate.set)
        assert all(client.response(stream).status == 200 for stream in streams[:3])
        client.h2.remote_settings[3] = 1000
        client.h2.remote_settings.acknowledge()
        gate.clear()
        for _ in range(5):  # against what it knows: a fault
            client.request()
        client.until_closed()
        assert client.goaways[-1][0] == PROTOCOL_ERROR


def test_an_application_that_does_not_read_stops_its_client_alone():
    gate = asyncio.Event()

    async def application(scope, receive, send):
        if scope["path"] == "/slow":
            await gate.wait()
        await answer(send, b"%d" % len(await body_of(receive)))

    with CoreServer(application) as server, Http2(server.port) as client:
        slow = client.request("/slow", "POST", end=False)
        client.until(lambda: client.settings)
        sent = 0
        while client.h2.local_flow_control_window(slow) > 0:  # its window, and nothing more
            room = min(client.h2.local_flow_control_window(slow), 16384)
            client.h2.send_data(slow, b"x" * room)
            client.flush()
            sent += room
            client.read(0.3)
        assert sent <= 3 * 65536
        quick = client.request("/quick", "POST", end=False)
        client.send(quick, b"y" * 300_000, end=True)
        assert client.response(quick).body == b"300000"
        server.loop.call_soon_threadsafe(gate.set)
        client.send(slow, b"x" * 200_000, end=True)
        assert client.response(slow).body == b"%d" % (sent + 200_000)


def test_a_client_that_does_not_read_stops_its_application_alone():
    sent = []

    async def application(scope, receive, send):
        if scope["path"] == "/quick":
            await answer(send, b"quick")
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            sent.append(10_000)
        await send({"type": "http.response.body"})

    with CoreServer(application) as server, Http2(server.port, automatic=False, window=20_000) as client:
        slow = client.request("/slow")
        client.until(lambda: len(client.streams[slow].body) == 20_000)
        assert client.get("/quick").body == b"quick"
        time.sleep(0.2)
        assert 20_000 <= sum(sent) < 20_000 + 65536 + 2 * 20_000  # the window, send_window, what is under way
        client.automatic = True
        client.h2.increment_flow_control_window(1_000_000, slow)
        client.h2.increment_flow_control_window(1_000_000)
        client.flush()
        assert len(client.response(slow).body) == 1_000_000


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_leaves(how):
    events: list[dict[str, Any]] = []

    async def application(scope, receive, send):
        await receive()
        events.append(await receive())
        with pytest.raises(OSError, match="client|ended"):
            await answer(send, b"late")

    with CoreServer(application) as server, Http2(server.port) as client:
        stream = client.request()
        eventually(lambda: server.stats()["applications"] == 1)
        if how == "reset":
            client.h2.reset_stream(stream, CANCEL)
            client.flush()
        else:
            client.socket.close()
        server.idle()
        assert events == [{"type": "http.disconnect"}]
        if how == "reset":
            assert client.h2.outbound_flow_control_window > 0
        assert not server.errors


def test_a_response_before_the_body():
    """RFC 9113, 8.1: all is said, and what the client still sends is not wanted."""

    async def application(scope, receive, send):
        await answer(send, b"enough")

    with CoreServer(application) as server, Http2(server.port) as client:
        stream = client.request(method="POST", end=False)
        client.until(lambda: client.streams[stream].reset is not None)
        assert client.streams[stream].reset == NO_ERROR and client.streams[stream].ended
        assert client.streams[stream].body == b"enough"
        assert client.get().body == b"enough"


@pytest.mark.parametrize(("length", "body", "ended"), [(b"5", b"abcdefgh", True), (b"5", b"abc", False), (b"5", b"", False)])
def test_a_body_that_is_not_as_long_as_it_says(length, body, ended):
    async def application(scope, receive, send):
        if scope["path"] == "/":
            await answer(send, body, headers=[(b"content-length", length)])
        else:
            await answer(send, b"fine")

    with CoreServer(application) as server, Http2(server.port) as client:
        stream = client.request()
        response = client.response(stream)
        assert response.body == body[:5] and response.ended == ended and (response.reset is None) == ended
        assert client.get("/fine").body == b"fine"


def test_no_answer_from_the_application():
    async def application(scope, receive, send):
        if scope["path"] == "/raises":
            raise ValueError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    with CoreServer(application) as server, Http2(server.port) as client:
        assert client.get("/raises").status == 500
        cut = client.get("/cut")
        assert cut.status == 200 and not cut.ended and cut.reset == 2  # INTERNAL_ERROR: the client can tell
        server.errors.clear()


def test_head_and_statuses_without_a_body():
    async def application(scope, receive, send):
        status = int(scope["path"][1:])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"dropped", "more_body": True})
        await send({"type": "http.response.body", "body": b"dropped too"})

    with CoreServer(application) as server, Http2(server.port) as client:
        for path, method in [("/200", "HEAD"), ("/204", "GET"), ("/304", "GET")]:
            response = client.get(path, method=method)
            assert response.body == b"" and response.ended and response.status == int(path[1:])


def test_expect_continue():
    async def application(scope, receive, send):
        await answer(send, await body_of(receive))

    with CoreServer(application) as server, Http2(server.port) as client:
        stream = client.request(method="POST", headers=[("expect", "100-continue")], end=False)
        client.until(lambda: client.streams[stream].hints)
        assert client.streams[stream].hints == [{":status": "100"}]
        client.send(stream, b"body", end=True)
        assert client.response(stream).body == b"body"


def test_extensions(tmp_path):
    content = bytes(range(256)) * 2000
    (tmp_path / "file").write_bytes(content)
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        if scope["path"] == "/file":
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})
        else:
            await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"Checksum", b"1")]})

    with CoreServer(application) as server, Http2(server.port) as client:
        for path, body in [("/", b"body"), ("/file", content)]:
            response = client.get(path, headers=[("te", "trailers")])
            assert response.body == body and response.ended
            assert response.hints[0][":status"] == "103" and response.hints[0]["link"] == "</a.css>; rel=preload"
            assert response.trailers == {"checksum": "1"}
        assert {"http.response.pathsend", "http.response.trailers", "http.response.early_hint"} <= set(scopes[0]["extensions"])
        assert client.get("/").trailers is None  # it did not ask


@pytest.mark.parametrize("urgent_first", [False, True])
def test_priorities(urgent_first):
    """RFC 9218: of two responses that wait for the connection's window, the urgent one goes out first."""

    async def application(scope, receive, send):
        await answer(send, b"x" * (65_535 if scope["path"] == "/first" else 90_000))

    settings = {NO_RFC7540_PRIORITIES: 1}
    with (
        CoreServer(application, settings={"send_window": 1 << 20}) as server,
        Http2(server.port, window=1 << 20, automatic=False, settings=settings) as client,
    ):
        assert len(client.get("/first").body) == 65_535  # the connection's window is used up
        urgencies = (0, 7) if urgent_first else (7, 0)
        streams = {u: client.request(f"/{u}", headers=[("priority", f"u={u}")]) for u in urgencies}
        client.until(lambda: all(client.streams[stream].status == 200 for stream in streams.values()))
        client.h2.increment_flow_control_window(90_000)
        client.flush()
        assert len(client.response(streams[0]).body) == 90_000
        assert client.streams[streams[7]].body == b""
        client.h2.increment_flow_control_window(90_000)
        client.flush()
        assert len(client.response(streams[7]).body) == 90_000


def test_websocket():
    with CoreServer(echo) as server, Http2(server.port) as client:
        client.until(lambda: client.settings)
        assert client.settings[8] == 1  # ENABLE_CONNECT_PROTOCOL
        stream = client.websocket("/ws", [("sec-websocket-protocol", "a, b")])
        other = client.websocket()
        client.message(stream, "one")
        client.message(other, "two" * 1000)
        assert client.take_message(stream) == (0x81, b"one")
        assert client.take_message(other) == (0x81, b"two" * 1000)
        assert client.streams[stream].status == 200 and client.streams[stream].headers["sec-websocket-protocol"] == "a"
        assert "sec-websocket-accept" not in client.streams[stream].headers
        assert server.stats()["websockets"] == 2 and server.stats()["connections"] == 1
        client.send(stream, b"\x88\x82\0\0\0\0\x03\xe8")
        assert client.take_message(stream) == (0x88, b"\x03\xe8")
        assert client.response(stream).ended
        assert client.get("/http").status == 200
        client.message(other, "still")
        assert client.take_message(other) == (0x81, b"still")


def test_a_websocket_that_the_application_closes():
    """The stream is over with the client's close frame, though it does not end its side."""

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})

    with CoreServer(application, settings={"close_timeout_ms": 60_000}) as server, Http2(server.port) as client:
        for _ in range(3):
            stream = client.websocket()
            assert client.take_message(stream) == (0x88, (4000).to_bytes(2, "big"))
            client.send(stream, b"\x88\x82\0\0\0\0" + (4000).to_bytes(2, "big"))
            client.until(lambda: client.streams[stream].reset is not None)  # noqa: B023
            assert client.streams[stream].ended and client.streams[stream].reset == NO_ERROR
        eventually(lambda: server.stats()["websockets"] == 0)
        assert client.h2.open_outbound_streams == 0


@pytest.mark.parametrize(("path", "status"), [("/refused", 403), ("/denied", 418), ("/version", 426), ("/protocol", 501)])
def test_a_websocket_that_is_refused(path, status):
    async def application(scope, receive, send):
        if scope["path"] == "/denied":
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"tea"})
        else:
            await send({"type": "websocket.close"})

    with CoreServer(application) as server, Http2(server.port) as client:
        if path == "/version":
            pseudo = [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
            ]
            client.h2.send_headers(1, [*pseudo, ("sec-websocket-version", "8")])
        elif path == "/protocol":
            pseudo = [(":method", "CONNECT"), (":protocol", "gopher"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
            client.h2.send_headers(1, pseudo)
        else:
            client.websocket(path)
        client.flush()
        assert client.response(1).status == status


@pytest.mark.parametrize("how", ["end", "reset", "connection"])
def test_a_websocket_whose_client_leaves(how):
    codes: list[Any] = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        codes.append((await receive())["code"])

    with CoreServer(application) as server, Http2(server.port) as client:
        stream = client.websocket()
        client.until(lambda: client.streams[stream].status == 200)
        if how == "end":
            client.h2.end_stream(stream)
        elif how == "reset":
            client.h2.reset_stream(stream, CANCEL)
        client.flush()
        if how == "connection":
            client.socket.close()
        server.idle()
        assert codes == [1006]
        eventually(lambda: server.stats()["websockets"] == 0)


def test_compressed_messages():
    with CoreServer(echo, settings={"websocket_deflate_threshold": 1}) as server, Http2(server.port) as client:
        stream = client.websocket(headers=[("sec-websocket-extensions", "permessage-deflate")])
        client.message(stream, "a" * 100)
        first, payload = client.take_message(stream)
        assert first == 0xC1 and len(payload) < 30
        assert "permessage-deflate" in client.streams[stream].headers["sec-websocket-extensions"]


def test_relayed_messages_and_the_guarantee():
    """Streams get what is relayed; the subscriptions of one that is reset are gone while Python stands still."""
    with LiveServer(RELAY) as server, Http2(server.port) as client, Http2(server.port) as other:
        streams = [client.websocket("/prices") for _ in range(10)]
        blocked = other.websocket("/prices")
        for stream in streams:
            assert client.take_message(stream) == (0x81, b"joined")
        assert other.take_message(blocked) == (0x81, b"joined")
        assert client.get("/publish?group=prices&count=20&size=100").status == 200
        for stream in streams:
            messages = [client.take_message(stream)[1] for _ in range(20)]
            assert len({len(message) for message in messages}) == 1 and len(messages) == 20
        before = json_of(client, "/stats")
        assert before["group_members"] == 11
        client.message(streams[0], "sleep 1.5")
        assert client.take_message(streams[0]) == (0x81, b"sleeping")
        for stream in streams[1:]:
            client.h2.reset_stream(stream, CANCEL)
        client.flush()
        other_stats = other.request("/stats")  # answered when the event loop is back
        after = read_json(other.response(other_stats).body)
        assert after["group_members"] == 2 and after["subscriptions_discarded_total"] >= 9


def json_of(client: Http2, path: str) -> dict[str, Any]:
    return read_json(client.get(path).body)


def read_json(body: bytes) -> dict[str, Any]:
    import json

    result: dict[str, Any] = json.loads(body)
    found: dict[str, Any] = {}

    def flatten(value: dict[str, Any]) -> None:
        for key, each in value.items():
            if isinstance(each, dict):
                flatten(each)
            else:
                found[key] = each

    flatten(result)
    return found


FLOODS = {
    "ping": (PING, 0, 0, b"12345678"),
    "settings": (SETTINGS, 0, 0, b""),
    "priority": (PRIORITY, 0, 1, b"\0\0\0\3\x10"),
    "unknown": (0xF7, 0, 1, b"x"),
}


@pytest.mark.parametrize("kind", [*FLOODS, "empty data", "rapid reset", "continuation", "faulty"])
def test_floods(kind):
    """Who asks for work and brings nothing is told to calm down; others are served meanwhile."""

    async def application(scope, receive, send):
        if scope["path"] == "/wait":
            await asyncio.sleep(3600)
        await answer(send, b"fine")

    settings = {"http2_control_rate": 20, "application_close_timeout_ms": 100}
    with CoreServer(application, settings=settings) as server, Http2(server.port) as attacker, Http2(server.port) as other:
        attacker.until(lambda: attacker.settings)
        if kind in ("empty data", "continuation"):
            attacker.request("/wait", "POST", end=False)
        if kind == "continuation":
            attacker.raw(HEADERS, 0, 3, b"")
        try:
            for number in range(2000):
                if kind in FLOODS:
                    attacker.raw(*FLOODS[kind])
                elif kind == "empty data":
                    attacker.raw(DATA, 0, 1)
                elif kind == "continuation":
                    attacker.raw(CONTINUATION, 0, 3)
                elif kind == "faulty":
                    stream = attacker.request("/wait", headers=[("connection", "close")])
                    attacker.until(lambda: attacker.goaways or attacker.streams[stream].reset is not None)  # noqa: B023
                    if attacker.goaways:
                        break
                else:
                    stream = attacker.request("/wait")
                    attacker.h2.reset_stream(stream, CANCEL)
                    attacker.flush()
                if number % 50 == 0:
                    assert other.get().body == b"fine"
        except OSError:
            pass  # it has been closed
        attacker.until_closed()
        assert attacker.goaways and attacker.goaways[-1][0] == ENHANCE_YOUR_CALM, attacker.goaways
        assert other.get().body == b"fine"
        assert server.stats()["http2_floods_total"] == 1
        server.idle()
        server.errors.clear()


def test_frames_for_a_stream_that_has_ended():
    with CoreServer(echo) as server:
        for closes in ("end", "reset"):
            with Http2(server.port) as client:
                if closes == "end":
                    client.get()
                else:
                    client.raw(RST_STREAM, 0, client.request(method="POST", end=False), b"\0\0\0\x08")
                client.raw(DATA, 0, 1, b"x")
                client.until_closed()
                assert client.goaways[-1][0] == STREAM_CLOSED


def test_drain():
    """What the client had begun is finished; then the connection ends."""
    gate = asyncio.Event()

    async def application(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        await gate.wait()
        await answer(send, b"finished")

    with CoreServer(application) as server, Http2(server.port) as client, Http2(server.port) as idle:
        idle.until(lambda: idle.settings)
        stream = client.request()
        websocket = client.websocket()
        client.until(lambda: client.streams[websocket].status == 200)
        server.core.shutdown(1012)
        assert client.take_message(websocket) == (0x88, (1012).to_bytes(2, "big"))
        client.until(lambda: len(client.goaways) >= 2)
        assert client.goaways[0] == (NO_ERROR, 2**31 - 1) and client.goaways[1] == (NO_ERROR, websocket)
        idle.until_closed()
        assert not client.streams[stream].over
        server.loop.call_soon_threadsafe(gate.set)
        assert client.response(stream).body == b"finished"
        client.socket.close()
        assert server.drained.wait(30)


@pytest.mark.parametrize("when", ["preface", "settings", "request"])
def test_idle(when):
    with CoreServer(echo, settings={"keep_alive_timeout_ms": 300}) as server, Http2(server.port) as client:
        client.until(lambda: client.settings)
        if when == "request":
            assert client.get().status == 200
        client.until_closed()
        assert client.goaways[-1][0] == NO_ERROR
        assert server.stats()["idle_timeouts_total"] == 1


def test_a_head_that_does_not_end():
    with CoreServer(echo, settings={"header_timeout_ms": 300}) as server, Http2(server.port) as client:
        client.until(lambda: client.settings)
        client.raw(HEADERS, 0, 1, b"")
        client.until_closed()
        assert client.goaways[-1][0] == ENHANCE_YOUR_CALM
        assert server.stats()["header_timeouts_total"] == 1


def test_a_body_that_does_not_come():
    async def application(scope, receive, send):
        if scope["path"] == "/slow":
            await receive()
            await asyncio.sleep(60)
        await answer(send, b"fine")

    settings = {"body_timeout_ms": 300, "application_close_timeout_ms": 100}
    with CoreServer(application, settings=settings) as server, Http2(server.port) as client:
        stream = client.request("/slow", "POST", end=False)
        assert client.response(stream).status == 408
        assert server.stats()["body_timeouts_total"] == 1
        assert client.get("/").body == b"fine"


def test_a_message_that_does_not_end():
    settings = {"body_timeout_ms": 300, "min_rate": 1000}
    with CoreServer(echo, settings=settings) as server, Http2(server.port) as client:
        stream = client.websocket()
        client.until(lambda: client.streams[stream].status == 200)
        client.send(stream, b"\x01\x85\0\0\0\0hallo")
        client.until(lambda: client.streams[stream].over)
        assert client.streams[stream].body == b"\x88\x02" + (1008).to_bytes(2, "big")
        assert server.stats()["body_timeouts_total"] == 1
        assert client.get("/").status == 200


@pytest.mark.parametrize("http2", [0, 1, 2])
def test_which_protocols_are_spoken(http2):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    with CoreServer(echo, settings={"http2": http2}) as server:
        for pieces in ([preface + b"\0\0\0\4\0\0\0\0\0"], [preface[:3], preface[3:20], preface[20:] + b"\0\0\0\4\0\0\0\0\0"]):
            with server.connect() as client:
                for piece in pieces:
                    client.send(piece)
                    time.sleep(0.02)
                got = client.socket.recv(9)
                assert got.startswith(b"HTTP/1.1 ") if http2 == 0 else got[3] == SETTINGS
        with server.connect() as client:
            client.send(b"P")
            time.sleep(0.02)
            client.send(b"OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
            got = client.socket.recv(9)
            assert got.startswith(b"HTTP/1.1 ") if http2 != 2 else got[3] != ord("P")
