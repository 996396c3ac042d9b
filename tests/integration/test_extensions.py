"""The extensions of the ASGI specification: files, trailers, early hints; each where it works, over plain HTTP/1 and over TLS."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli
import httpx
import pytest
from brotli_asgi import BrotliMiddleware
from peneus import _core
from peneus.testing import LiveServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.integration.core_harness import PATIENCE, Client, CoreServer, Response, eventually
from tests.support.identities import Authority

BIG = 8_000_000  # more than sockets and windows hold together
FILES = ["http.response.pathsend", "http.response.zerocopysend"]
FIELDS = ["http.response.trailers", "http.response.early_hint"]
TE = "TE: trailers\r\n"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("extensions"))


class Site(CoreServer):
    """With a listener for TLS too."""

    protocols = b"\x08http/1.1"

    def __init__(self, application: Any, authority: Authority, secure: bool = False, **arguments: Any) -> None:
        super().__init__(application, **arguments)
        self.authority = authority
        self.secure = secure

    def listen(self) -> None:
        super().listen()
        if self.secure:
            identity = self.authority.issue("localhost", "localhost", "127.0.0.1")
            tls = _core.TLS(((str(identity.certificate), str(identity.key), None, None),), alpn=self.protocols)
            self.core.listen_tcp("127.0.0.1", 0, tls)
            self.context = ssl.create_default_context(cafile=str(self.authority.file))

    def connect(self) -> Client:
        if not self.secure:
            return super().connect()
        client = Client(self.core.addresses[1][1])
        client.socket = self.context.wrap_socket(client.socket, server_hostname="localhost")
        return client


@pytest.fixture(params=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


def contents(size: int) -> bytes:
    """Bytes of which no two pieces are the same."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(size // 32 + 1))[:size]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "big"
    path.write_bytes(contents(BIG))
    return path


