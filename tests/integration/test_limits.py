"""Limits under attack: while somebody does the worst that a limit allows, others talk HTTP and get all relayed messages."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from peneus.testing import LiveServer

from tests.integration import raw_http2
from tests.integration.core_harness import PATIENCE, Client, WebSocket, eventually
from tests.support.identities import Authority

APPLICATION = "tests.integration.limit_apps:application"
PING, PONG = 9, 10
ROUND = 10  # messages that each bystander gets at a time


class Bystanders:
    """Three WebSockets that get relayed messages, and a connection with one request after the other: each answer and each message
    is checked, for as long as the attack lasts."""

    def __init__(self, server: LiveServer, context: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.context = context
        self.rounds = 0
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Bystanders:
        self._stack = ExitStack()
        self._http = self._stack.enter_context(Client(self.server.port, context=self.context))
        self._sockets = []
        for _ in range(3):
            client = self._stack.enter_context(WebSocket(self.server.port, "/bystanders", context=self.context).open())
            assert client.receive() == (1, b"joined")
            self._sockets.append(client)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def get(self, path: str) -> Any:
        with self._lock:
            self._http.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = self._http.response()
        assert response.status == 200
        return json.loads(response.body)

    def stat(self, name: str) -> int:
        return self.get("/stats")["stats"][name]

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._round()
        except BaseException as error:
            self._failure = error

    def _round(self) -> None:
        self.get(f"/publish?group=bystanders&count={ROUND}&size=200")
        for client in self._sockets:
            for number in range(ROUND):
                opcode, text = client.receive()
                while opcode == PING:
                    client.frame(PONG, text)
                    opcode, text = client.receive()
                assert (opcode, len(text), int(text.split()[0])) == (1, 200, number)
        self.rounds += 1

    def __exit__(self, *error: object) -> None:
        before = self.rounds
        with suppress(AssertionError):
            eventually(lambda: self._failure or self.rounds >= before + 2)
        self._over.set()
        self._thread.join(PATIENCE)
        self._stack.close()
        if error[0] is None:
            assert self._failure is None, repr(self._failure)
            assert self.rounds >= before + 2, "the bystanders were forgotten"


@contextmanager
def attacked(**settings: Any) -> Iterator[tuple[LiveServer, Bystanders]]:
    with LiveServer(APPLICATION, verbosity=0, pathsend=True, **settings) as server, Bystanders(server) as others:
        yield server, others


@contextmanager
def flood(server: LiveServer, count: int, own: str = "127.0.0.2") -> Iterator[list[socket.socket]]:
    """count connections that say nothing."""
    with ExitStack() as stack:
        attackers = []
        for _ in range(count):
            with suppress(ConnectionResetError):  # one that is reset so soon was there all the same
                connection = socket.create_connection((server.host, server.port), PATIENCE, source_address=(own, 0))
                attackers.append(stack.enter_context(connection))
        yield attackers


def rest(connection: socket.socket) -> bytes:
    """What still comes; b"reset" at its end stands for a reset."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionError:
        data += b"reset"
    return data


def drip(attackers: list[socket.socket], text: bytes, until: Any) -> None:
    """A byte now and then from each, until all have been told to stop."""
    at = 0
    give_up = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < give_up:
        for attacker in attackers:
            with suppress(OSError):
                attacker.send(text[at % len(text) :][:1])
        at += 1
        time.sleep(0.02)


def test_slow_headers() -> None:
    with attacked(header_timeout=1) as (server, others), flood(server, 40) as attackers:
        for attacker in attackers:
            attacker.sendall(b"GET / HTTP/1.1\r\n")
        drip(attackers, b"X-Slow: very\r\n", lambda: others.stat("header_timeouts_total") == 40)
        assert others.stat("header_timeouts_total") == 40
        assert {rest(attacker)[:12] for attacker in attackers} <= {b"HTTP/1.1 408", b"reset"}


def test_slow_bodies() -> None:
    with attacked(body_timeout=1, min_rate=1000) as (server, others), flood(server, 20) as attackers:
        for attacker in attackers:
            attacker.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        with Client(server.port) as honest:
            honest.send(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n")
            sender = threading.Thread(target=lambda: [(honest.send(b"y" * 4000), time.sleep(0.03)) for _ in range(100)])
            sender.start()
            drip(attackers, b"y", lambda: others.stat("body_timeouts_total") == 20)
            sender.join()
            assert honest.response().body == b"400000"  # 3 s: it is not slow, and not cut off
        assert others.stat("body_timeouts_total") == 20
        assert {rest(attacker)[:12] for attacker in attackers} <= {b"HTTP/1.1 408", b"reset"}


def test_slow_readers() -> None:
    with attacked(send_timeout=1, ping_interval=0) as (server, others), flood(server, 10) as attackers:
        for number, attacker in enumerate(attackers[:8]):
            attacker.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"file" if number % 2 else b"big"))
        with WebSocket(server.port, "/drowned").open() as client:  # relayed messages that nobody takes
            assert client.receive() == (1, b"joined")
            others.get("/publish?group=drowned&count=200&size=100000")
            eventually(lambda: others.stat("send_timeouts_total") == 9)
        for attacker in attackers[:8]:
            assert rest(attacker).endswith(b"reset")


