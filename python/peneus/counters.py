"""`peneus.stats()`: the gauges and counters of all servers and channel layers of this process."""

import heapq
from typing import Any

from .registry import Registry

SERVER_GAUGES = frozenset(
    {
        "connections",
        "exchanges",
        "applications",
        "websockets",
        "read_paused",
        "bytes_unwritten",
        "head_bytes_waiting",
        "handshakes",
    }
)
LAYER_GAUGES = frozenset(
    {
        "channels",
        "groups",
        "group_members",
        "messages_queued",
        "bytes_queued",
        "waiters",
        "orphaned_channels",
        "bus_links",
        "bus_links_up",
        "bus_bytes_pending",
    }
)

HUB_GAUGES = frozenset({"members", "groups"})

servers = Registry(SERVER_GAUGES)
layers = Registry(LAYER_GAUGES)
hubs = Registry(HUB_GAUGES)  # those that this process hosts

# Name here, name in the core. What is not here keeps its name, or says the same as another.
SERVER = {
    "connections": "connections",
    "applications": "applications",
    "websockets": "websockets",
    "reads_paused": "read_paused",
    "bytes_unwritten": "bytes_unwritten",
    "head_bytes_waiting": "head_bytes_waiting",
    "connections_total": "connections_total",
    "requests_total": "requests_total",
    "websockets_total": "websockets_total",
    "websocket_messages_in_total": "messages_in_total",
    "websocket_messages_out_total": "messages_out_total",
    "bytes_in_total": "bytes_in_total",
    "bytes_out_total": "bytes_out_total",
    "bad_requests_total": "bad_requests_total",
    "timeouts_total": "timeouts_total",
    "accept_errors_total": "accept_errors_total",
    "applications_killed_total": "applications_killed_total",
    "overflow_closes_total": "kicks_total",
    "relayed_messages_total": "broadcasts_total",
    "relayed_deliveries_total": "relayed_total",
    "relays_refused_total": "broadcasts_refused_total",
    "tls_handshakes_total": "tls_handshakes_total",
    "tls_errors_total": "tls_errors_total",
    "http2_connections": "http2_connections",
    "http2_refused_total": "http2_refused_total",
    "http2_floods_total": "http2_floods_total",
    "applications_refused_total": "applications_refused_total",
    "heads_refused_total": "heads_refused_total",
    "heads_held_total": "heads_held_total",
    "handshakes": "handshakes",
    "connections_refused_total": "connections_refused_total",
    "addresses_refused_total": "addresses_refused_total",
    "handshakes_dropped_total": "handshakes_dropped_total",
    "handshake_timeouts_total": "handshake_timeouts_total",
    "header_timeouts_total": "header_timeouts_total",
    "body_timeouts_total": "body_timeouts_total",
    "send_timeouts_total": "send_timeouts_total",
    "idle_timeouts_total": "idle_timeouts_total",
    "ping_timeouts_total": "ping_timeouts_total",
    "files_cut_total": "files_cut_total",
    "descriptors_exhausted_total": "descriptors_exhausted_total",
    "proxy_errors_total": "proxy_errors_total",
    "unsent_resets_total": "unsent_resets_total",
    "forwarded_errors_total": "forwarded_errors_total",
}
LAYER = {
    "channels": "channels",
    "groups": "groups",
    "group_members": "group_members",
    "channel_messages_queued": "messages_queued",
    "channel_bytes_queued": "bytes_queued",
    "channel_receivers": "waiters",
    "orphaned_channels": "orphaned_channels",
    "sends_refused_total": "refused_full",
    "subscriptions_discarded_total": "subscriptions_discarded",
    "late_group_adds_total": "late_group_adds",
    "bus_links": "bus_links",
    "bus_links_up": "bus_links_up",
    "bus_bytes_pending": "bus_bytes_pending",
    "bus_published_total": "bus_published",
    "bus_received_total": "bus_received",
    "bus_unsent_total": "bus_unsent",
    "bus_refused_total": "bus_refused",
    "bus_unreadable_total": "bus_unreadable",
    "bus_reconnects_total": "bus_reconnects",
    "bus_gaps_total": "bus_gaps",
}
HUB = {
    "hub_members": "members",
    "hub_groups": "groups",
    "hub_published_total": "published",
    "hub_forwarded_total": "forwarded",
    "hub_dropped_total": "dropped",
    "hub_refused_total": "refused",
}
DROPPED = {
    "drop-oldest": "dropped_oldest",
    "drop-newest": "dropped_newest",
    "latest": "dropped_latest",
    "close": "dropped_close",
    "expired": "dropped_expired",
    "unknown": "dropped_unknown",
}


def stats(rows: int = 0) -> dict[str, Any]:
    """Gauges and counters (`…_total`) of this process; `messages_dropped_total` is a dict by policy. Any thread.

    With rows also `by_group` and `by_channel` (see details()), with at most as many entries.
    """
    sweep()
    server, layer = servers.total(), layers.total()
    result: dict[str, Any] = {name: server[theirs] for name, theirs in SERVER.items()}
    result |= {name: layer[theirs] for name, theirs in LAYER.items()}
    result |= hub_stats()
    result["messages_dropped_total"] = {policy: layer[theirs] for policy, theirs in DROPPED.items()}
    if rows > 0:
        found = details(rows)
        result |= {"by_group": found["groups"], "by_channel": found["channels"]}
    return result


def hub_stats() -> dict[str, int]:
    """What stats() says of the hubs that this process hosts."""
    hub = hubs.total()
    return {name: hub[theirs] for name, theirs in HUB.items()}


def details(rows: int) -> dict[str, Any]:
    """The groups and channels of this process: at most rows of each, those with the most queued bytes first.

    `groups` by name: `members`, `messages`, `dropped`, `queued`, `queued_bytes`. `channels` by name: `consumer` (its class),
    `made_at` (file:line), `owner` (its connection: protocol, path and client), `groups`, `queued`, `queued_bytes`, `dropped`.
    `groups_total` and `channels_total` say how many there are.
    """
    groups: dict[str, dict[str, Any]] = {}
    channels: dict[str, dict[str, Any]] = {}
    for layer in layers.owners():
        for name, group in layer.group_details().items():  # type: ignore[attr-defined]
            sums = groups.setdefault(name, {})
            for key, value in group.items():
                sums[key] = sums.get(key, 0) + value
        channels |= layer.channels  # type: ignore[attr-defined]
    return {
        "groups_total": len(groups),
        "channels_total": len(channels),
        "groups": _first(groups, rows, "members"),
        "channels": _with_owners(_first(channels, rows, "dropped")),
    }


def _first(found: dict[str, dict[str, Any]], rows: int, second: str) -> dict[str, dict[str, Any]]:
    def size(name: str) -> tuple[int, int]:
        return found[name].get("queued_bytes") or 0, found[name].get(second) or 0

    return {name: found[name] for name in heapq.nlargest(rows, found, key=size)}


def _with_owners(channels: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """channels, whose owners are ids, with what people call these."""
    connections = {each.owner: each for core in servers.sources() for each in core.connections()}  # type: ignore[attr-defined]
    for channel in channels.values():
        connection = connections.get(channel["owner"])
        if connection is not None:
            client = connection.scope.get("client")
            peer = f" {client[0]}:{client[1]}" if client else ""
            channel["owner"] = f"{connection.protocol} {connection.scope.get('path')}{peer}"
    return channels


def sweep() -> None:
    """Drops what has expired in the channel layers of this process."""
    for layer in layers.sources():
        layer.sweep()  # type: ignore[attr-defined]
