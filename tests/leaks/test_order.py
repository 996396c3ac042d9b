"""Invariants 1 and 2: the subscription is gone before the application is told, and what it can do after that."""

import pytest

from tests.leaks.observed import observed
from tests.leaks.test_ends import PATIENT, WAYS_TO_LEAVE


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
def test_the_membership_is_gone_when_the_application_sees_the_disconnect(leave):
    """The application reads the gauge with nothing between its receive() and that. One client at a time, often."""
    with observed(*PATIENT) as server:
        for number in range(1, 101):
            client, _ = server.join("/quiet")
            leave(client)
            members = server.wait_noted("disconnect", number)[-1][1]
            assert members == 0, f"client {number} of 100 was still a member"
        server.wait_nothing_left()
        assert server.measure()["discarded"] == 100


def test_after_the_disconnect():
    with observed(*PATIENT) as server:
        client, _ = server.join("/late")
        client.reset()
        assert server.wait_noted("disconnect")[0][1] == 0
        assert server.wait_noted("direct") == [[2]]
        assert server.journal("members after group_add") == [[0]]
        assert server.journal("group_discard succeeded") == [[]]
        assert server.journal("members after a new channel's group_add") == [[0]]
        assert server.journal("receive() is pending") == [[True]]
        server.wait_nothing_left()


def test_a_group_add_that_loses_the_race_with_the_disconnect():
    with observed(*PATIENT) as server:
        for number in range(1, 21):
            client, _ = server.join("/loses_race")
            client.reset()
            server.wait_noted("joined last", number)
        assert [members for (members,) in server.journal("joined last")] == [0] * 20
        assert server.measure()["memberships"] == 0
        server.wait_nothing_left()


def test_direct_sends_still_arrive_and_are_bounded():
    with observed(*PATIENT) as server:
        client, channel = server.join("/unread")
        client.reset()
        server.wait_noted("disconnect")
        server.publish(10)
        assert server.measure()["queued"] == 0, "it is in no group"
        for number in range(100):
            server.ask("send", channel, {"type": "direct", "number": number})
        assert server.measure()["queued"] == 100
        with pytest.raises(RuntimeError, match="ChannelFull"):
            server.ask("send", channel, {"type": "direct"})
        server.wait_nothing_left()
