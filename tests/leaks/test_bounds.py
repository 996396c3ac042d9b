"""Invariant 4: no queue is without a bound, and what does not fit is counted."""

import time

from tests.leaks.observed import observed
from tests.leaks.test_ends import PATIENT


def test_a_mailbox_is_bounded_in_messages():
    with observed(*PATIENT) as server:
        client, _ = server.join("/unread")
        server.publish(400)
        measured = server.measure()
        assert measured["queued"] == 100
        assert 100 * 1024 <= measured["queued_bytes"] < 120 * 1024
        assert server.ask("stats")["messages_dropped_total"]["drop-oldest"] == 300
        client.close()
        server.wait_nothing_left()


def test_a_mailbox_is_bounded_in_bytes():
    """A hundred messages would fit by their number; not by their size."""
    with observed(*PATIENT) as server:
        client, _ = server.join("/unread")
        server.publish(90, size=1_000_000)
        measured = server.measure()
        assert 0 < measured["queued"] < 90
        assert 1_000_000 <= measured["queued_bytes"] <= 32 << 20
        assert server.ask("stats")["messages_dropped_total"]["drop-oldest"] == 90 - measured["queued"]
        client.close()
        server.wait_nothing_left()


def test_a_client_that_does_not_read_holds_its_application_not_memory():
    with observed(*PATIENT) as server:
        staying, _ = server.join("/quiet")
        before = server.measure()["rss_kib"]
        clients = [server.join("/floods")[0] for _ in range(20)]
        flooded = []
        while len(flooded) < 3 or flooded[-1] != flooded[-3]:
            flooded.append(server.server.counts()["flooded"])
            time.sleep(0.5)
        grown = server.measure()["rss_kib"] - before
        assert grown < 20 * 1024, f"{grown} KiB for 20 clients"
        for client in clients:
            client.reset()
        server.wait_noted("send() raised OSError", 20)
        server.wait_measured(channels=1, memberships=1)
        staying.close()
        server.wait_nothing_left()
