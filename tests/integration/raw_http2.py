"""As much of HTTP/2 as an attacker needs: frames by hand, and no flow control but what is asked for."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import hpack

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL = 0, 1, 2, 3, 5, 7, 8
ENHANCE_YOUR_CALM = 11
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"")


def request(stream: int, path: str, *headers: tuple[str, str], method: str = "GET", ends: bool = True) -> bytes:
    """Its fields are literal, and not indexed."""
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "own.test"), *headers]
    block = b"".join(b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields)
    return frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), stream, block)


def frames(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame, until the connection ends."""
    data = b""
    while part := connection.recv(65536):
        data += part
        while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
            yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]
            data = data[9 + length :]


def body(connection: socket.socket, stream: int) -> bytes:
    """The body of the response on stream."""
    found = b""
    for kind, flags, where, payload in frames(connection):
        if where == stream and kind == DATA:
            found += payload
        assert (kind, where) != (RST_STREAM, stream), payload
        if where == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
            return found
    raise AssertionError(f"the connection ended after {found!r}")


class Attacker:
    """A connection that sends frames as they are and never blocks on what comes back: a thread of its own notes that."""

    def __init__(self, port: int) -> None:
        self.resets: dict[int, int] = {}  # stream: error code
        self.statuses: dict[int, int] = {}  # stream: of its response
        self.ended: set[int] = set()  # streams whose response is complete
        self.goaway: int | None = None  # error code of the last one
        self.acknowledged = 0  # PINGs
        self.closed = False
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        self.send(PREFACE + frame(SETTINGS, 1, 0, b""))

    def __enter__(self) -> Attacker:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # so that the thread returns from recv()
        self.thread.join(30)
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """False: the connection has ended."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def alive(self) -> bool:
        """Whether the server answers a PING, which it does once all before it has been read."""
        before = self.acknowledged
        self.send(frame(PING, 0, 0, b"are you?"))
        self.wait(lambda: self.acknowledged > before or self.closed)
        return self.acknowledged > before

    def wait(self, true: Callable[[], object]) -> None:
        give_up = time.monotonic() + 30
        while not true():
            assert time.monotonic() < give_up, "nothing comes"
            time.sleep(0.005)

    def wait_for_goaway(self) -> int:
        """The error code with which the server has ended the connection."""
        self.wait(lambda: self.closed)
        assert self.goaway is not None, "it ended without GOAWAY"
        return self.goaway

    def _listen(self) -> None:
        decoder = hpack.Decoder()
        try:
            for kind, flags, stream, payload in frames(self.socket):
                if kind == RST_STREAM:
                    self.resets[stream] = int.from_bytes(payload, "big")
                elif kind == GOAWAY:
                    self.goaway = int.from_bytes(payload[4:8], "big")
                elif kind == PING and flags & 1:
                    self.acknowledged += 1
                elif kind == HEADERS:
                    fields = dict(decoder.decode(payload))
                    self.statuses.setdefault(stream, int(fields.get(":status", 0)))
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    self.ended.add(stream)
        except OSError:
            pass
        self.closed = True
