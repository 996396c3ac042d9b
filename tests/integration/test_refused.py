"""What the server refuses, or ends by itself, leaves a line in a log that says so."""

import re
import socket
import struct

import pytest
from peneus import closes
from peneus.testing import LiveServer

from tests.integration.core_harness import CoreServer
from tests.integration.programs import PATIENCE, get, until
from tests.integration.raw_http2 import END_HEADERS, END_STREAM, HEADERS, Attacker, frame, request
from tests.integration.test_waiting_heads import UNBOUND, blocked, is_clean, waiting
from tests.leaks.client import Client
from tests.support.identities import Authority

END = b" HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"%s /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: %s\r\n\r\n"
)


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/wait":
            await receive()
            return
        await send({"type": "websocket.accept"})
        if scope["path"] == "/large":
            await send({"type": "websocket.send", "bytes": b"x" * 16_000_000})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["path"] == "/wait":
        if scope["query_string"] == b"started":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    else:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"fine"})


def answer(server, data):
    """The status line of what the server answers to data, and the client's port."""
    with socket.create_connection((server.host, server.port), PATIENCE) as client:
        client.sendall(data)
        reply = b""
        while b"\r\n" not in reply and (part := client.recv(4096)):
            reply += part
        return reply.partition(b"\r\n")[0], client.getsockname()[1]


