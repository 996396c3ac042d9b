"""The access log, in Daphne's lines:

127.0.0.1:51234 - - [01/Feb/2026:10:20:30] "GET /path" 200 1234
127.0.0.1:51234 - - [01/Feb/2026:10:20:30] "WSCONNECT /path" - -
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from .errors import SettingError
from .logs import timestamp
from .printable import printable
from .seldom import Seldom

logger = logging.getLogger(__name__)

QUIET = 60.0  # s between two lines of the log about an access log that cannot be written

_WORDS = {
    ("websocket", "connecting"): "WSCONNECTING",
    ("websocket", "rejected"): "WSREJECT",
    ("websocket", "connected"): "WSCONNECT",
    ("websocket", "disconnected"): "WSDISCONNECT",
}


class AccessLog:
    """An action logger, as `daphne.server.Server` takes one: writes a line to stream for each action. path: the file that stream
    is, and reopen() opens again; "": it is none."""

    def __init__(self, stream: TextIO, log_format: str = "text", path: str = "") -> None:
        self._stream = stream
        self._path = path
        self._line = self._json if log_format == "json" else self._text
        self._lost = Seldom(logger, QUIET)
        self._second = 0
        self._date = ""

    def __call__(self, protocol: str, action: str, details: Mapping[str, Any]) -> None:
        word = details["method"] if protocol == "http" and action == "complete" else _WORDS.get((protocol, action))
        if word is None:
            return
        line = self._line(word, details)
        try:
            self._stream.write(line)
        except (OSError, ValueError) as error:  # a full disk, a pipe that nobody reads, a stream that somebody has closed
            reason = error.strerror if isinstance(error, OSError) else str(error)
            name = self._path or "on standard output"
            self._lost.warning("The access log %s cannot be written: %s; its lines are lost until it can", name, reason)

    def reopen(self) -> None:
        """Goes on in a new file at the same path, after somebody has renamed the old one."""
        if not self._path:
            return
        try:
            stream = _opened(self._path)
        except OSError as error:
            logger.error("The access log %s cannot be opened again: %s; it goes on in the old file", self._path, error.strerror)
            return
        old, self._stream = self._stream, stream
        with suppress(OSError):
            old.close()
        logger.info("The access log %s has been opened again", self._path)

    def _text(self, word: str, details: Mapping[str, Any]) -> str:
        status, size = details.get("status") or "-", details.get("size") or "-"
        client, request = _field(details["client"]), _quoted(f"{word} {details['path']}")
        return f'{client} - - [{self._now()}] "{request}" {status} {size}\n'

    def _json(self, word: str, details: Mapping[str, Any]) -> str:
        entry: dict[str, Any] = {"time": timestamp(time.time()), "method": word}
        for name in ("path", "client", "status", "size", "time_taken"):
            if name in details:
                entry[name] = details[name]
        return json.dumps(entry) + "\n"

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


def _opened(path: str) -> TextIO:
    return open(path, "a", 1, encoding="utf-8", errors="backslashreplace")


def make(access_log: str | None, verbosity: int, log_format: str) -> AccessLog | None:
    """The access log in a file, appended; on standard output for "-" and from verbosity 1 on; else there is none."""
    if access_log and access_log != "-":
        path = os.path.abspath(access_log)
        try:
            return AccessLog(_opened(path), log_format, path)
        except OSError as error:
            raise SettingError("--access-log", f"{access_log!r} cannot be written: {error.strerror}") from None
    if access_log or verbosity >= 1:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        return AccessLog(sys.stdout, log_format)
    return None
