"""Files, trailers and hints over HTTP/2: many streams at once, and what happens to one is not seen by another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.integration.core_harness import eventually
from tests.integration.test_extensions import (
    FIELDS,
    FILES,
    Site,
    authority,
    body,
    closed,
    contents,
    descriptors,
    file_event,
    length_of,
    path_event,
    secure,
    sending,
    start,
    trailers,
)
from tests.support.http2 import Http2

__all__ = ["authority", "secure"]  # fixtures

SIZE = 1_000_000


class Site2(Site):
    protocols = b"\x02h2\x08http/1.1"

    def client(self, **arguments: Any) -> Http2:
        if not self.secure:
            return Http2(self.port, **arguments)
        return Http2(self.core.addresses[1][1], tls=self.context, **arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(contents(SIZE))
    return path


def test_what_the_scope_offers(authority, secure):
    seen = []

    async def application(scope, receive, send):
        seen.append((scope["http_version"], list(scope["extensions"])))
        await send(start())
        await send(body(b""))

    with Site2(application, authority, secure) as site, site.client() as client:
        client.get()
    assert seen == [("2", FILES + FIELDS + (["tls"] if secure else []))]


def test_many_files_at_once(authority, secure, file):
    async def application(scope, receive, send):
        await send(start())
        with file.open("rb") as opened:
            await send(body(b"<", True))
            await send(file_event(opened, offset=100, count=SIZE - 200, more_body=True))
            await send(file_event(opened, count=3, more_body=True))
            await send(body(b">"))

    with Site2(application, authority, secure) as site, site.client() as client:
        streams = [client.request(f"/{i}") for i in range(8)]
        for stream in streams:
            response = client.response(stream)
            assert response.body == b"<" + contents(SIZE)[100:-100] + contents(3) + b">"
        site.idle()
        assert site.errors == []
        assert closed(file)


def test_pathsend_head_and_status(authority, secure, file):
    async def application(scope, receive, send):
        await send(start(status=204 if scope["path"] == "/204" else 200))
        await send(path_event(file))

    with Site2(application, authority, secure) as site, site.client() as client:
        response = client.get("/")
        assert response.headers["content-length"] == str(SIZE) and response.body == contents(SIZE)
        response = client.get("/", method="HEAD")
        assert response.headers["content-length"] == str(SIZE) and response.body == b"" and response.ended
        response = client.get("/204")
        assert (response.status, response.body) == (204, b"")
        assert closed(file)


def test_trailers_behind_a_file(authority, secure, file):
    async def application(scope, receive, send):
        await send(start(length_of(SIZE), trailers=True))
        await send(path_event(file))
        await send(trailers((b"x-a", b"1"), more=True))
        await send(trailers((b"x-b", b"2")))

    with Site2(application, authority, secure) as site, site.client() as client:
        response = client.get(headers=[("te", "trailers")])
        assert response.body == contents(SIZE) and response.trailers == {"x-a": "1", "x-b": "2"}
        assert client.get().trailers is None
        assert closed(file)


def test_a_window_that_stays_shut(authority, secure, file):
    """send() waits, the descriptor is kept, other streams go on; then the client resets the stream."""
    steps = []

    async def application(scope, receive, send):
        await send(start())
        if scope["path"] == "/small":
            await send(body(b"small"))
            return
        steps.append("started")
        try:
            await send(path_event(file))
        finally:
            steps.append((await receive())["type"])

    with Site2(application, authority, secure) as site, site.client(window=20_000, automatic=False) as client:
        stream = client.request("/file")
        client.until(lambda: len(client.streams[stream].body) == 20_000)
        assert client.get("/small").body == b"small"
        assert steps == ["started"] and descriptors(file) == 1
        client.h2.reset_stream(stream)
        client.flush()
        assert closed(file)
        eventually(lambda: steps == ["started", "http.disconnect"], "the end of send()")
        assert client.get("/small").body == b"small"
        site.idle()
        assert site.faults == [] and site.errors == []


@pytest.mark.parametrize("how", ["client", "server"])
def test_a_connection_that_ends(authority, secure, how, file):
    with Site2(sending(start(), path_event(file)), authority, secure) as site:
        client = site.client(window=20_000, automatic=False)
        for stream in [client.request() for _ in range(3)]:
            client.until(lambda: len(client.streams[stream].body) > 0)  # noqa: B023
        assert descriptors(file) == 3
        if how == "client":
            client.socket.close()
            assert closed(file)
            site.idle()
    client.socket.close()
    assert closed(file)


def test_a_file_that_shrinks_meanwhile(authority, secure, file):
    """That stream is reset; the others of its connection are not."""

    async def application(scope, receive, send):
        await send(start())
        await send(path_event(file) if scope["path"] == "/file" else body(b"other"))

    with Site2(application, authority, secure) as site, site.client(window=20_000, automatic=False) as client:
        stream = client.request("/file")
        client.until(lambda: len(client.streams[stream].body) == 20_000)
        os.truncate(file, 100_000)
        client.h2.increment_flow_control_window(SIZE, stream)
        client.h2.increment_flow_control_window(SIZE)
        client.flush()
        assert client.response(stream).reset is not None and not client.streams[stream].ended
        assert client.get("/other").body == b"other"
        eventually(lambda: site.faults, "the fault")
        assert str(file) in site.faults[0]
        assert site.stats()["files_cut_total"] == 1
        assert closed(file)
