"""Sends a case, a second request behind it, and says what came of both; and the innocent clients meanwhile."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection

from tests.conformance.smuggling.corpus import Case
from tests.support.websocket_client import connect

SECOND = b"GET /second HTTP/1.1\r\nHost: example\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class Outcome:
    statuses: str  # without the second request's
    end: str  # "kept": the second request was answered; "closed"; "waits": neither
    app: str

    def __str__(self) -> str:
        app = "" if self.app == "nothing" else f": {self.app}"
        return f"{self.statuses or 'no answer'}, {self.end}{app}"

    @property
    def accepted(self) -> bool:
        """The application has had a whole request, and what followed it was no worse for it."""
        return self.statuses.split(",")[-1][:1] == "2" and self.app != "nothing" and not self.app.endswith(" cut")


@dataclass(frozen=True)
class Target:
    port: int
    context: ssl.SSLContext | None = None
    patience: float = 5

    def open(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=self.patience)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain

    def get(self, path: str) -> bytes:
        connection = self.http()
        try:
            connection.request("GET", path, headers={"Host": "example"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def http(self) -> HTTPConnection:
        if self.context:
            return HTTPSConnection("localhost", self.port, timeout=20, context=self.context)
        return HTTPConnection("127.0.0.1", self.port, timeout=20)


def _send(peer: socket.socket, data: bytes, step: int) -> None:
    try:
        for i in range(0, len(data), step or len(data)):
            peer.sendall(data[i : i + (step or len(data))])
    except OSError:
        return  # it has closed: what it said is read all the same


def _receive(peer: socket.socket, patience: float) -> tuple[bytes, str]:
    received = b""
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        peer.settimeout(left)
        try:
            data = peer.recv(65536)
        except TimeoutError:
            break
        except OSError:
            return received, "closed"
        if not data:
            return received, "closed"
        received += data
        if received.endswith(b"second"):
            return received, "kept"
    return received, "waits"


def exchange(target: Target, data: bytes, step: int = 0) -> Outcome:
    """`step`: how many bytes go at once; 0 is all."""
    with target.open() as peer:
        _send(peer, data + SECOND, step)
        received, end = _receive(peer, target.patience)
    statuses = [status.decode() for status in STATUS.findall(received)]
    if end == "kept":
        statuses.pop()
    told = [one.replace("\0", "") for one in json.loads(target.get("/control/seen"))]
    return Outcome(",".join(statuses), end, " | ".join(told) or "nothing")


def problem(case: Case, outcome: Outcome) -> str:
    """Why the outcome is not what the case wants; empty where it is."""
    app = outcome.app.endswith(" cut") and "|" not in outcome.app if case.app == "cut" else outcome.app == case.app
    if outcome.statuses in case.statuses and outcome.end == ("kept" if case.kept else "closed") and app:
        return ""
    wanted = f"{'|'.join(case.statuses)}, {'kept' if case.kept else 'closed'}: {case.app}"
    return f"{case.name}: {outcome} instead of {wanted}"


class Innocents:
    """A kept HTTP connection and a WebSocket, both in use."""

    def __init__(self, target: Target) -> None:
        self.http = target.http()
        scheme, host = ("wss", "localhost") if target.context else ("ws", "127.0.0.1")
        self.open = ExitStack()
        self.open.callback(self.http.close)
        self.websocket = self.open.enter_context(
            connect(f"{scheme}://{host}:{target.port}/innocent", ssl=target.context, open_timeout=20)
        )
        self.http.connect()
        self.address = self.http.sock.getsockname()
        self.count = 0

    def disturbed(self) -> int:
        """How many of the two no longer work as they did."""
        self.count += 1
        return (not self._http_works()) + (not self._websocket_works())

    def _http_works(self) -> bool:
        try:
            self.http.request("GET", "/innocent")
            answer = self.http.getresponse().read()
            return answer == b"innocent" and self.http.sock is not None and self.http.sock.getsockname() == self.address
        except OSError:
            return False

    def _websocket_works(self) -> bool:
        try:
            self.websocket.send(f"still here {self.count}")
            return self.websocket.recv(timeout=20) == f"still here {self.count}"
        except Exception:
            return False

    def close(self) -> None:
        self.open.close()