def descriptors(path: Path) -> int:
    """How many of this process are open on path."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}") == str(path)
        except FileNotFoundError:  # the listing's own
            continue
    return found


def closed(path: Path) -> bool:
    return bool(eventually(lambda: descriptors(path) == 0, f"no descriptor of {path.name}"))


def start(*headers: tuple[bytes, bytes], status: int = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def path_event(path: Path | str) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def file_event(file: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.zerocopysend", "file": file, **more}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*messages: dict[str, Any]) -> Callable[..., Any]:
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    return application


def length_of(number: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % number)


def ask(site: CoreServer, request: str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n") -> Response:
    with site.connect() as client:
        client.send(request.encode())
        return client.response()


# What is offered


def test_what_the_scope_offers(authority, secure):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["extensions"])
        await send(start())
        await send(body(b""))

    with Site(application, authority, secure) as site:
        for version in ("1.1", "1.0"):
            ask(site, f"GET / HTTP/{version}\r\nHost: test\r\n\r\n")
    tls = ["tls"] if secure else []
    assert [list(extensions) for extensions in seen] == [FILES + FIELDS + tls, FILES + tls]
    seen[0].clear()
    seen[1]["http.response.pathsend"]["x"] = 1  # each request has its own


@pytest.mark.parametrize("message", [path_event("x"), file_event(0)])
def test_files_are_offered_where_they_are_asked_for(message):
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["extensions"])
        await send(start())
        await send(message)

    with CoreServer(application, offers_files=False) as server:
        for version in ("1.1", "1.0"):
            assert ask(server, f"GET / HTTP/{version}\r\nHost: test\r\n\r\n").status == 500
        server.idle()
    assert [list(extensions) for extensions in seen] == [FIELDS, []]
    assert all(message["type"] in str(error) and 'scope["extensions"]' in str(error) for error in server.errors)


async def says_its_extensions(scope, receive, send):
    if scope["type"] == "http":
        await send(start())
        await send(body(" ".join(scope["extensions"]).encode()))


def test_the_option():
    for settings, files in (({}, []), ({"pathsend": True}, FILES)):
        with LiveServer("tests.integration.test_extensions:says_its_extensions", **settings) as server:
            assert httpx.get(server.url).text.split() == files + FIELDS


@pytest.mark.parametrize(
    ("version", "messages"),
    [
        ("1.0", [{"type": "http.response.early_hint", "links": [b"</a>"]}]),
        ("1.0", [start(trailers=True)]),
        ("1.1", [{"type": "http.response.debug", "info": {}}]),
        ("1.1", [start(), {"type": "http.response.push", "path": "/", "headers": []}]),
    ],
)
def test_what_is_not_offered_is_an_error(version, messages):
    with CoreServer(sending(*messages)) as server:
        response = ask(server, f"GET / HTTP/{version}\r\nHost: test\r\n\r\n")
        server.idle()
        (error,) = server.errors
    assert response.status == 500
    assert isinstance(error, RuntimeError)
    what = messages[-1]["type"] if "trailers" not in messages[-1] else "http.response.trailers"
    assert what in str(error) and 'scope["extensions"]' in str(error)


def test_a_websocket_offers_none_of_these(big):
    async def application(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        await send(path_event(big))

    with CoreServer(application) as server:
        client = server.websocket()
        assert client.response().status == 500
        client.socket.close()
        server.idle()
        assert "http.response.pathsend" in str(server.errors[0]) and "WebSocket" in str(server.errors[0])
    assert closed(big)


# A denied handshake


def test_a_denial_is_streamed_with_back_pressure():
    sent = []

    async def application(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"x-why", b"no")]})
        for _ in range(200):
            await send({"type": "websocket.http.response.body", "body": bytes(50_000), "more_body": True})
            sent.append(50_000)
        await send({"type": "websocket.http.response.body", "body": b"end"})

    with CoreServer(application) as server:
        client = server.websocket()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        eventually(lambda: server.stats()["bytes_unwritten"] > 0, "a full socket")
        time.sleep(0.2)
        assert sum(sent) < 10_000_000
        response = client.response()
        assert (response.status, response.header("x-why")) == (403, "no")
        assert len(response.body) == 10_000_003
        assert client.rest() == b""  # the connection ends
        client.socket.close()


# Files by path


def test_pathsend(authority, secure, big):
    with Site(sending(start((b"x-a", b"1")), path_event(big)), authority, secure) as site, site.connect() as client:
        for _ in range(3):  # keep-alive
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            response = client.response()
            assert response.header("content-length") == str(BIG)
            assert response.body == contents(BIG)
        assert closed(big)
        assert site.stats()["bytes_unwritten"] == 0


@pytest.mark.parametrize("size", [0, 1, 4096, 16384, 65536, 1_048_576, 1_048_577])
def test_sizes(authority, secure, size, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(contents(size))
    with Site(sending(start(), path_event(path)), authority, secure) as site:
        response = ask(site)
        assert response.header("content-length") == str(size)
        assert response.body == contents(size)
        assert closed(path)


def test_pathsend_to_http_1_0(authority, secure, big):
    with Site(sending(start(length_of(BIG)), path_event(big)), authority, secure) as site:
        response = ask(site, "GET / HTTP/1.0\r\n\r\n")
    assert response.body == contents(BIG) and response.header("connection") == "close"


def test_pipelined_requests(authority, secure, big):
    """Each response whole, in order; only one file is open at a time, however many wait."""
    opened = []

    async def application(scope, receive, send):
        await send(start((b"x-path", scope["raw_path"])))
        await send(path_event(big))
        opened.append(descriptors(big))

    with Site(application, authority, secure) as site, site.connect() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: test\r\n\r\n" % i for i in range(5)))
        time.sleep(0.3)
        assert descriptors(big) <= 1
        for i in range(5):
            response = client.response()
            assert response.header("x-path") == f"/{i}"
            assert response.body == contents(BIG)
        site.idle()
        assert max(opened) <= 1
        assert closed(big)


def test_head(authority, secure, big):
    with Site(sending(start(), path_event(big)), authority, secure) as site, site.connect() as client:
        client.send(b"HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        status, headers = client.head()
        assert (status, dict(headers)["content-length"]) == (200, str(BIG))
        assert client.rest() == b""
        assert closed(big)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(status, big):
    with CoreServer(sending(start(status=status), path_event(big))) as server, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert client.head()[0] == status
        assert client.rest() == b""
        assert closed(big)


def test_the_file_may_be_deleted_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(contents(BIG))

    async def application(scope, receive, send):
        await send(start())
        sent = asyncio.ensure_future(send(path_event(path)))
        await asyncio.sleep(0)
        path.unlink()
        await sent

    with CoreServer(application) as server:
        assert ask(server).body == contents(BIG)


def test_a_relative_path(tmp_path, monkeypatch):
    """Starlette sends what its user wrote."""
    (tmp_path / "file").write_bytes(b"here")
    monkeypatch.chdir(tmp_path)
    with CoreServer(sending(start(), path_event("file"))) as server:
        assert ask(server).body == b"here"


def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    ("path", "error", "sentence"),
    [
        (lambda directory: directory / "missing", FileNotFoundError, "missing"),
        (lambda directory: directory, IsADirectoryError, "test_a_bad_path"),
        (fifo, ValueError, "pipe' is not a regular file"),
        (lambda directory: "/dev/null", ValueError, "'/dev/null' is not a regular file"),
        (lambda directory: "/with\0nul", ValueError, "null byte"),
        (lambda directory: "/" + "x" * 300, OSError, "File name too long"),
    ],
)
def test_a_bad_path(path, error, sentence, tmp_path):
    """The application is told by the path, and may still answer otherwise: nothing has been sent."""
    told = []

    async def application(scope, receive, send):
        await send(start())
        try:
            await send(path_event(path(tmp_path)))
        except Exception as raised:
            told.append(raised)
        await send(body(b"instead"))

    with CoreServer(application) as server:
        response = ask(server)
        assert response.body == b"instead"
    assert isinstance(told[0], error)
    assert sentence in str(told[0])


@pytest.mark.parametrize("bad", [None, b"/x", 3, Path("/x")])
def test_a_path_that_is_none(bad):
    with CoreServer(sending(start(), {"type": "http.response.pathsend", "path": bad})) as server:
        assert ask(server).status == 500
        server.idle()
        assert isinstance(server.errors[0], ValueError) and "'path' with a str" in str(server.errors[0])


def test_a_path_cannot_be_mixed_with_bodies(big):
    with CoreServer(sending(start(), body(b"x", True), path_event(big))) as server:
        ask_all(server)
        server.idle()
        assert '"response streaming"' in str(server.errors[0])
    with CoreServer(sending(start(), path_event(big), path_event(big))) as server:
        assert ask(server).body == contents(BIG)
        server.idle()
        assert '"response complete"' in str(server.errors[0])
    assert closed(big)


def ask_all(server: CoreServer, request: bytes = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n") -> bytes:
    with server.connect() as client:
        client.send(request)
        return client.rest()


# Files that change


def test_a_file_that_is_longer_than_its_content_length(big):
    """It has grown since the application looked."""
    with CoreServer(sending(start(length_of(1000)), path_event(big))) as server, server.connect() as client:
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.response().body == contents(1000)
        assert server.faults == []


def test_a_file_that_is_shorter_than_its_content_length(big):
    with CoreServer(sending(start(length_of(BIG + 1)), path_event(big))) as server:
        assert ask(server).status == 500
        server.idle()
        assert f"{str(big)!r} has {BIG} bytes, but the response's Content-Length says {BIG + 1}" in str(server.errors[0])
    assert closed(big)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_file_that_shrinks_meanwhile(authority, secure, version, tmp_path):
    """The client sees that something is missing, the log says of which file, and nobody else is disturbed."""
    path = tmp_path / "file"
    path.write_bytes(contents(4 * BIG))

    async def application(scope, receive, send):
        if scope["path"] == "/other":
            await send(start())
            await send(body(b"other"))
            return
        await send(start())
        await send(path_event(path))

    with Site(application, authority, secure) as site, site.connect() as client:
        client.send(f"GET / HTTP/{version}\r\nHost: test\r\n\r\n".encode())
        client.until(b"\r\n\r\n")
        os.truncate(path, 1_000_000)
        try:
            got = len(client.rest())
        except (ConnectionResetError, ssl.SSLError):
            got = 0
        assert got < 4 * BIG
        eventually(lambda: site.faults, "the fault")
        assert str(path) in site.faults[0] and "has become shorter" in site.faults[0]
        assert site.stats()["files_cut_total"] == 1
        assert ask(site, "GET /other HTTP/1.1\r\nHost: test\r\n\r\n").body == b"other"
        assert closed(path)


def test_a_file_that_is_cut_off_when_the_kernel_has_it(tmp_path):
    """The kernel would send pages of the file, which are zeros by then."""
    path = tmp_path / "file"
    size = 100_000  # less than the sockets' buffers
    path.write_bytes(contents(size))

    async def application(scope, receive, send):
        await send(start())
        await send(path_event(path))

    with CoreServer(application) as server, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        eventually(lambda: server.stats()["bytes_out_total"] == size and server.stats()["exchanges"] == 0, "all is sent")
        assert closed(path)
        os.truncate(path, 10)
        assert client.rest().endswith(contents(size)[-90_000:])


def test_a_file_that_grows_meanwhile(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(contents(BIG))
    with CoreServer(sending(start(), path_event(path))) as server, server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        client.until(b"\r\n\r\n")
        with path.open("ab") as file:
            file.write(b"more" * 1000)
        assert client.exactly(BIG) == contents(BIG)
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.response().header("content-length") == str(BIG + 4000)


def test_a_file_that_says_it_is_empty(authority, secure):
    """Files of /proc have no length: nothing of them is sent, as the response has been promised nothing."""
    with Site(sending(start(), path_event("/proc/version")), authority, secure) as site:
        response = ask(site)
        assert (response.status, response.header("content-length"), response.body) == (200, "0", b"")
        assert site.errors == [] and closed(Path("/proc/version"))


# Slow readers, and those who leave


def slow(client: Client) -> Client:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return client


def test_send_waits_for_the_client(authority, secure, big):
    steps = []

    async def application(scope, receive, send):
        await send(start())
        steps.append("started")
        await send(path_event(big))
        steps.append("sent")

    with Site(application, authority, secure) as site, slow(site.connect()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: site.stats()["bytes_unwritten"] > 0, "a full socket")
        time.sleep(0.3)
        assert steps == ["started"]
        assert site.stats()["applications"] == 1
        assert client.response().body == contents(BIG)
        eventually(lambda: steps == ["started", "sent"], "the end of send()")


def test_a_slow_reader_is_cut_off(authority, secure, big):
    settings = {"send_timeout_ms": 300}
    with Site(sending(start(), path_event(big)), authority, secure, settings=settings) as site, slow(site.connect()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: site.stats()["send_timeouts_total"] == 1, "the end of its patience")
        assert closed(big)
        site.idle()


def test_http_timeout_is_for_the_application(big):
    """It has answered: how long the client takes is send_timeout's."""
    with CoreServer(sending(start(), path_event(big)), settings={"http_timeout_ms": 300}) as server:
        with slow(server.connect()) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            time.sleep(0.6)
            assert client.response().body == contents(BIG)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_leaves(authority, secure, how, big):
    ended = []

    async def application(scope, receive, send):
        await send(start())
        try:
            await send(path_event(big))
        finally:
            ended.append((await receive())["type"])

    with Site(application, authority, secure) as site:
        for i in range(5):
            client = slow(site.connect())
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            client.until(b"\r\n\r\n")
            if how == "reset":
                client.reset()
            else:
                client.socket.close()
            eventually(lambda: len(ended) == i + 1, "the application's end")  # noqa: B023
        assert closed(big)
        assert ended == ["http.disconnect"] * 5
        assert site.faults == [] and site.errors == []


