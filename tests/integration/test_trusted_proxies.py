"""--trusted-proxies and --proxy-protocol: whose word counts, and that nobody can borrow it."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from peneus.errors import SettingError
from peneus.settings import from_keywords
from peneus.testing import LiveServer

from tests.integration import raw_http2
from tests.integration.core_harness import PATIENCE, eventually
from tests.support.http2 import Http2
from tests.support.identities import Authority, Identity

OWN = "127.0.0.1"
LINE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


async def tell(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with what the scope says of the client."""
    import peneus

    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    told = {"client": scope["client"], "server": scope["server"], "scheme": scope["scheme"], "host": headers.get("host")}
    told["stats"] = {name: peneus.stats()[name] for name in ("proxy_errors_total", "forwarded_errors_total")}
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": json.dumps(told)})
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def talk(connection: socket.socket, *headers: str, first: bytes = b"", upgrade: bool = False) -> Any:
    """What the server says of the client that speaks on connection; None: it was closed."""
    lines = ["GET / HTTP/1.1", "Host: own.test", *headers]
    if upgrade:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    else:
        lines += ["Connection: close"]
    data = b""
    try:
        connection.sendall(first + "\r\n".join([*lines, "", ""]).encode("latin-1"))
        while part := connection.recv(65536):
            data += part
            if upgrade and data.endswith(b"\x88\x02\x03\xe8"):
                break
    except ConnectionError:
        pass
    connection.close()
    if not data:
        return None
    return json.loads(data[data.index(b"{", data.index(b"\r\n\r\n")) : data.rindex(b"}") + 1])


def dial(server: LiveServer, own: str = OWN) -> socket.socket:
    return socket.create_connection((server.host, server.port), PATIENCE, source_address=(own, 0))


def said(server: LiveServer, *headers: str, own: str = OWN, **more: Any) -> Any:
    return talk(dial(server, own), *headers, **more)


SPOOFED = ("X-Forwarded-For: 192.0.2.9", "X-Forwarded-Port: 99", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test")
STANDARD = "Forwarded: for=192.0.2.8;proto=https;host=evil.test"


@pytest.fixture(scope="module")
def trusting() -> Iterator[LiveServer]:
    with LiveServer(tell, trusted_proxies="127.0.0.2,10.0.0.0/8") as server:
        yield server


def test_nobody_else_is_believed(trusting: LiveServer) -> None:
    found = said(trusting, *SPOOFED, STANDARD)
    assert (found["client"][0], found["scheme"], found["host"]) == (OWN, "http", "own.test")


def test_the_first_that_is_not_trusted_from_the_right(trusting: LiveServer) -> None:
    headers = ("X-Forwarded-For: 192.0.2.9, 192.0.2.1, 10.1.2.3", "X-Forwarded-Proto: https", "X-Forwarded-Port: 99")
    found = said(trusting, *headers, own="127.0.0.2")
    assert (found["client"], found["scheme"]) == (["192.0.2.1", 99], "https")
    found = said(trusting, *headers, own="127.0.0.2", upgrade=True)
    assert (found["client"], found["scheme"]) == (["192.0.2.1", 99], "wss")


def test_what_the_proxy_was_not_said_to_write_does_not_count(trusting: LiveServer) -> None:
    """A client's Forwarded and X-Forwarded-Host pass through a proxy that writes X-Forwarded-For."""
    found = said(trusting, "X-Forwarded-For: 192.0.2.1", STANDARD, "X-Forwarded-Host: evil.test", own="127.0.0.2")
    assert (found["client"], found["scheme"], found["host"]) == (["192.0.2.1", 0], "http", "own.test")


def test_what_is_malformed_is_ignored_and_counted(trusting: LiveServer) -> None:
    before = said(trusting)["stats"]["forwarded_errors_total"]
    found = said(trusting, "X-Forwarded-For: nonsense", "X-Forwarded-Proto: gopher", own="127.0.0.2")
    assert (found["client"][0], found["scheme"]) == ("127.0.0.2", "http")
    assert said(trusting)["stats"]["forwarded_errors_total"] == before + 2


def test_malformed_is_logged_at_debug() -> None:
    with LiveServer(tell, trusted_proxies=OWN, verbosity=2) as server:
        said(server, "X-Forwarded-For: nonsense")
        assert "ignored what is malformed in a proxy's headers" in server.stderr


def test_the_standard_header() -> None:
    with LiveServer(tell, trusted_proxies=[OWN, "10.0.0.0/8"], forwarded_headers="forwarded") as server:
        line = 'Forwarded: for="x, for="[2001:db8::1]:4711";proto=https;host="right.test:8443", for=10.0.0.1'
        found = said(server, line, *SPOOFED)
        assert (found["client"], found["scheme"], found["host"]) == (["2001:db8::1", 4711], "https", "right.test:8443")


def test_forwarded_host_where_it_is_asked_for() -> None:
    with LiveServer(tell, trusted_proxies=OWN, forwarded_headers=["x-forwarded-for", "x-forwarded-host"]) as server:
        found = said(server, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil.test, right.test", "X-Forwarded-Proto: https")
        assert (found["client"], found["scheme"], found["host"]) == (["192.0.2.1", 0], "http", "right.test")


def test_daphnes_options_with_a_list() -> None:
    """The headers are --proxy-headers', and count from those in the list alone."""
    with LiveServer(tell, trusted_proxies="127.0.0.2", proxy_headers=True, proxy_headers_host="X-Real-IP") as server:
        headers = ("X-Real-IP: 192.0.2.1", "X-Forwarded-For: 192.0.2.9", "X-Forwarded-Port: 99")
        assert said(server, *headers)["client"][0] == OWN
        assert said(server, *headers, own="127.0.0.2")["client"] == ["192.0.2.1", 99]


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for trusted, expected in (("unix", ["192.0.2.1", 0]), (OWN, None)):
        with LiveServer(tell, trusted_proxies=trusted, unix_socket=path, host=None, port=None):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            assert talk(client, "X-Forwarded-For: 192.0.2.1")["client"] == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"trusted_proxies": "10.0.0.300"}, "10.0.0.300"),
        ({"trusted_proxies": "localhost"}, "localhost"),
        ({"trusted_proxies": "fe80::1%eth0"}, "fe80::1%eth0"),
        ({"trusted_proxies": 7}, "7"),
        ({"proxy_protocol": True}, "--trusted-proxies"),
        ({"forwarded_headers": "forwarded"}, "--trusted-proxies"),
        ({"trusted_proxies": "*", "forwarded_headers": "x-real-ip"}, "x-real-ip"),
        ({"trusted_proxies": "*", "forwarded_headers": "forwarded,x-forwarded-for"}, "alone"),
        ({"trusted_proxies": "*", "forwarded_headers": "forwarded", "proxy_headers": True}, "alone"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match="write") as caught:
        from_keywords(settings)
    assert named in str(caught.value)


