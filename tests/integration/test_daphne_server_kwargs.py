"""Code that embeds daphne.server.Server moves over: its keyword arguments, each with its effect."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import peneus
import pytest
from peneus.errors import ListenError, SettingError

from tests.integration.programs import PATIENCE, connect, get, until
from tests.leaks.client import Client, Gone


def say(scope):
    keep = ("type", "path", "root_path", "client", "scheme")
    return json.dumps({name: scope[name] for name in keep}).encode()


cancelled = threading.Event()


async def application(scope, receive, send):
    """Does what the path says."""
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/stays":
            await send({"type": "websocket.accept"})
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.set()
        if scope["path"] == "/never-accepts":
            await receive()
            return
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event.get("text")})
    elif scope["type"] == "http":
        if scope["path"] == "/slow":
            await receive()
            await receive()
            return
        if scope["path"] == "/chunks":
            sizes = []
            while (event := await receive())["more_body"]:
                sizes.append(len(event["body"]))
            body = json.dumps([*sizes, len(event["body"])]).encode()
        else:
            body = say(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
    else:
        raise ValueError(scope["type"])


class Running:
    """A server in a thread, made with Daphne's keyword arguments only."""

    def __init__(self, **kwargs):
        self.ready = threading.Event()
        kwargs = {"endpoints": ["tcp:port=0:interface=127.0.0.1"], "signal_handlers": False, **kwargs}
        self.server = peneus.Server(application=application, ready_callable=self.ready.set, **kwargs)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(PATIENCE)
        self.address = self.server.listening_addresses[0]
        self.port = self.address[1]
        return self

    def __exit__(self, *exception):
        self.server.stop()
        self.server.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_every_argument_of_daphnes_is_taken():
    """Read from Daphne's signature, in a process of its own: importing it installs an event loop."""
    script = (
        "import inspect, json, daphne.server\n"
        "parameters = inspect.signature(daphne.server.Server.__init__).parameters\n"
        "print(json.dumps({name: p.default for name, p in parameters.items() if p.default is not p.empty}))\n"
    )
    theirs = json.loads(subprocess.check_output([sys.executable, "-c", script]))
    assert len(theirs) >= 20
    theirs["endpoints"] = ["tcp:port=0:interface=127.0.0.1"]
    server = peneus.Server(application, **theirs)
    assert server.settings.native()["websocket_connect_timeout_ms"] == 5000


def test_endpoints_and_listening_addresses(tmp_path):
    path = str(tmp_path / "socket")
    with Running(endpoints=["tcp:port=0:interface=127.0.0.1", f"unix:{path}:mode=600", r"tcp:port=0:interface=\:\:1"]) as running:
        addresses = running.server.listening_addresses
        assert len(addresses) == 3
        for address in addresses:
            target = address if isinstance(address, str) else (address[0], address[1])
            assert b"200 OK" in get(target)
        assert {address[0] for address in addresses if not isinstance(address, str)} == {"127.0.0.1", "::1"}
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert not os.path.exists(path)


def test_a_wrong_endpoint_is_said_before_it_runs():
    with pytest.raises(SettingError):
        peneus.Server(application, endpoints=["nonsense"])


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = peneus.Server(application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], signal_handlers=False)
        with pytest.raises(ListenError, match=f"tcp:port={port}:interface=127.0.0.1.*in use"):
            server.run()


def test_action_logger():
    seen = []
    with Running(action_logger=lambda *arguments: seen.append(arguments)) as running:
        get(running.address, "/x?y")
        until(lambda: seen, "the request is logged")
        Client(running.port, "/ws").open().close()
        until(lambda: len(seen) == 4, "the WebSocket's three actions are logged")
    protocol, action, details = seen[0]
    assert (protocol, action, details["path"], details["method"], details["status"]) == ("http", "complete", "/x?y", "GET", 200)
    assert set(details) == {"path", "status", "method", "client", "time_taken", "size"}
    assert 0 <= details["time_taken"] < PATIENCE and details["client"].startswith("127.0.0.1:")
    assert [action for _, action, _ in seen[1:]] == ["connecting", "connected", "disconnected"]


def test_http_timeout():
    with Running(http_timeout=1) as running:
        assert get(running.address, "/slow").startswith(b"HTTP/1.1 503 ")


