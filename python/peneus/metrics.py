"""/metrics: what `peneus.stats()` counts, of all workers together, in Prometheus' text format."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from . import kinds, sockets, totals
from .control import Source
from .errors import ListenError

HEAD_LIMIT = 16 * 1024
HEAD_TIME = 10.0  # s for a request, and for taking its answer
CLIENTS = 64  # connections at once; for a further one the oldest is reset

HELP = {
    "connections": "Client connections that are open.",
    "applications": "Applications that run: requests and WebSockets.",
    "websockets": "WebSockets that are open.",
    "reads_paused": "Connections that are not read because their application is behind.",
    "bytes_unwritten": "Bytes that wait for clients to take them.",
    "head_bytes_waiting": "Bytes of request headers that wait for the event loop.",
    "connections_total": "Client connections taken.",
    "requests_total": "HTTP requests.",
    "websockets_total": "WebSockets opened.",
    "websocket_messages_in_total": "WebSocket messages from clients.",
    "websocket_messages_out_total": "WebSocket messages to clients.",
    "bytes_in_total": "Bytes from clients.",
    "bytes_out_total": "Bytes to clients.",
    "bad_requests_total": "Requests that were refused because they were malformed or too large.",
    "timeouts_total": "Connections, requests and WebSockets that took too long.",
    "accept_errors_total": "Connections that could not be taken.",
    "applications_killed_total": "Applications that outlived application_close_timeout.",
    "overflow_closes_total": "WebSockets closed by the overflow policy close.",
    "relayed_messages_total": "Channel-layer messages that went to sockets without Python, each counted once.",
    "relayed_deliveries_total": "The same, once for each socket.",
    "relays_refused_total": "Messages that were not relayed because broadcast_backlog was full.",
    "tls_handshakes_total": "TLS handshakes that went well.",
    "tls_errors_total": "TLS handshakes that were refused: of other protocols, versions or ciphers, or with a bad certificate.",
    "http2_connections": "Connections that speak HTTP/2.",
    "http2_refused_total": "HTTP/2 streams refused because there were http2_max_concurrent_streams.",
    "http2_floods_total": "HTTP/2 connections ended because the client sent too many frames that ask for work and bring nothing.",
    "applications_refused_total": "HTTP/2 streams refused because http2_max_applications ran for their connection.",
    "heads_refused_total": "HTTP/2 streams refused because of head_window or head_backlog.",
    "heads_held_total": "Requests over HTTP/1.1 that were read later because of head_backlog.",
    "handshakes": "Connections whose TLS handshake or PROXY header is to come.",
    "connections_refused_total": "Connections refused because there were limit_connections.",
    "addresses_refused_total": "Connections refused because their address had limit_connections_per_address.",
    "handshakes_dropped_total": "Connections reset before they were ready for requests, because limit_handshakes others came.",
    "handshake_timeouts_total": "TLS handshakes and PROXY headers that did not end in time.",
    "header_timeouts_total": "Requests whose headers did not end in time.",
    "body_timeouts_total": "Request bodies and WebSocket messages that came too slowly.",
    "send_timeouts_total": "Connections reset because the client did not take what was sent.",
    "idle_timeouts_total": "Connections closed because no request came.",
    "ping_timeouts_total": "WebSockets closed because their client did not answer a ping.",
    "files_cut_total": "Responses cut off because their file became shorter meanwhile, or could not be read.",
    "proxy_errors_total": "Connections closed because they did not begin with a PROXY header of a trusted peer.",
    "unsent_resets_total": "Connections, and streams of HTTP/2, that were reset because of unsent_window or unsent_backlog.",
    "forwarded_errors_total": "Values in headers of trusted proxies that were malformed, and ignored.",
    "descriptors_exhausted_total": "Times that connections had to wait because no file descriptor was left.",
    "channels": "Channels of the channel layer.",
    "groups": "Groups with members, counted in each worker that has members of them.",
    "group_members": "Memberships of channels in groups.",
    "channel_messages_queued": "Messages that wait in channels.",
    "channel_bytes_queued": "Bytes of messages that wait in channels.",
    "channel_receivers": "Calls of receive() that wait.",
    "orphaned_channels": "Channels owned by no living application: always 0.",
    "sends_refused_total": "Calls of send() that met a full channel.",
    "subscriptions_discarded_total": "Memberships that ended with their connection.",
    "late_group_adds_total": "Calls of group_add() after the end of the channel's connection.",
    "messages_dropped_total": "Channel messages that were dropped, by policy.",
    "bus_links": "Connections to a hub or to Redis that are wanted.",
    "bus_links_up": "Connections to a hub or to Redis that work.",
    "bus_bytes_pending": "Bytes of messages that wait for a hub or for Redis.",
    "bus_published_total": "Channel-layer messages given to a hub or to Redis.",
    "bus_received_total": "Channel-layer messages that a hub or Redis has brought.",
    "bus_unsent_total": "Channel-layer messages that could not be given to a hub or to Redis.",
    "bus_refused_total": "Channel-layer messages that a hub or Redis has refused.",
    "bus_unreadable_total": "Channel-layer messages that came over a bus and could not be read.",
    "bus_reconnects_total": "Connections to a hub or to Redis that were made again.",
    "bus_gaps_total": "Times after which messages may have been missed.",
    "hub_members": "Processes connected to the hub that is hosted here.",
    "hub_groups": "Groups that they have members of.",
    "hub_published_total": "Group messages that the hub was given.",
    "hub_forwarded_total": "The same, once for each process that got it.",
    "hub_dropped_total": "Messages dropped by the hub: a process was too slow, a channel full, or nobody there.",
    "hub_refused_total": "Processes that the hub refused: another user's, or such as did not keep to its rules.",
    "workers": "Worker processes that serve.",
    "workers_stuck": "Workers whose event loop stands still.",
    "worker_restarts_total": "Workers that were started because another had ended by itself.",
}
LABELS = {"messages_dropped_total": "policy"}


class Exposition:
    """stats as prometheus_client's encoders take them."""

    def __init__(self, stats: dict[str, Any]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        for name, value in self._stats.items():
            by_label = isinstance(value, dict)
            if not by_label and not isinstance(value, (int, float)):
                continue
            family = CounterMetricFamily if totals.is_counter(name) else GaugeMetricFamily
            labels = [LABELS.get(name, "kind")] if by_label else []
            metric = family(f"peneus_{name}", HELP.get(name, name.replace("_", " ")), labels=labels)
            for label, number in value.items() if by_label else [(None, value)]:
                metric.add_metric([] if label is None else [label], number)
            yield metric


def listen(address: str) -> list[socket.socket]:
    """Sockets that listen at address (HOST:PORT). ListenError."""
    try:
        listeners = sockets.bind_tcp(*kinds.split_address(address), 64)
    except OSError as error:
        raise ListenError(f"--metrics {address}: {error.strerror or error}") from error
    for listener in listeners:
        sockets.keep_from_children(listener)
    return listeners


class Endpoint:
    """Serves GET /metrics on listeners, on the running event loop, until close()."""

    def __init__(self, listeners: list[socket.socket], source: Source) -> None:
        self._listeners = listeners
        self._source = source
        self._servers: list[asyncio.AbstractServer] = []
        self._clients: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self._collecting: asyncio.Task[dict[str, Any]] | None = None

    async def start(self) -> None:
        for listener in self._listeners:
            self._servers.append(await asyncio.start_server(self._serve, sock=listener, limit=HEAD_LIMIT))

    def close(self) -> None:
        """On the loop of start(), or where that has not been called."""
        for server in self._servers:
            server.close()
        for listener in self._listeners:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= CLIENTS:
            # A scrape is over in milliseconds: the oldest one is idle.
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.transport.abort()
        self._clients[writer] = None
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIME)
            writer.write(await self._answer(head.decode("latin-1")))
            await asyncio.wait_for(writer.drain(), HEAD_TIME)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass  # a client that left, or that speaks no HTTP
        finally:
            self._clients.pop(writer, None)
            writer.close()

    async def _answer(self, head: str) -> bytes:
        request, *lines = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path != "/metrics":
            return _response("404 Not Found", "text/plain; charset=utf-8", b"/metrics is here\n", method)
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "text/plain; charset=utf-8", b"GET it\n", method, "Allow: GET, HEAD\r\n")
        fields = (line.partition(":") for line in lines)
        accept = next((value for name, _, value in fields if name.lower() == "accept"), "")
        encode, content_type = choose_encoder(accept)
        return _response("200 OK", content_type, encode(Exposition(await self._collect())), method)

    async def _collect(self) -> dict[str, Any]:
        """Scrapes that come together share one look."""
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.ensure_future(self._source.stats())
        return await asyncio.shield(self._collecting)


def _response(status: str, content_type: str, body: bytes, method: str, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    return head.encode("latin-1") + (b"" if method == "HEAD" else body)
