"""Tells the log when a limit has been reached: native threads cannot."""

import logging
import resource
import time

from . import counters

logger = logging.getLogger(__name__)

QUIET = 60.0  # s between two lines about the same limit


def _descriptors() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"No file descriptor was left ({soft} are allowed): new connections wait; raise LimitNOFILE (ulimit -n), or lower "
        "--limit-connections"
    )


SENTENCES = {
    "connections_refused_total": "There are --limit-connections connections: further ones are refused",
    "addresses_refused_total": "Some address has --limit-connections-per-address connections: further ones of it are refused",
    "handshakes_dropped_total": "There are --limit-handshakes handshakes: the oldest are reset",
    "descriptors_exhausted_total": _descriptors,
    "applications_refused_total": "A connection has --http2-max-applications applications: its further requests are refused",
    "heads_refused_total": "Requests of --head-window or --head-backlog bytes wait for the event loop: further ones are refused",
    "http2_floods_total": "HTTP/2 connections are closed that exceed --http2-control-rate",
    "unsent_resets_total": "Over --unsent-window or --unsent-backlog bytes wait for clients: those that take nothing are reset",
    "proxy_errors_total": "Connections are closed that do not begin with a PROXY header of one of --trusted-proxies",
}


class LimitLog:
    """look(), about once a second: what has been reached since the last line about it is logged, once in QUIET seconds."""

    def __init__(self) -> None:
        self._counted = self._read()
        self._spoke: dict[str, float] = {}

    def _read(self) -> dict[str, int]:
        total = counters.servers.total()
        return {name: total[name] for name in SENTENCES}

    def look(self) -> None:
        now = time.monotonic()
        for name, counted in self._read().items():
            times = counted - self._counted[name]
            if times <= 0 or now - self._spoke.get(name, now - QUIET) < QUIET:
                continue
            sentence = SENTENCES[name]
            logger.warning("%s (%s: %d)", sentence() if callable(sentence) else sentence, name, times)
            self._counted[name] = counted
            self._spoke[name] = now
