"""The access log, in Daphne's lines:

127.0.0.1:51234 - - [01/Feb/2026:10:20:30] "GET /path" 200 1234
127.0.0.1:51234 - - [01/Feb/2026:10:20:30] "WSCONNECT /path" - -
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from .errors import SettingError
from .logs import timestamp
from .printable import printable

_WORDS = {
    ("websocket", "connecting"): "WSCONNECTING",
    ("websocket", "rejected"): "WSREJECT",
    ("websocket", "connected"): "WSCONNECT",
    ("websocket", "disconnected"): "WSDISCONNECT",
}


class AccessLog:
    """An action logger, as `daphne.server.Server` takes one: writes a line to stream for each action."""

    def __init__(self, stream: TextIO, log_format: str = "text") -> None:
        self._stream = stream
        self._write = self._json if log_format == "json" else self._text
        self._second = 0
        self._date = ""

    def __call__(self, protocol: str, action: str, details: Mapping[str, Any]) -> None:
        if protocol == "http" and action == "complete":
            self._write(details["method"], details)
        elif word := _WORDS.get((protocol, action)):
            self._write(word, details)

    def _text(self, word: str, details: Mapping[str, Any]) -> None:
        status, size = details.get("status") or "-", details.get("size") or "-"
        client, request = _field(details["client"]), _quoted(f"{word} {details['path']}")
        self._stream.write(f'{client} - - [{self._now()}] "{request}" {status} {size}\n')

    def _json(self, word: str, details: Mapping[str, Any]) -> None:
        entry: dict[str, Any] = {"time": timestamp(time.time()), "method": word}
        for name in ("path", "client", "status", "size", "time_taken"):
            if name in details:
                entry[name] = details[name]
        self._stream.write(json.dumps(entry) + "\n")

    def _now(self) -> str:
        """The local time; formatted once a second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = time.strftime("%d/%b/%Y:%H:%M:%S", time.localtime(second))
        return self._date


def _quoted(text: str) -> str:
    """text as it stands between quotation marks."""
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return printable(text)


def _field(value: object) -> str:
    """value as it stands between spaces: what a proxy calls its client may be anything."""
    return _quoted(str(value)).replace(" ", "\\x20")


def open_stream(access_log: str | None, verbosity: int) -> TextIO | None:
    """Where the access log goes: the file, appended; standard output for "-" and from verbosity 1 on; else nowhere."""
    if access_log and access_log != "-":
        try:
            return open(access_log, "a", 1, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise SettingError("--access-log", f"{access_log!r} cannot be written: {error.strerror}") from None
    if access_log or verbosity >= 1:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        return sys.stdout
    return None
