"""What the tests of `peneus._core` share: a server on a loop of its own thread, and clients of raw sockets."""

import asyncio
import base64
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from peneus import _core

SETTINGS: dict[str, Any] = {
    "server_name": "peneus",
    "max_target_size": 65536,
    "max_header_size": 65536,
    "max_header_count": 128,
    "max_body_size": 0,
    "tls_handshake_timeout_ms": 30_000,
    "body_timeout_ms": 30_000,
    "send_timeout_ms": 60_000,
    "min_rate": 240,
    "header_timeout_ms": 30_000,
    "keep_alive_timeout_ms": 30_000,
    "http_timeout_ms": 0,
    "websocket_connect_timeout_ms": 30_000,
    "websocket_timeout_ms": 0,
    "ping_interval_ms": 0,
    "ping_timeout_ms": 0,
    "close_timeout_ms": 2_000,
    "websocket_max_message_size": 1 << 20,
    "websocket_max_frame_size": 1 << 20,
    "application_close_timeout_ms": 30_000,
    "receive_window": 65536,
    "head_window": 1 << 20,
    "head_backlog": 64 << 20,
    "websocket_write_limit": 262144,
    "websocket_deflate": 1,
    "websocket_deflate_takeover": 0,
    "websocket_deflate_window_bits": 12,
    "websocket_deflate_memory_level": 5,
    "websocket_deflate_threshold": 256,
    "broadcast_backlog": 16777216,
    "send_window": 65536,
    "unsent_window": 32 << 20,
    "unsent_backlog": 256 << 20,
    "body_chunk": 16384,
    "max_connections": 0,
    "limit_connections": 0,
    "limit_connections_per_address": 0,
    "limit_handshakes": 0,
    "trusted_proxies": None,
    "proxy_protocol": 0,
    "forwarded_standard": None,
    "forwarded_address": None,
    "forwarded_port": None,
    "forwarded_proto": None,
    "forwarded_host": None,
    "http2": 1,
    "http2_max_concurrent_streams": 100,
    "http2_max_applications": 200,
    "http2_control_rate": 100,
    "backlog": 128,
}

# seconds: long enough for a loaded machine, only waited for where something is broken
PATIENCE = 90.0 if "PENEUS_SANITIZED" in os.environ else 30.0


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def eventually(condition: Callable[[], Any], what: str = "condition") -> Any:
    """What condition returns once it is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true in {PATIENCE} s")


class CoreServer:
    """`_core.Server` on 127.0.0.1, its loop in a thread; what its callbacks are told is kept."""

    def __init__(self, application: Any, loop: str = "asyncio", settings: dict[str, Any] | None = None, **arguments: Any) -> None:
        self.application = application
        self.loop = new_loop(loop)
        self.settings = {**SETTINGS, **(settings or {})}
        self.arguments = {"offers_files": True, **arguments}
        self.access: list[tuple[str, dict[str, Any]]] = []
        self.errors: list[BaseException] = []
        self.faults: list[str] = []
        self.kills: list[Any] = []
        self.drained = threading.Event()
        self.stopped = threading.Event()
        self.loop_errors: list[dict[str, Any]] = []

    def on_kill(self, connection: Any) -> None:
        self.kills.append((connection.protocol, connection.task.done(), connection.report()))

    def __enter__(self) -> "CoreServer":
        self.core = _core.Server(
            self.application,
            settings=self.settings,
            on_access=lambda connection, action, details: self.access.append((action, details)),
            on_error=lambda connection, error: self.errors.append(error),
            on_fault=lambda connection, sentence: self.faults.append(sentence),
            on_kill=self.on_kill,
            on_drained=self.drained.set,
            on_stopped=self.stopped.set,
            **self.arguments,
        )
        self.listen()
        self.port = self.core.addresses[0][1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        started = threading.Event()
        self.loop.call_soon(started.set)
        self.thread.start()
        assert started.wait(PATIENCE)
        return self

    def listen(self) -> None:
        self.core.listen_tcp("127.0.0.1", 0)

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda loop, context: self.loop_errors.append(context))
        self.core.start(self.loop)
        self.loop.run_forever()

    def __exit__(self, *error: object) -> None:
        self.core.stop()
        assert self.stopped.wait(PATIENCE), "the server does not stop"
        self.call(self.core.close)
        self.call(self.cancel_all)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()
        if error[0] is None:
            assert not self.loop_errors, self.loop_errors

    async def _apply(self, function: Callable[[], Any]) -> Any:
        result = function()
        return await result if asyncio.iscoroutine(result) else result

    async def cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of function (a coroutine function is awaited) on the loop's thread."""
        return asyncio.run_coroutine_threadsafe(self._apply(function), self.loop).result(PATIENCE)

    def stats(self) -> dict[str, int]:
        return self.core.stats()

    def idle(self) -> None:
        """Waits until no application runs."""
        eventually(lambda: self.stats()["applications"] == 0, "no running application")

    def connect(self) -> "Client":
        return Client(self.port)

    def get(self, path: str = "/", headers: str = "") -> "Response":
        with self.connect() as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())
            return client.response()

    def websocket(self, path: str = "/", headers: str = "") -> "WebSocket":
        return WebSocket(self.port, path, headers)


class Response:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Client:
    """One TCP connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection((host, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket)
        self.buffer = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Leaves with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def fill(self) -> bool:
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert self.fill(), f"the connection ended after {self.buffer!r}"
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self.fill(), f"the connection ended after {self.buffer!r}"
        return self.exactly(self.buffer.index(mark) + len(mark))

    def rest(self) -> bytes:
        parts = [self.buffer]
        while data := self.socket.recv(1 << 20):
            parts.append(data)
        self.buffer = b""
        return b"".join(parts)

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        return int(lines[0].split(" ")[1]), headers

    def response(self) -> Response:
        status, headers = self.head()
        fields = dict(headers)
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.until(b"\r\n"), 16):
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
        elif "content-length" in fields:
            body = self.exactly(int(fields["content-length"]))
        else:
            body = self.rest()
        return Response(status, headers, body)


class WebSocket(Client):
    """A WebSocket client whose mask is zero. `status` is that of the handshake."""

    def __init__(
        self, port: int, path: str = "/", headers: str = "", host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(port, host, context)
        key = base64.b64encode(b"0123456789abcdef").decode()
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
        )

    def open(self) -> "WebSocket":
        self.status, self.headers = self.head()
        assert self.status == 101, self.status
        return self

    def frame(self, opcode: int, payload: bytes = b"") -> None:
        length = len(payload)
        if length < 126:
            head = bytes([0x80 | opcode, 0x80 | length])
        else:
            head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack("!H", length)
        self.send(head + b"\0\0\0\0" + payload)

    def text(self, text: str) -> None:
        self.frame(1, text.encode())

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.frame(8, struct.pack("!H", code) + reason.encode())

    def receive(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame."""
        first, second = self.exactly(2)
        length = second & 127
        if length == 126:
            length = struct.unpack("!H", self.exactly(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self.exactly(8))[0]
        return first & 15, self.exactly(length)

    def closed(self) -> tuple[int, str]:
        """The close frame: (code, reason)."""
        opcode, payload = self.receive()
        assert opcode == 8, (opcode, payload)
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()