def test_idle_connections() -> None:
    with attacked(keep_alive_timeout=1) as (server, others), flood(server, 30) as attackers:
        for attacker in attackers[:10]:
            attacker.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        for attacker in attackers:
            assert not rest(attacker).endswith(b"reset")
        assert others.stat("idle_timeouts_total") >= 30


def test_silent_websockets() -> None:
    with attacked(ping_interval=0.5, ping_timeout=0.5) as (server, others), ExitStack() as stack:
        silent = [stack.enter_context(WebSocket(server.port, "/silent").open()) for _ in range(10)]
        eventually(lambda: others.stat("ping_timeouts_total") == 10)
        for client in silent:
            assert client.rest().startswith(b"\x81\x06joined\x89\x00")


def refusals(attackers: list[socket.socket]) -> int:
    """How many of them have been told 503, or reset; the others are left alone."""
    refused = 0
    for attacker in attackers:
        attacker.settimeout(0.05)
        try:
            data = attacker.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            refused += 1
            continue
        assert data.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in data
        refused += 1
    return refused


def test_too_many_connections() -> None:
    with attacked(limit_connections=20) as (server, others):
        with flood(server, 150) as attackers:
            eventually(lambda: others.stat("connections_refused_total") == 150 - 16)
            assert len(attackers) - refusals(attackers) == 16
            assert others.stat("connections") <= 20 + 64
            eventually(lambda: "--limit-connections connections" in server.stderr, "the log says so")
        eventually(lambda: others.stat("connections") == 4)
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200


def test_too_many_of_one_address() -> None:
    with attacked(limit_connections_per_address=10) as (server, others), ExitStack() as stack:
        floods = [stack.enter_context(flood(server, 40, f"127.0.0.{own}")) for own in (2, 3, 4)]
        eventually(lambda: others.stat("addresses_refused_total") == 90)
        for attackers in floods:
            assert len(attackers) - refusals(attackers) == 10
        with Client(server.port) as client:  # of another address
            client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200
        floods[0][0].close()


def test_a_trusted_proxy_may_have_any_number() -> None:
    with attacked(limit_connections_per_address=10, trusted_proxies="127.0.0.2") as (server, others):
        with flood(server, 40) as attackers:
            eventually(lambda: others.stat("connections") == 44)
            assert refusals(attackers) == 0


def test_handshakes(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("localhost", "localhost", "127.0.0.1")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    settings = {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key, "limit_handshakes": 8, "tls_handshake_timeout": 60}
    with LiveServer(APPLICATION, verbosity=0, **settings) as server, Bystanders(server, context) as others:
        with flood(server, 40) as attackers:
            for attacker in attackers[::2]:
                with suppress(OSError):
                    attacker.send(b"\x16\x03\x01")
            with Client(server.port, context=context) as client:
                client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.response().status == 200
            assert others.stat("handshakes") <= 8
            assert others.stat("handshakes_dropped_total") >= 20
        eventually(lambda: others.stat("handshakes") == 0)


def test_no_descriptors_left() -> None:
    with attacked(limit_connections=0) as (server, others):
        others.get("/descriptors?left=10")
        with flood(server, 60) as attackers:
            eventually(lambda: others.stat("descriptors_exhausted_total") > 0)
            errors = others.stat("accept_errors_total")
            time.sleep(0.5)
            assert others.stat("accept_errors_total") - errors < 50, "it spins"
            eventually(lambda: "No file descriptor was left" in server.stderr, "the log says so")
            assert refusals(attackers) == 0  # they wait
        with Client(server.port) as client:
            client.send(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().status == 200


def test_another_worker_takes_who_one_has_no_descriptor_for() -> None:
    with LiveServer(APPLICATION, verbosity=0, workers=2, limit_connections=0) as server, ExitStack() as stack:

        def ask(path: str, client: Client) -> Any:
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return json.loads(client.response().body)

        first = stack.enter_context(Client(server.port))
        exhausted = ask("/pid", first)
        ask("/descriptors?left=0", first)
        pids = []
        for _ in range(40):
            client = stack.enter_context(Client(server.port))
            pids.append(ask("/pid", client))
        assert exhausted not in pids
        assert ask("/pid", first) == exhausted


def test_slow_streams() -> None:
    """Over HTTP/2 a response that nobody takes and a body that does not come end, and the other streams go on."""
    with attacked(send_timeout=1, body_timeout=1, min_rate=1000) as (server, others):
        with socket.create_connection((server.host, server.port), PATIENCE) as attacker:
            attacker.sendall(raw_http2.PREFACE + raw_http2.frame(raw_http2.WINDOW_UPDATE, 0, 0, struct.pack("!I", 1 << 20)))
            attacker.sendall(raw_http2.request(1, "/big") + raw_http2.request(3, "/upload", method="POST", ends=False))
            ended = set()
            for kind, flags, stream, _ in raw_http2.frames(attacker):
                if kind == raw_http2.RST_STREAM or (kind in (raw_http2.DATA, raw_http2.HEADERS) and flags & raw_http2.END_STREAM):
                    ended.add(stream)
                if ended >= {1, 3}:
                    break
            assert ended == {1, 3}
            attacker.sendall(raw_http2.request(5, "/pid"))
            assert json.loads(raw_http2.body(attacker, 5)) > 1
        assert (others.stat("send_timeouts_total"), others.stat("body_timeouts_total")) == (1, 1)
