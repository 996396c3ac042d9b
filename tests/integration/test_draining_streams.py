"""Responses that go on while the server stops: those without a known end hear of a disconnect, the others may end."""

import asyncio
import signal

import pytest

from tests.integration.programs import connect, peneus
from tests.support.http2 import Http2

HERE = "tests.integration.test_draining_streams"
LOOPS = ["asyncio", "uvloop"]


def say(*words):
    print(*words, flush=True)


async def start(send, *headers):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})


async def stream(receive, send):
    await receive()
    await start(send)
    say("hears", (await receive())["type"])
    say("and again", (await receive())["type"])


async def late(receive, send):
    """Its receive() waits already when the server stops, and the response begins afterwards."""
    await receive()
    heard = asyncio.ensure_future(receive())
    say("working")
    await asyncio.sleep(1)
    await start(send)
    say("hears", (await heard)["type"])


async def sized(receive, send):
    await receive()
    heard = asyncio.ensure_future(receive())
    await start(send, (b"content-length", b"9"))
    await asyncio.wait({heard}, timeout=1)
    say("has heard" if heard.done() else "hears nothing")
    await send({"type": "http.response.body", "body": b" end"})
    await heard


async def upload(receive, send):
    await start(send)
    while (event := await receive())["type"] == "http.request":
        say("receives", event["body"].decode())
    say("hears", event["type"])


async def deaf(receive, send):
    await start(send)
    await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b" end"})


async def endless(receive, send):
    await start(send)
    say("working")
    await asyncio.Event().wait()


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError("HTTP only")
    await globals()[scope["path"].strip("/")](receive, send)


def serving(*options):
    return peneus("-p", "0", "--graceful-timeout", "1000", *options, f"{HERE}:application")


def ask(server, path, *headers):
    client = connect(("127.0.0.1", server.port()))
    client.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode())
    return client


def hear(client, mark):
    text = b""
    while mark not in text and (part := client.recv(65536)):
        text += part
    return text


def ends_well(server):
    assert server.wait() == 0
    assert "ERROR" not in server.output and "Cancelled" not in server.output, server.output
    return True


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_hears_of_a_disconnect(loop, number):
    with serving("--loop", loop) as server, ask(server, "/stream") as client:
        hear(client, b"begun")
        server.process.send_signal(number)
        assert b"0\r\n\r\n" not in hear(client, b"0\r\n\r\n"), "it is cut off, and looks so"
        assert ends_well(server)
        assert "hears http.disconnect\nand again http.disconnect\n" in server.output
        assert "1 application may go on for up to 1000 s; a second signal (CTRL-C) ends it at once" in server.output


def test_a_stream_over_http2():
    with serving() as server, Http2(server.port()) as client:
        stream = client.request("/stream")
        client.until(lambda: client.streams[stream].body == b"begun")
        server.process.terminate()
        client.until(lambda: client.streams[stream].over)
        assert client.streams[stream].reset is not None
        client.until_closed()
        assert ends_well(server)
        assert "hears http.disconnect\n" in server.output


def test_one_that_begins_later():
    with serving() as server, ask(server, "/late"):
        server.wait_for("working")
        server.process.terminate()
        assert ends_well(server)
        assert "hears http.disconnect\n" in server.output


def test_one_with_a_known_length_may_end():
    with serving() as server, ask(server, "/sized") as client:
        text = hear(client, b"begun")
        server.process.terminate()
        text += hear(client, b"end")
        assert text.endswith(b"\r\n\r\nbegun end")
        assert ends_well(server)
        assert "hears nothing" in server.output


def test_one_that_does_not_listen_may_end():
    with serving() as server, ask(server, "/deaf") as client:
        hear(client, b"begun")
        server.process.terminate()
        assert hear(client, b"0\r\n\r\n").endswith(b" end\r\n0\r\n\r\n")
        assert ends_well(server)


def test_the_rest_of_an_upload_comes_first():
    with serving() as server, ask(server, "/upload", "Content-Length: 6") as client:
        hear(client, b"begun")
        client.sendall(b"one")
        server.wait_for("receives one")
        server.process.terminate()
        server.wait_for("Stopping")
        client.sendall(b"two")
        assert ends_well(server)
        assert "receives two" in server.output
        assert "hears http.disconnect\n" in server.output[server.output.index("receives two") :]


def test_workers_say_so_too():
    with serving("--workers", "2") as server, ask(server, "/stream") as client:
        hear(client, b"begun")
        server.process.send_signal(signal.SIGINT)
        assert ends_well(server)
        assert "hears http.disconnect\n" in server.output
        assert "Stopping 2 workers; their applications may go on for up to 1000 s; a second signal (CTRL-C)" in server.output


def test_with_reload_nothing_is_waited_for():
    with serving("--reload") as server, ask(server, "/endless") as client:
        server.wait_for("working")
        server.process.send_signal(signal.SIGINT)
        hear(client, b"never")
        assert server.wait() == 0
        assert "Cancelled 1 application" in server.output and "may go on for" not in server.output
