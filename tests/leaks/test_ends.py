"""Invariants 1 and 3: however a connection or its application ends, nothing of it stays."""

import time

import pytest

from tests.leaks.client import PING, PONG, Client
from tests.leaks.observed import observed

# Much longer than any of these tests: what ends here is not ended by a kill.
PATIENT = ("--application-close-timeout", "120")
WAYS_TO_LEAVE = [Client.close, Client.drop, Client.reset]


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
def test_a_client_that_leaves(leave):
    with observed(*PATIENT) as server:
        client, _ = server.join("/quiet")
        staying, _ = server.join("/quiet")
        server.publish(5)
        assert server.measure()["memberships"] == 2
        leave(client)
        server.wait_measured(memberships=1, channels=1)
        server.publish(5)
        assert server.measure()["queued"] == 10, "the client that stays still gets what is sent"
        staying.close()
        server.wait_nothing_left()


def test_a_client_that_does_not_answer_pings():
    with observed(*PATIENT, "--ping-interval", "1", "--ping-timeout", "1") as server:
        client, _ = server.join("/quiet")
        ((code, members, _),) = server.wait_noted("disconnect")
        assert (code, members) == (1006, 0)
        client.drop()
        server.wait_nothing_left()


def test_a_client_that_answers_pings_stays():
    with observed(*PATIENT, "--ping-interval", "1", "--ping-timeout", "2") as server:
        client, _ = server.join("/quiet")
        asked = []
        began = time.monotonic()
        while time.monotonic() - began < 7:
            opcode, payload = client.frame()
            assert opcode == PING
            asked.append(time.monotonic() - began)
            client.send(payload, PONG)
        assert server.measure()["memberships"] == 1
        assert len(asked) >= 5, f"asked after {asked} s"
        client.close()
        server.wait_nothing_left()


def test_a_client_that_outlives_the_lifetime_of_a_websocket():
    with observed(*PATIENT, "--websocket_timeout", "1") as server:
        client, _ = server.join("/quiet")
        client.wait_closed()
        assert client.code == 1000
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


def test_an_application_that_closes_its_client():
    with observed(*PATIENT) as server:
        client, _ = server.join("/closes")
        client.send(b"close")
        client.wait_closed()
        assert client.code == 4001
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


def test_a_connection_that_ends_during_the_handshake():
    with observed(*PATIENT) as server:
        client = Client(server.server.port, "/handshake")
        server.wait_noted("joined before accepting")
        assert server.measure()["memberships"] == 1
        client.reset()
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


def test_a_handshake_that_is_not_answered_in_time():
    with observed(*PATIENT, "--websocket_connect_timeout", "1") as server:
        client = Client(server.server.port, "/handshake")
        server.wait_noted("joined before accepting")
        assert server.measure()["memberships"] == 1
        client.wait_closed()
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


@pytest.mark.parametrize("path", ["/raises", "/cancelled", "/ends_early"])
def test_an_application_that_ends_before_its_client(path):
    with observed(*PATIENT) as server:
        client, _ = server.join(path)
        server.publish(5)
        server.wait_measured(memberships=1, channels=1)
        assert server.measure()["queued"] >= 5
        client.send(b"now")
        client.wait_closed()
        server.wait_nothing_left()
        server.publish(5)
        assert server.measure()["queued"] == 0


def test_one_that_swallows_its_cancellation_keeps_nothing_but_its_task():
    with observed("--application-close-timeout", "1") as server:
        client, channel = server.join("/swallows")
        server.publish(5)
        client.reset()
        server.wait_noted("went on")
        assert server.server.running() == 1, "its task still runs"
        server.wait_nothing_left()
        server.publish(5)
        server.ask("send", channel, {"type": "direct"})
        server.wait_nothing_left()


def test_one_that_is_blocked_in_a_thread():
    with observed("--application-close-timeout", "1") as server:
        client, _ = server.join("/thread")
        server.publish(5)
        client.reset()
        server.wait_noted("thread sleeps")
        server.wait_measured(memberships=0, groups=0)
        assert not server.journal("thread ends")
        server.wait_nothing_left()


def test_one_that_blocks_the_event_loop():
    with observed(*PATIENT) as server:
        client, _ = server.join("/loop")
        others = [server.join("/quiet")[0] for _ in range(3)]
        client.send(b"block")
        server.wait_noted("loop blocked")
        client.reset()
        others[0].reset()
        others[1].drop()
        server.wait_measured(memberships=1, timeout=3)
        assert not server.journal("loop free"), "the subscriptions went while the event loop was blocked"
        assert server.measure()["memberships"] == 1
        server.wait_noted("loop free")
        others[2].close()
        server.wait_nothing_left()


def test_two_channels_in_one_connection():
    with observed(*PATIENT) as server:
        client, _ = server.join("/two")
        assert {name: server.measure()[name] for name in ("channels", "memberships", "groups")} == {
            "channels": 3,
            "memberships": 3,
            "groups": 2,
        }
        client.reset()
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


def test_channels_made_in_a_child_task_and_in_threads():
    with observed(*PATIENT) as server:
        client, _ = server.join("/made_elsewhere")
        measured = server.measure()
        assert (measured["channels"], measured["memberships"]) == (5, 5)
        client.reset()
        assert server.wait_noted("disconnect")[0][1] == 0
        server.wait_nothing_left()


def test_shutdown():
    with observed(*PATIENT) as server:
        client, _ = server.join("/quiet")
        server.publish(5)
        server.server.process.terminate()
        client.wait_closed()
        assert client.code in (1001, 1012)
        assert server.server.process.wait(20) == 0
        (noted,) = [line.split() for line in server.server.log.splitlines() if line.startswith("noted disconnect")]
        assert noted[3] == "0", "the membership went before the application was told"