def test_request_buffer_size():
    with Running(request_buffer_size=1000) as running, connect(running.address) as client:
        client.sendall(b"POST /chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4500\r\n\r\n" + b"x" * 4500)
        response = b"".join(iter(lambda: client.recv(65536), b""))
    sizes = json.loads(response.split(b"\r\n\r\n")[1])
    assert sum(sizes) == 4500 and max(sizes) <= 1000


@pytest.mark.parametrize("name", ["websocket_connect_timeout", "websocket_handshake_timeout"])
def test_handshake_timeouts(name):
    with Running(**{name: 1}) as running:
        client = Client(running.port, "/never-accepts")
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_websocket_timeout():
    with Running(websocket_timeout=1) as running:
        client = Client(running.port).open()
        with pytest.raises(Gone):
            client.receive()
        assert client.code == 1000


def test_ping():
    with Running(ping_interval=1, ping_timeout=1) as running:
        client = Client(running.port).open()
        opcode, payload = client.frame()
        assert opcode == 9
        with pytest.raises((Gone, ConnectionError)):  # the ping is not answered
            while True:
                opcode, payload = client.frame()


@pytest.mark.parametrize("name", ["websocket_max_message_size", "websocket_max_frame_size"])
def test_sizes(name):
    with Running(**{name: 10}) as running:
        client = Client(running.port).open()
        client.send(b"x" * 10)
        assert client.receive() == b"x" * 10
        client.send(b"x" * 11)
        with pytest.raises(Gone):
            client.receive()
        assert client.code == 1009


def test_root_path_and_server_name():
    with Running(root_path="/mounted", server_name="mine") as running:
        response = get(running.address)
    assert b'"root_path": "/mounted"' in response
    assert b"\r\nserver: mine\r\n" in response.replace(b"Server:", b"server:")
    with Running(server_name="") as running:
        assert b"\r\nserver:" not in get(running.address).lower()


def test_proxy_headers():
    headers = ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-Port: 99", "X-Forwarded-Proto: https")
    with Running(
        proxy_forwarded_address_header="X-Forwarded-For",
        proxy_forwarded_port_header="X-Forwarded-Port",
        proxy_forwarded_proto_header="X-Forwarded-Proto",
    ) as running:
        response = get(running.address, "/", *headers)
    assert b'"client": ["10.1.2.3", 99], "scheme": "https"' in response
    with Running() as running:
        assert b"10.1.2.3" not in get(running.address, "/", *headers)


def test_application_close_timeout():
    with Running(application_close_timeout=1) as running:
        client = Client(running.port, "/stays").open()
        began = time.monotonic()
        client.reset()
        assert cancelled.wait(PATIENCE)
        assert time.monotonic() - began >= 0.9


def test_signal_handlers_are_its_own_business():
    """Without them, SIGTERM is what it was; with them, it stops the server."""
    script = (
        "import os, signal, peneus\n"
        "from tests.integration.programs import hello\n"
        "peneus.Server(hello, endpoints=['tcp:port=0:interface=127.0.0.1'], signal_handlers={},\n"
        "              ready_callable=lambda: os.kill(os.getpid(), signal.SIGTERM)).run()\n"
    )
    for handlers, code in ((True, 0), (False, -signal.SIGTERM)):
        ended = subprocess.run([sys.executable, "-c", script.format(handlers)], timeout=PATIENCE)
        assert ended.returncode == code


def test_run_takes_a_path_or_a_callable():
    script = "import os, signal, peneus\nfrom tests.integration.programs import hello\npeneus.run({}, port=0, ready=None)\n"
    ended = subprocess.run([sys.executable, "-c", script.format("hello")], capture_output=True, text=True, timeout=PATIENCE)
    assert "ready: there is no such setting" in ended.stderr
    for what in ("hello", "'tests.integration.programs:hello'"):
        script = f"import peneus\nfrom tests.integration.programs import hello\npeneus.run({what}, port=0)\n"
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        try:
            lines = []
            while not any("Listening on TCP address" in line for line in lines):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            assert b"200 OK" in get(("127.0.0.1", int(lines[-1].rsplit(":", 1)[1])))
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
