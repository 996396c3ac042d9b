"""peneus.stats(): one flat dict, of all servers and layers of the process."""

import asyncio
import gc
import threading

import peneus
import pytest
from peneus.testing import LiveServer

from tests.integration.programs import PATIENCE, connect, get, hello, until

DESIGNS = {
    "connections",
    "applications",
    "channels",
    "groups",
    "group_members",
    "channel_messages_queued",
    "channel_bytes_queued",
    "messages_dropped_total",
    "subscriptions_discarded_total",
    "applications_killed_total",
    "orphaned_channels",
}


@pytest.fixture(autouse=True)
def nothing_of_other_tests():
    gc.collect()


def difference(before):
    after = peneus.stats()
    return {
        name: after[name] - before[name] for name in after if name != "messages_dropped_total" and after[name] != before[name]
    }


def test_names():
    stats = peneus.stats()
    assert DESIGNS <= set(stats)
    policies = {"drop-oldest", "drop-newest", "latest", "close", "expired", "unknown"}
    assert set(stats["messages_dropped_total"]) == policies
    assert all(isinstance(value, int) for name, value in stats.items() if name != "messages_dropped_total")
    assert stats["orphaned_channels"] == 0


def test_layers_are_summed_and_their_counters_stay():
    before = peneus.stats()

    async def use(layer):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for _ in range(3):
            await layer.group_send("group", {"type": "t"})

    layers = [peneus.ChannelLayer(capacity=2), peneus.ChannelLayer(capacity=1)]
    for layer in layers:
        asyncio.run(use(layer))
    changed = difference(before)
    assert changed.pop("channel_bytes_queued") > 0
    assert changed == {"channels": 2, "groups": 2, "group_members": 2, "channel_messages_queued": 3}

    def dropped():
        return peneus.stats()["messages_dropped_total"]["drop-oldest"] - before["messages_dropped_total"]["drop-oldest"]

    assert dropped() == 3
    del layer, layers
    gc.collect()
    assert difference(before) == {}
    assert dropped() == 3


def test_servers():
    before = peneus.stats()
    ready = threading.Event()
    server = peneus.Server(hello, port=0, signal_handlers=False, ready_callable=ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(PATIENCE)
    ((host, port),) = server.listening_addresses
    with connect((host, port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: client.recv(65536), "the answer")
        until(lambda: difference(before).get("requests_total") == 1, "the request is counted")
        until(lambda: not difference(before).get("applications"), "its application has ended")
        changed = difference(before)
        assert (changed["connections"], changed["connections_total"]) == (1, 1)
        assert changed["bytes_in_total"] > 0 and changed["bytes_out_total"] > 0
    until(lambda: "connections" not in difference(before), "the connection is gone")
    server.stop()
    thread.join(PATIENCE)
    del server
    gc.collect()
    changed = difference(before)
    assert changed["requests_total"] == 1 and changed["connections_total"] == 1, "counters do not go back"
    assert "connections" not in changed


def test_expired_messages_are_not_counted_as_queued():
    layer = peneus.ChannelLayer(expiry=0.1)
    before = peneus.stats()
    asyncio.run(layer.send("a", {"type": "t"}))
    until(lambda: difference(before) == {}, "it has expired")
    assert peneus.stats()["messages_dropped_total"]["expired"] == before["messages_dropped_total"]["expired"] + 1


async def with_an_expiring_message(scope, receive, send):
    """Answers with what is queued, without a call of the layer or of stats(), which would sweep."""
    assert scope["type"] == "http"
    if scope["path"] == "/send":
        kept["layer"] = peneus.ChannelLayer(expiry=0.2)
        await kept["layer"].send("a", {"type": "t"})
    queued = kept["layer"]._core.stats()["messages_queued"]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"queued {queued}".encode()})


kept = {}


def test_a_server_sweeps_layers_that_nobody_calls():
    with LiveServer(with_an_expiring_message) as server:
        address = (server.host, server.port)
        assert b"queued 1" in get(address, "/send")
        until(lambda: b"queued 0" in get(address), "the message is swept")
