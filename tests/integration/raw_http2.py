"""As much of HTTP/2 as an attacker needs: frames by hand, and no flow control but what is asked for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE = 0, 1, 3, 4, 8
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
