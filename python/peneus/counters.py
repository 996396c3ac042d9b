"""`peneus.stats()`: the gauges and counters of all servers and channel layers of this process."""

from typing import Any

from .registry import Registry

SERVER_GAUGES = frozenset({"connections", "exchanges", "applications", "websockets", "read_paused", "bytes_unwritten"})
LAYER_GAUGES = frozenset(
    {"channels", "groups", "group_members", "messages_queued", "bytes_queued", "waiters", "orphaned_channels"}
)

servers = Registry(SERVER_GAUGES)
layers = Registry(LAYER_GAUGES)

# Name here, name in the core. What is not here keeps its name, or says the same as another.
SERVER = {
    "connections": "connections",
    "applications": "applications",
    "websockets": "websockets",
    "reads_paused": "read_paused",
    "bytes_unwritten": "bytes_unwritten",
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
}
DROPPED = {
    "drop-oldest": "dropped_oldest",
    "drop-newest": "dropped_newest",
    "latest": "dropped_latest",
    "close": "dropped_close",
    "expired": "dropped_expired",
    "unknown": "dropped_unknown",
}


def stats() -> dict[str, Any]:
    """Gauges and counters (`…_total`) of this process; `messages_dropped_total` is a dict by policy. Any thread."""
    sweep()
    server, layer = servers.total(), layers.total()
    result: dict[str, Any] = {name: server[theirs] for name, theirs in SERVER.items()}
    result |= {name: layer[theirs] for name, theirs in LAYER.items()}
    result["messages_dropped_total"] = {policy: layer[theirs] for policy, theirs in DROPPED.items()}
    return result


def sweep() -> None:
    """Drops what has expired in the channel layers of this process."""
    for layer in layers.sources():
        layer.sweep()  # type: ignore[attr-defined]