def test_connection_close(authority, secure, big):
    with Site(sending(start((b"connection", b"close")), path_event(big)), authority, secure) as site, site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.response().body == contents(BIG)
        assert client.rest() == b""


def test_an_application_killed_meanwhile(big):
    """Its response is all there; only its task is cancelled."""

    async def application(scope, receive, send):
        await send(start())
        await send(path_event(big))
        await asyncio.sleep(3600)

    with CoreServer(application) as server, slow(server.connect()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: server.stats()["bytes_unwritten"] > 0, "a full socket")
        server.call(server.core.cancel_applications)
        server.idle()
        assert client.response().body == contents(BIG)
        assert closed(big)


def test_a_server_that_stops_meanwhile(authority, secure, big):
    with Site(sending(start(), path_event(big)), authority, secure) as site:
        client = slow(site.connect())
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: site.stats()["bytes_unwritten"] > 0, "a full socket")
    client.socket.close()
    assert closed(big)


def test_an_upload_that_nobody_reads(big):
    """The application has ended with its file on the way: what the client still sends of its body holds nothing up."""
    with CoreServer(sending(start(), path_event(big)), settings={"send_window": 1 << 30}) as server, server.connect() as client:
        client.socket.settimeout(PATIENCE)
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        assert client.response().body == contents(BIG)
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.response().body == contents(BIG)


