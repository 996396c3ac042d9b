"""A WebSocket client on a raw socket, which can also be as rude as clients are: leave without a word, or never answer."""

import base64
import json
import os
import socket
import struct
import time

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Gone(Exception):
    """The server has ended the connection."""


class Client:
    """One connection; code is that of the server's close frame, once it has come."""

    def __init__(self, port: int, path: str = "/", timeout: float = 30, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.code: int | None = None
        self.request(port, path)

    def request(self, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def open(self) -> "Client":
        """Waits until the server has accepted."""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0] + b" ":
            raise Gone(head.decode("latin-1"))
        return self

    def fill(self) -> None:
        received = self.socket.recv(1 << 16)
        if not received:
            raise Gone("end of file")
        self.buffer += received

    def take(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self.fill()
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def frame(self) -> tuple[int, bytes]:
        first, second = self.take(2)
        length = second & 127
        if length == 126:
            (length,) = struct.unpack(">H", self.take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self.take(8))
        return first & 15, self.take(length)

    def receive(self) -> bytes:
        """The next message; pings are answered on the way. Raises Gone."""
        while (message := self.step()) is None:
            pass
        return message

    def step(self) -> bytes | None:
        """One frame: the message, or None for a frame of another kind. Raises Gone."""
        opcode, payload = self.frame()
        if opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self.code = struct.unpack(">H", payload[:2])[0] if payload else 1005
            raise Gone(f"closed with {self.code}")
        return payload if opcode in (TEXT, BINARY) else None

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        mask = os.urandom(4)
        length = len(payload)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | length]) if length < 126 else b"\xfe" + struct.pack(">H", length))
        self.socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def send_json(self, content: object) -> None:
        self.send(json.dumps(content).encode())

    def ask(self, content: dict) -> None:
        """Sends content and waits until it comes back."""
        self.send_json(content)
        while json.loads(self.receive()) != content:
            pass

    def wait_closed(self, timeout: float = 30) -> None:
        """Reads until the server has ended the connection; pings do not prolong the wait."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                self.step()
        except (Gone, ConnectionError):
            self.socket.close()

    def close(self, code: int = 1000) -> None:
        """Leaves by the closing handshake."""
        self.send(struct.pack(">H", code), CLOSE)
        self.wait_closed()

    def drop(self) -> None:
        """Leaves without a close frame (FIN)."""
        self.socket.close()

    def reset(self) -> None:
        """Leaves with a reset (RST), as a client does whose process or line has died."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def subscribed(port: int, *groups: str, path: str = "/") -> Client:
    """A client that has been told that it is in groups."""
    client = Client(port, path).open()
    client.ask({"subscribe": list(groups)})
    return client