REFUSED = [
    (b"GET /?" + b"a" * 9000 + END, 414, "GET /?aaaa"),
    (b"GET /no-host HTTP/1.1\r\n\r\n", 400, "GET /no-host"),
    (b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "GET /a"),
    (b"GET /\x01" + END, 400, "GET -"),
    (b"BLAH /" + END, 501, "- -"),
    (b"GET /many HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "GET /many"),
    (b"GET /v" + END.replace(b"1.1", b"3.7"), 505, "GET /v"),
    (b"POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", 413, "POST /big"),
    (b"POST /e HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, "POST /e"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "- -"),
    (HANDSHAKE % (b"GET", b"12"), 426, "GET /ws"),
    (HANDSHAKE % (b"PUT", b"13"), 405, "PUT /ws"),
    (b"GET /slow HTTP/1.1\r\nHo", 408, "GET /slow"),
]


def test_a_refused_request_is_in_the_access_log_and_its_reason_in_the_log():
    limits = {"header_timeout": 1, "max_body_size": 1000, "max_target_size": 8192}
    with LiveServer(application, verbosity=2, access_log="-", **limits) as server:
        for data, status, what in REFUSED:
            line, port = answer(server, data)
            assert line.startswith(b"HTTP/1.1 %d" % status), (data[:40], line)
            client = f"127.0.0.1:{port}"
            pattern = rf'^{re.escape(client)} - - \[.*\] "{re.escape(what)}.*" {status} -$'
            until(lambda pattern=pattern: re.search(pattern, server.stdout, re.MULTILINE), f"{pattern} in {server.stdout}")
            assert f"Refused a request from {client}: {status}, {closes.REFUSALS[status]}" in server.stderr
        get((server.host, server.port))
        until(lambda: '"GET /" 200 4' in server.stdout, "one that is not refused")
        assert len(server.stdout.splitlines()) == len(REFUSED) + 1


MALFORMED = [
    (b"GET / HTTP/1.1\r\n\r\n", "Host is missing, or Transfer-Encoding cannot be in this request"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host is malformed, or there twice"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: host\r\n\r\n", "Connection is malformed, or names a field that is for everybody"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x01c\r\n\r\n", "Invalid header value char"),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x85c\r\n\r\n", "a header's value has a NEL in it"),
    (b"GET  /" + END, "more than one space stands before the target"),
    (b"GET http://" + END, "the target is malformed"),
    (b"GET /\r\n\r\n", "the request line has no version"),
    (b"GE(T /" + END, "the method is malformed"),
    (b"\nGET /" + END, "the request does not begin with a method"),
]


@pytest.mark.parametrize(("data", "reason"), MALFORMED)
def test_what_is_malformed(data, reason):
    told = []
    with CoreServer(application, on_refused=lambda *what: told.append(what)) as server:
        server.host = "127.0.0.1"
        assert answer(server, data)[0].startswith(b"HTTP/1.1 400")
        until(lambda: told, "it is told")
        assert [why for _, why in told] == [reason]


def test_refused_over_http2():
    with LiveServer(application, verbosity=0, access_log="-") as server, Attacker(server.port) as attacker:
        headers = [("a", "b")]
        bad = frame(HEADERS, END_HEADERS | END_STREAM, 5, request(5, "/bad", ("upper", "x"))[9:].replace(b"upper", b"UPPER"))
        attacker.send(request(1, "/many", *headers * 150) + request(3, "/far", *headers * 300))
        attacker.send(bad + request(7, "relative"))
        attacker.wait(lambda: 1 in attacker.ended and {3, 5, 7} <= set(attacker.resets))
        assert attacker.statuses == {1: 431}
        for what, status in (("GET /many", 431), ("GET /far", 431), ("GET /bad", 400), ("GET relative", 400)):
            until(lambda line=f'"{what}" {status} -': line in server.stdout, f"{what} in {server.stdout}")


def test_json():
    with LiveServer(application, verbosity=0, access_log="-", log_format="json") as server:
        answer(server, b"GET /j HTTP/1.1\r\n\r\n")
        until(lambda: '"method": "GET", "path": "/j"' in server.stdout and '"status": 400' in server.stdout, "the line")


def test_tls_and_a_client_that_speaks_none(tmp_path):
    identity = Authority(tmp_path).issue("localhost")
    files = {"ssl_certfile": str(identity.certificate), "ssl_keyfile": str(identity.key)}
    with LiveServer(application, access_log="-", **files) as server:
        assert answer(server, b"GET /" + END)[0].startswith(b"HTTP/1.1 400")
        until(lambda: '"- -" 400 -' in server.stdout, "the line")


def test_refusals_are_bounded_while_the_event_loop_stands_still():
    told = []
    settings = {"max_header_count": 10, "head_window": 64 * 1024, **UNBOUND}
    with (
        CoreServer(application, settings=settings, on_refused=lambda details, reason: told.append(details)) as server,
        Attacker(server.port) as attacker,
    ):
        with blocked(server):
            for stream in range(1, 2001, 2):
                attacker.send(request(stream, "/" + "x" * 100, *[("a", "b")] * 15))
            assert attacker.alive()
            assert 60 * 1024 < waiting(server) < 66 * 1024
        is_clean(server)
        assert 100 < len(told) < 1000
        assert told[0]["client"] == f"127.0.0.1:{attacker.socket.getsockname()[1]}"
        assert (told[0]["method"], told[0]["path"], told[0]["status"]) == ("GET", "/" + "x" * 100, 431)


CLOSED = [
    (b"\x81\xfe" + struct.pack(">HI", 2000, 0) + b"x" * 2000, "message_too_large", 1009),
    (b"\x81\x03abc", "protocol_error", 1002),
    (b"\x81\x81\0\0\0\0\xff", "protocol_error", 1007),
    (b"", "ping_timeout", None),
]


@pytest.mark.parametrize(("sent", "cause", "code"), CLOSED)
def test_a_websocket_that_the_server_closes(sent, cause, code):
    limits = {"websocket_max_message_size": 1000, "ping_interval": 0.5, "ping_timeout": 0.5}
    with LiveServer(application, verbosity=1, **limits) as server:
        client = Client(server.port, "/room").open()
        client.socket.sendall(sent)
        how = f"was closed with {code}" if code else "was cut off"
        port = client.socket.getsockname()[1]
        line = f"INFO peneus.server: WEBSOCKET /room from 127.0.0.1:{port} {how}: {closes.CAUSES[cause]}\n"
        until(lambda: line in server.stderr, line)
        assert server.stderr.count("/room") == 1
        client.socket.close()


def test_the_end_of_its_life_and_of_patience():
    limits = {"websocket_timeout": 1, "websocket_connect_timeout": 1, "http_timeout": 1}
    with LiveServer(application, verbosity=1, **limits) as server:
        clients = Client(server.port, "/old").open(), Client(server.port, "/wait")
        answer(server, b"GET /wait" + END)
        get((server.host, server.port), "/wait?started")
        for what, how, cause in (
            ("WEBSOCKET /old", "was closed with 1000", "lifetime"),
            ("WEBSOCKET /wait", "was answered with 503", "connect_timeout"),
            ("GET /wait", "was answered with 503", "http_timeout"),
            ("GET /wait", "was cut off", "http_timeout"),
        ):
            pattern = rf"INFO peneus.server: {what} from 127.0.0.1:\d+ {how}: {re.escape(closes.CAUSES[cause])}\n"
            until(lambda pattern=pattern: re.search(pattern, server.stderr), f"{pattern} in {server.stderr}")
        for client in clients:
            client.socket.close()


def test_a_slow_body():
    with LiveServer(application, verbosity=1, body_timeout=1) as server:
        answer(server, b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        line = f"was answered with 408: {closes.CAUSES['slow_body']}"
        until(lambda: line in server.stderr, line)


def test_a_slow_message():
    with LiveServer(application, verbosity=1, body_timeout=1) as server:
        client = Client(server.port, "/room").open()
        client.socket.sendall(b"\x01\x81\0\0\0\0a")  # the first of several frames
        line = f"was closed with 1008: {closes.CAUSES['slow_message']}"
        until(lambda: line in server.stderr, line)
        client.socket.close()


def test_a_client_for_which_too_much_waits():
    """It is not --send-timeout that it has exceeded."""
    with LiveServer(application, verbosity=1, unsent_backlog=1_000_000) as server:
        clients = [Client(server.port, "/large").open() for _ in range(2)]
        line = f"was cut off: {closes.CAUSES['stalled_reader']}"
        until(lambda: line in server.stderr, line)
        for client in clients:
            client.socket.close()


def test_clients_and_applications_that_end_by_themselves_are_not_mentioned():
    with LiveServer(application, verbosity=1) as server:
        client = Client(server.port, "/bye").open()
        client.close()
        Client(server.port, "/gone").open().socket.close()
        get((server.host, server.port), "/done")
        until(lambda: server.stdout.count("WSDISCONNECT") == 2 and "/done" in server.stdout, "they have ended")
        assert "/" not in server.stderr.partition("Listening on")[2].partition("\n")[2]