# Files by descriptor


def test_zerocopysend(authority, secure, big):
    """Positions move on, offsets do not move them, bodies stand between, and the application closes its own file."""

    async def application(scope, receive, send):
        with big.open("rb") as file:
            assert file.read(10) == contents(10)
            await send(start())
            await send(file_event(file, count=5, more_body=True))
            await send(body(b"-", True))
            await send(file_event(file, count=5, more_body=True))
            await send(file_event(file, offset=BIG - 3, more_body=True))
            assert file.tell() == 20
            await send(file_event(file.fileno(), offset=0, count=2, more_body=True))
            await send(file_event(file, count=0, more_body=True))
            await send(file_event(file, offset=BIG + 1, more_body=True))
            await send(body(b"end"))

    wanted = contents(BIG)
    with Site(application, authority, secure) as site:
        response = ask(site)
        site.idle()
        assert site.errors == []
    assert response.header("transfer-encoding") == "chunked"
    assert response.body == wanted[10:15] + b"-" + wanted[15:20] + wanted[-3:] + wanted[:2] + b"end"
    assert closed(big)


def test_many_files_in_one_response(authority, secure, big):
    """In order, and never more descriptors than the window has room for."""
    most = []

    async def application(scope, receive, send):
        await send(start())
        with big.open("rb") as file:
            for i in range(100):
                await send(file_event(file, offset=i * 1000, count=1000, more_body=True))
                await send(body(b"|", True))
                most.append(descriptors(big))
            await send(file_event(file, offset=0))

    with Site(application, authority, secure) as site, slow(site.connect()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        response = client.response()
        site.idle()
        assert site.errors == []
    wanted = contents(BIG)
    assert response.body == b"".join(wanted[i * 1000 : i * 1000 + 1000] + b"|" for i in range(100)) + wanted
    assert max(most) <= 8
    assert closed(big)


def test_zerocopysend_with_a_raw_descriptor(big):
    async def application(scope, receive, send):
        fd = os.open(big, os.O_RDONLY)
        os.lseek(fd, 100, os.SEEK_SET)
        await send(start(length_of(200)))
        await send(file_event(fd, count=200))
        assert os.lseek(fd, 0, os.SEEK_CUR) == 300
        os.close(fd)

    with CoreServer(application) as server:
        assert ask(server).body == contents(300)[100:]
        server.idle()
        assert server.errors == []


def test_the_whole_body_by_descriptor_has_a_length(authority, secure, big):
    async def application(scope, receive, send):
        with big.open("rb") as file:
            await send(start())
            sent = asyncio.ensure_future(send(file_event(file)))
            await asyncio.sleep(0)
        await sent  # closed already: the server has its own

    with Site(application, authority, secure) as site:
        response = ask(site)
    assert response.header("content-length") == str(BIG) and response.body == contents(BIG)


class Broken:
    """A file whose methods fail."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def tell(self) -> int:
        raise OSError(errno.EIO, "tell failed")


@pytest.mark.parametrize(
    ("make", "more", "error", "sentence"),
    [
        (lambda big: __import__("io").BytesIO(b"x"), {}, OSError, "fileno"),
        (lambda big: object(), {}, TypeError, "fileno"),
        (lambda big: None, {}, ValueError, "'file'"),
        (lambda big: 10**6, {}, OSError, "Bad file descriptor"),
        (lambda big: os.open("/dev/zero", os.O_RDONLY), {}, ValueError, "not a regular file"),
        (lambda big: os.pipe()[0], {}, ValueError, "not a regular file"),
        (lambda big: os.open(big, os.O_WRONLY), {}, ValueError, "not open for reading"),
        (lambda big: os.open(big, os.O_RDONLY), {"offset": -1}, ValueError, "'offset'"),
        (lambda big: os.open(big, os.O_RDONLY), {"offset": "1"}, ValueError, "'offset'"),
        (lambda big: os.open(big, os.O_RDONLY), {"count": -1}, ValueError, "'count'"),
        (lambda big: os.open(big, os.O_RDONLY), {"count": 1 << 70}, ValueError, "'count'"),
        (lambda big: Broken(os.open(big, os.O_RDONLY)), {}, OSError, "tell failed"),
    ],
)
def test_a_bad_descriptor(make, more, error, sentence, big):
    told = []
    opened = []

    async def application(scope, receive, send):
        file = make(big)
        opened.append(getattr(file, "fd", file))
        await send(start())
        try:
            await send(file_event(file, **more))
        except Exception as raised:
            told.append(raised)
        await send(body(b"instead"))

    with CoreServer(application) as server:
        assert ask(server).body == b"instead"
    assert isinstance(told[0], error)
    assert sentence in str(told[0])
    if isinstance(opened[0], int) and opened[0] < 10**6:
        os.close(opened[0])
    assert closed(big)


def test_zerocopysend_keeps_to_the_content_length(big):
    async def application(scope, receive, send):
        with big.open("rb") as file:
            await send(start(length_of(10)))
            await send(file_event(file, count=11))

    with CoreServer(application) as server:
        head, _, rest = ask_all(server).partition(b"\r\n\r\n")
        assert rest == contents(10)
        server.idle()
        assert "has 11 bytes of body, but its Content-Length says 10" in server.faults[0]


# Trailers


def trailing(*messages: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()) -> Callable[..., Any]:
    return sending(start(*headers, trailers=True), *messages)


def trailers(*headers: tuple[bytes, bytes], more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": list(headers), "more_trailers": more}


def get_raw(site: CoreServer, headers: str = TE, version: str = "1.1") -> bytes:
    with site.connect() as client:
        client.send(f"GET / HTTP/{version}\r\nHost: test\r\nConnection: close\r\n{headers}\r\n".encode())
        return client.rest().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("te", ["TE: trailers", "te: gzip;q=0.5, Trailers", "TE: x\r\nTE: trailers"])
def test_trailers(authority, secure, te):
    application = trailing(body(b"abc", True), body(b"def"), trailers((b"x-a", b"1"), more=True), trailers((b"x-b", b"2")))
    with Site(application, authority, secure) as site:
        assert get_raw(site, f"{te}\r\n") == b"3\r\nabc\r\n3\r\ndef\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n"
        site.idle()
        assert site.errors == [] and site.faults == []
        assert [action for action, _ in site.access] == ["complete"]


@pytest.mark.parametrize("te", ["", "TE: trailer\r\n", "TE: gzip\r\n", "TE: xtrailers\r\n", "Trailer: trailers\r\n"])
def test_trailers_that_the_client_does_not_take(te):
    """They are dropped, as the specification says, and so the response has a length."""
    with CoreServer(trailing(body(b"abc"), trailers((b"x-a", b"1")))) as server:
        assert get_raw(server, te) == b"abc"
        server.idle()
        assert server.errors == [] and server.faults == []


def test_trailers_behind_files(authority, secure, big):
    async def application(scope, receive, send):
        await send(start(trailers=True))
        await send(path_event(big))
        await send(trailers((b"x-sum", hashlib.sha256(contents(BIG)).hexdigest().encode())))

    with Site(application, authority, secure) as site:
        raw = get_raw(site)
    head = b"%x\r\n" % BIG
    end = b"\r\n0\r\nx-sum: " + hashlib.sha256(contents(BIG)).hexdigest().encode() + b"\r\n\r\n"
    assert raw == head + contents(BIG) + end
    assert closed(big)


def test_no_trailers_where_there_is_no_place_for_them():
    """Behind a Content-Length, or to HEAD; the connection goes on."""
    application = trailing(body(b"abc"), trailers((b"x-a", b"1")), headers=(length_of(3),))
    with CoreServer(application) as server, server.connect() as client:
        for _ in range(2):
            client.send(f"GET / HTTP/1.1\r\nHost: test\r\n{TE}\r\n".encode())
            assert client.response().body == b"abc"
        client.send(f"HEAD / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{TE}\r\n".encode())
        assert client.head()[0] == 200
        assert client.rest() == b""
        server.idle()
        assert server.errors == [] and server.faults == []


def test_no_trailers_is_an_end_too():
    with CoreServer(trailing(body(b""), trailers())) as server:
        assert get_raw(server) == b"0\r\n\r\n"


@pytest.mark.parametrize("te", ["", TE])
def test_trailers_that_never_come(te):
    with CoreServer(trailing(body(b"abc"))) as server:
        raw = get_raw(server, te)
        assert raw == b"abc" if not te else not raw.endswith(b"\r\n\r\n")
        eventually(lambda: server.faults, "the fault")
        assert server.faults == ["the application ended before its response was complete"]


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ([(b"content-length", b"3")], "'content-length' cannot be a trailer"),
        ([(b"x-a", b"1"), (b"Transfer-Encoding", b"chunked")], "'Transfer-Encoding' cannot be a trailer"),
        ([(b":status", b"200")], "is not a token"),
        ([(b"x-a", b"1\r\nx-b: 2")], "has a CR, LF"),
        ([("x-a", b"1")], "`bytes`"),
        ([(b"x", b"y" * 70_000)], "longer than 65536 bytes"),
        (3, "an iterable"),
    ],
)
@pytest.mark.parametrize("te", ["", TE])
def test_bad_trailers(headers, sentence, te):
    bad = {"type": "http.response.trailers", "headers": headers}
    with CoreServer(trailing(body(b"abc"), bad)) as server:
        get_raw(server, te)
        server.idle()
        assert sentence in str(server.errors[0])


def test_trailers_have_a_limit_in_all():
    async def application(scope, receive, send):
        await send(start(trailers=True))
        await send(body(b"abc"))
        while True:
            await send(trailers((b"x", b"y" * 1000), more=True))

    with CoreServer(application) as server:
        get_raw(server)
        server.idle()
        assert "longer than 65536 bytes" in str(server.errors[0])


def test_trailers_only_where_they_were_announced():
    with CoreServer(sending(start(), body(b"abc"), trailers((b"x", b"y")))) as server:
        assert get_raw(server) == b"abc"
        server.idle()
        assert '"response complete"' in str(server.errors[0])


# Early hints


def hint(*links: bytes) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": list(links)}


HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"


def test_early_hints(authority, secure):
    """Before the response, while the application still thinks; before its start, or behind it as the specification has it."""
    going_on = asyncio.Event()

    async def application(scope, receive, send):
        await send(hint(b"</a.css>; rel=preload", b"</b.js>"))
        await going_on.wait()
        await send(start())
        await send(hint(b"</c>"))
        await send(body(b"abc", True))
        await send(hint(b"</late>"))  # is ignored: the head is out
        await send(hint())
        await send(body(b"def"))

    with Site(application, authority, secure) as site, site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.until(b"\r\n\r\n") == HINT
        site.call(lambda: going_on.set())
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nlink: </c>\r\n\r\n"
        response = client.response()
        assert (response.status, response.body) == (200, b"abcdef")
        site.idle()
        assert site.errors == []


@pytest.mark.parametrize(
    ("links", "sentence"),
    [
        (None, "'links'"),
        (b"</a>", "'links'"),
        ("</a>", "'links'"),
        (["</a>"], "`bytes`"),
        ([b"</a>\r\nx: y"], "has a CR, LF"),
        (3, "not iterable"),
    ],
)
def test_bad_hints(links, sentence):
    with CoreServer(sending({"type": "http.response.early_hint", "links": links})) as server:
        assert ask(server).status == 500
        server.idle()
        assert sentence in str(server.errors[0])


def test_hints_are_of_the_send_window():
    """Who sends them without end waits for the client, like everybody."""
    sent = []

    async def application(scope, receive, send):
        while True:
            await send(hint(b"</" + b"x" * 10_000 + b">"))
            sent.append(10_000)

    with CoreServer(application) as server:
        client = slow(server.connect())
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        eventually(lambda: server.stats()["bytes_unwritten"] > 0, "a full socket")
        time.sleep(0.3)
        before = len(sent)
        time.sleep(0.3)
        assert len(sent) == before
        client.socket.close()
        server.idle()


# Frameworks


@contextmanager
def starlette(directory: Path, middleware: Any = GZipMiddleware, **arguments: Any) -> Iterator[CoreServer]:
    async def file(request: Any) -> FileResponse:
        return FileResponse(directory / "big.bin")

    routes = [Route("/file", file), Mount("/static", StaticFiles(directory=directory))]
    with CoreServer(Starlette(routes=routes, middleware=[Middleware(middleware)]), **arguments) as server:
        yield server
        assert server.errors == [] and server.faults == []


@pytest.mark.parametrize("kind", ["file", "static"])
def test_a_middleware_that_does_not_know_them(kind, tmp_path):
    """brotli-asgi, as Gradio has it, holds the response back until http.response.body."""
    (tmp_path / "big.bin").write_bytes(contents(BIG))
    with starlette(tmp_path, BrotliMiddleware, offers_files=False) as server:
        target = "/file" if kind == "file" else "/static/big.bin"
        response = ask(server, f"GET {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: br\r\n\r\n")
        assert response.status == 200 and brotli.decompress(response.body) == contents(BIG)


def test_starlette(tmp_path, monkeypatch):
    """Its FileResponse and StaticFiles send paths, and gzip lets them through."""
    path = tmp_path / "big.bin"
    path.write_bytes(contents(BIG))
    with starlette(tmp_path) as server, server.connect() as client:
        for target in ("/file", "/static/big.bin"):
            client.send(f"GET {target} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n".encode())
            response = client.response()
            assert response.body == contents(BIG)
            assert response.header("content-length") == str(BIG)
            client.send(f"GET {target} HTTP/1.1\r\nHost: test\r\nRange: bytes=5-14\r\n\r\n".encode())
            response = client.response()
            assert (response.status, response.body) == (206, contents(15)[5:])
        client.send(b"GET /static/none HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.response().status == 404
        assert closed(path)
