"""X-Forwarded-*: read as Daphne reads them, and only where they are switched on."""

import json

import pytest
from peneus.proxy import scope_hook
from peneus.testing import LiveServer

from tests.integration.programs import get

FOR, PORT, PROTO = "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"


def corrected(*headers, kind="http", names=(FOR, PORT, PROTO)):
    scope = {"type": kind, "headers": list(headers), "client": ["1.1.1.1", 1], "scheme": "ws" if kind == "websocket" else "http"}
    hook = scope_hook(*names)
    assert hook is not None
    hook(scope)
    return scope["client"], scope["scheme"]


UNCHANGED = (["1.1.1.1", 1], "http")


# The cases of Daphne's own tests of its function, and those around them.
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], UNCHANGED),
        ([(b"x-forwarded-for", b"10.1.2.3")], (["10.1.2.3", 0], "http")),
        ([(b"x-forwarded-for", b"10.1.2.3"), (b"x-forwarded-port", b"1234")], (["10.1.2.3", 1234], "http")),
        ([(b"x-forwarded-for", b"10.1.2.3, 10.1.2.4"), (b"x-forwarded-port", b"1234")], (["10.1.2.3", 1234], "http")),
        ([(b"x-forwarded-for", b"10.1.2.3"), (b"x-forwarded-for", b"10.9.9.9")], (["10.1.2.3", 0], "http")),
        ([(b"x-forwarded-for", b"1043::a321:0001")], (["1043::a321:0001", 0], "http")),
        ([(b"x-forwarded-for", b"10.1.2.3"), (b"x-forwarded-port", b"http")], (["10.1.2.3", 0], "http")),
        ([(b"x-forwarded-for", b"10.1.2.3"), (b"x-forwarded-proto", b"https")], (["10.1.2.3", 0], "https")),
        ([(b"x-forwarded-port", b"1234"), (b"x-forwarded-proto", b"https")], UNCHANGED),
        ([(b"forwarded", b"for=10.1.2.3")], UNCHANGED),
    ],
)
def test_headers(headers, expected):
    assert corrected(*headers) == expected


def test_a_websockets_scheme():
    """Proxies say https of both; the specification calls a WebSocket's ws or wss."""
    headers = [(b"x-forwarded-for", b"10.1.2.3"), (b"x-forwarded-proto", b"https")]
    assert corrected(*headers, kind="websocket")[1] == "wss"


def test_other_names_and_none():
    headers = [(b"x-real-ip", b"10.1.2.3"), (b"x-forwarded-port", b"9"), (b"x-forwarded-proto", b"https")]
    assert corrected(*headers, names=("X-Real-IP", None, None)) == (["10.1.2.3", 0], "http")
    assert scope_hook(None, PORT, PROTO) is None


async def tell(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps([scope["client"], scope["scheme"], scope["root_path"]]).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


SPOOFED = ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-Port: 99", "X-Forwarded-Proto: https", "Daphne-Root-Path: /stolen")


@pytest.mark.parametrize("on", [False, True])
def test_nobody_is_believed_unless_switched_on(on):
    with LiveServer(tell, proxy_headers=on, root_path="/mine") as server:
        response = get((server.host, server.port), "/", *SPOOFED).decode()
    assert ('["10.1.2.3", 99], "https"' in response) is on
    assert '"/mine"' in response and "stolen" not in response
