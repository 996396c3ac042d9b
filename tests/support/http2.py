"""An HTTP/2 client for tests (the h2 package): blocking, on one thread, and it can be told not to open its windows."""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

PATIENCE = 30.0
GOAWAY = 7


@dataclass
class Stream:
    """What has come for one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    hints: list[dict[str, str]] = field(default_factory=list)
    body: bytes = b""
    trailers: dict[str, str] | None = None
    ended: bool = False
    reset: int | None = None  # the error code

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Http2:
    """A connection to port, with the preface sent. window: the client's for each stream; automatic: it opens again by itself;
    settings: more of the first SETTINGS; receive_buffer: SO_RCVBUF of the socket, in bytes; a small one makes a slow reader;
    first: bytes that are sent before TLS and the preface, such as a PROXY header."""

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        window: int | None = None,
        automatic: bool = True,
        settings: dict[int, int] | None = None,
        host: str = "127.0.0.1",
        receive_buffer: int | None = None,
        first: bytes = b"",
    ) -> None:
        self.socket: socket.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer is not None:  # before connecting: it determines the window that TCP announces
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # Without it the kernel keeps a small frame until the frame before it is acknowledged: 40 ms.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect((host, port))
        self.socket.sendall(first)
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
            secure = tls.wrap_socket(self.socket, server_hostname="localhost")
            assert secure.selected_alpn_protocol() == "h2"
            self.socket = secure
        self.scheme = "http" if tls is None else "https"
        self.automatic = automatic
        # What a test sends against the rules is not to be refused here.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
            )
        )
        if window is not None or settings:
            values: Any = dict(settings or {})
            if window is not None:
                values[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.h2.initiate_connection()
        self.streams: defaultdict[int, Stream] = defaultdict(Stream)
        self.goaways: list[tuple[int, int]] = []  # error code, last stream
        self.settings: dict[int, int] = {}
        self.pings = 0
        self.closed = False
        self.buffer = b""
        self.flush()

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    def raw(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """A frame as it is, past all rules."""
        self.flush()
        self.socket.sendall(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)

    def request(
        self,
        path: str = "/",
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        *,
        end: bool = True,
        authority: str = "test",
    ) -> int:
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", path)]
        self.h2.send_headers(stream, pseudo + (headers or []), end_stream=end)
        self.flush()
        return stream

    def websocket(self, path: str = "/", headers: list[tuple[str, str]] | None = None) -> int:
        """An extended CONNECT (RFC 8441)."""
        own = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", "CONNECT"), (":scheme", self.scheme), (":authority", "test"), (":path", path)]
        self.h2.send_headers(stream, pseudo[:1] + own[:1] + pseudo[1:] + own[1:] + (headers or []))
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """All of data, as the server's windows let it."""
        while data or end:
            if data:
                self.until(lambda: self.h2.local_flow_control_window(stream) > 0)
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            self.h2.send_data(stream, data[:room], end_stream=end and room == len(data))
            data = data[room:]
            self.flush()
            if not data:
                return

    def message(self, stream: int, text: str, opcode: int = 1) -> None:
        """A masked WebSocket frame."""
        payload = text.encode()
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self.send(stream, bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    def take_message(self, stream: int) -> tuple[int, bytes]:
        """The next WebSocket frame: its first byte, and its payload."""

        def size() -> tuple[int, int] | None:
            body = self.streams[stream].body
            if len(body) < 2 or (body[1] == 126 and len(body) < 4) or (body[1] == 127 and len(body) < 10):
                return None
            header = {126: 4, 127: 10}.get(body[1], 2)
            length = int.from_bytes(body[2:header], "big") if header > 2 else body[1]
            return (header, length) if len(body) >= header + length else None

        self.until(lambda: size() is not None or self.streams[stream].over)
        found = size()
        assert found is not None, self.streams[stream]
        header, length = found
        body = self.streams[stream].body
        self.streams[stream].body = body[header + length :]
        return body[0], body[header : header + length]

    def response(self, stream: int) -> Stream:
        """When all of it has come."""
        self.until(lambda: self.streams[stream].over)
        return self.streams[stream]

    def get(self, path: str = "/", **arguments: Any) -> Stream:
        return self.response(self.request(path, **arguments))

    def until(self, true: Callable[[], Any]) -> None:
        while not true():
            assert not self.closed, f"the connection has ended: {self.goaways}"
            self.read()

    def until_closed(self) -> None:
        while not self.closed:
            self.read()

    def read(self, timeout: float = PATIENCE) -> bool:
        """What comes next; False: nothing, in timeout seconds."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            assert timeout != PATIENCE, "nothing comes"
            return False
        except ConnectionError:
            data = b""
        self.socket.settimeout(PATIENCE)
        if not data:
            self.closed = True
            return True
        self.buffer += data
        while len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], "big"):
            size = 9 + int.from_bytes(self.buffer[:3], "big")
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            if frame[3] == GOAWAY:  # h2 takes nothing behind one
                self.goaways.append((int.from_bytes(frame[13:17], "big"), int.from_bytes(frame[9:13], "big")))
                continue
            for event in self.h2.receive_data(frame):
                self.note(event)
        self.flush()
        return True

    def note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.streams[event.stream_id].hints.append(dict(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            self.streams[event.stream_id].headers = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if self.automatic and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = int(event.error_code)
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings |= {int(key): change.new_value for key, change in event.changed_settings.items()}
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1