def test_the_list_is_read() -> None:
    native = from_keywords({"trusted_proxies": "10.1.2.3/8, ::1,unix"}).native()
    assert native["trusted_proxies"] == "10.0.0.0/8,::1/128,unix"
    assert native["forwarded_address"] == "x-forwarded-for" and native["forwarded_host"] is None
    assert from_keywords({"trusted_proxies": "*", "forwarded_headers": "none"}).native()["forwarded_address"] is None
    assert from_keywords({}).native()["forwarded_address"] is None


def v2(command: int, family: int, addresses: bytes, *tlvs: tuple[int, bytes]) -> bytes:
    body = addresses + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


FOUR = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 1234, 443)
SIX = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2") + struct.pack("!HH", 5, 6)
)


@pytest.fixture(scope="module")
def proxied() -> Iterator[LiveServer]:
    with LiveServer(tell, trusted_proxies=[OWN, "10.0.0.0/8"], proxy_protocol=True, header_timeout=0.5) as server:
        yield server


@pytest.mark.parametrize(
    ("header", "client", "own", "scheme"),
    [
        (LINE, ["192.0.2.1", 1234], ["192.0.2.2", 443], "http"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 5 6\r\n", ["2001:db8::1", 5], ["2001:db8::2", 6], "http"),
        (v2(1, 0x11, FOUR), ["192.0.2.1", 1234], ["192.0.2.2", 443], "http"),
        (v2(1, 0x21, SIX, (0x20, b"\1\0\0\0\0"), (4, b"x" * 100)), ["2001:db8::1", 5], ["2001:db8::2", 6], "https"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_proxy_headers(proxied: LiveServer, header: bytes, client: list[Any], own: list[Any], scheme: str, pieces: int) -> None:
    connection = dial(proxied)
    step = max(1, len(header) // pieces)
    for at in range(0, len(header), step):
        connection.sendall(header[at : at + step])
        if pieces < 10:
            time.sleep(0.01)
    found = talk(connection)
    assert (found["client"], found["server"], found["scheme"]) == (client, own, scheme)


def test_proxy_headers_that_name_nobody(proxied: LiveServer) -> None:
    for header in (v2(0, 0, b""), v2(0, 0x11, FOUR), b"PROXY UNKNOWN\r\n", v2(1, 0x31, bytes(216))):
        assert said(proxied, first=header)["client"][0] == OWN


def test_a_client_of_the_proxy_is_not_believed_itself(proxied: LiveServer) -> None:
    assert said(proxied, *SPOOFED, first=LINE)["client"] == ["192.0.2.1", 1234]
    trusted = LINE.replace(b"192.0.2.1 ", b"10.1.1.1 ")  # another proxy, in front of that one
    assert said(proxied, *SPOOFED, first=trusted)["client"] == ["192.0.2.9", 99]


@contextmanager
def errors(server: LiveServer) -> Iterator[None]:
    def count() -> int:
        return said(server, first=LINE)["stats"]["proxy_errors_total"]

    before = count()
    yield
    eventually(lambda: count() == before + 1, "the error is counted")


@pytest.mark.parametrize(
    "header", [b"", b"PROXY TCP4 192.0.2.1\r\n", v2(3, 0x11, FOUR), v2(1, 0x11, FOUR[:8]), v2(1, 0x11, FOUR, (3, b"\0\0\0\0"))]
)
def test_others_are_closed(proxied: LiveServer, header: bytes) -> None:
    with errors(proxied):
        assert said(proxied, first=header) is None


def test_an_untrusted_peer_is_closed(proxied: LiveServer) -> None:
    with errors(proxied):
        assert said(proxied, first=LINE, own="127.0.0.3") is None


def test_a_header_that_does_not_come(proxied: LiveServer) -> None:
    with dial(proxied) as silent, dial(proxied) as half:
        half.sendall(LINE[:20])
        assert (silent.recv(1), half.recv(1)) == (b"", b"")


def test_before_tls(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("localhost", "localhost", OWN)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    settings = {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key}
    with LiveServer(tell, trusted_proxies=OWN, proxy_protocol=True, **settings) as server:
        connection = dial(server)
        connection.sendall(v2(1, 0x11, FOUR))
        found = talk(context.wrap_socket(connection))
        assert (found["client"], found["scheme"]) == (["192.0.2.1", 1234], "https")
        # The header and the first bytes of TLS in one segment.
        connection, incoming, outgoing = dial(server), ssl.MemoryBIO(), ssl.MemoryBIO()
        machine = context.wrap_bio(incoming, outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            machine.do_handshake()
        connection.sendall(LINE + outgoing.read())
        while True:
            incoming.write(connection.recv(65536))
            try:
                machine.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        connection.close()
        connection = dial(server)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection)


def secured(server: LiveServer, context: ssl.SSLContext) -> HTTPConnection:
    """A connection with a PROXY header and TLS, for many requests."""
    connection = dial(server)
    connection.sendall(LINE)
    client = HTTPConnection("localhost")
    client.sock = context.wrap_socket(connection, server_hostname="localhost")
    return client


def asked(client: HTTPConnection) -> Any:
    client.request("GET", "/")
    return json.loads(client.getresponse().read())


def test_many_requests_before_tls_and_new_certificates(tmp_path: Path) -> None:
    """Requests on one connection leave the listener's certificates alone, over HTTP/1.1 and HTTP/2, and across reloads."""
    requests = 60
    authority = Authority(tmp_path)
    pairs = [authority.issue(name, "localhost") for name in ("first", "second")]
    certificate, key = tmp_path / "certificate", tmp_path / "key"

    def show(pair: Identity) -> None:
        certificate.write_bytes(pair.certificate.read_bytes())
        key.write_bytes(pair.key.read_bytes())

    def trusting() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(authority.file))

    def shows(pair: Identity) -> bool:
        with closing(secured(server, trusting())) as client:
            assert asked(client)["client"] == ["192.0.2.1", 1234]
            shown: Any = client.sock
            return bool(shown.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(pair.pem))

    def serves(one: HTTPConnection, two: Http2) -> None:
        for _ in range(requests):
            assert asked(one)["client"] == ["192.0.2.1", 1234]
            found = json.loads(two.get().body)
            assert (found["client"], found["scheme"]) == (["192.0.2.1", 1234], "https")

    show(pairs[0])
    settings = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    with LiveServer(tell, trusted_proxies=OWN, proxy_protocol=True, **settings) as server:
        assert server.process is not None
        with closing(secured(server, trusting())) as one, Http2(server.port, tls=trusting(), first=LINE) as two:
            serves(one, two)
            for pair in (pairs[1], pairs[0], pairs[1]):
                waiting = dial(server)  # its header comes after the new certificates
                show(pair)
                server.process.send_signal(signal.SIGHUP)
                eventually(lambda pair=pair: shows(pair), "the new certificate is shown")
                waiting.sendall(LINE)
                assert talk(trusting().wrap_socket(waiting, server_hostname="localhost"))["scheme"] == "https"
                serves(one, two)
                with closing(secured(server, trusting())) as again, Http2(server.port, tls=trusting(), first=LINE) as other:
                    serves(again, other)
            left = [dial(server) for _ in range(3)]
            assert server.stop() == 0
        for connection in left:
            connection.close()


def test_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with LiveServer(tell, trusted_proxies="unix", proxy_protocol=True, unix_socket=path, host=None, port=None):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        assert talk(client, first=LINE)["client"] == ["192.0.2.1", 1234]


def test_http2(trusting: LiveServer, proxied: LiveServer) -> None:
    headers = (("x-forwarded-for", "192.0.2.9, 192.0.2.1, 10.1.2.3"), ("x-forwarded-proto", "https"))
    for own, expected in (("127.0.0.2", "192.0.2.1"), (OWN, OWN)):
        with dial(trusting, own) as connection:
            connection.sendall(raw_http2.PREFACE + raw_http2.request(1, "/", *headers))
            found = json.loads(raw_http2.body(connection, 1))
            assert (found["client"][0], found["host"]) == (expected, "own.test")
    with dial(proxied) as connection:
        request = LINE + raw_http2.PREFACE + raw_http2.request(1, "/", *headers)
        connection.sendall(request[:50])
        time.sleep(0.02)
        connection.sendall(request[50:])
        found = json.loads(raw_http2.body(connection, 1))
        assert (found["client"], found["scheme"]) == (["192.0.2.1", 1234], "http")
