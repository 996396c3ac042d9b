"""Bus "redis" on a cluster whose slots move and whose nodes die: nobody goes deaf, and who has missed something is told, once."""

import asyncio
import contextlib
import time

import pytest
from peneus import ChannelLayer

from tests.integration.core_harness import PATIENCE
from tests.support.redis_fleet import cluster, cluster_replica

COUNT = 30
GROUPS = [f"group-{number}" for number in range(COUNT)]


def run(main):
    return asyncio.run(asyncio.wait_for(main, 4 * PATIENCE))


async def until(true, what="it does not come true"):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def layer_at(*nodes, **config):
    addresses = [f"redis://127.0.0.1:{node.port}" for node in nodes]
    return ChannelLayer(bus="redis", hosts=[{"cluster": addresses}], capacity=10_000, **config)


@pytest.fixture(scope="module")
def nodes():
    with cluster() as fleet:
        yield fleet


def slot(nodes, group):
    return int(nodes[0].command("CLUSTER", "KEYSLOT", f"asgi__group__{group}")[0][1:])


def identity(node):
    return node.command("CLUSTER", "MYID")[1].decode()


def owned(nodes, node):
    """Groups whose slot a node has."""
    ranges = []
    lines = b"\n".join(node.command("CLUSTER", "NODES")).decode().splitlines()
    for field in next(line for line in lines if "myself" in line).split()[8:]:
        if "[" not in field:
            first, _, last = field.partition("-")
            ranges.append(range(int(first), int(last or first) + 1))
    return [group for group in GROUPS if any(slot(nodes, group) in each for each in ranges)]


class Members:
    """One channel for each group, and what they have heard."""

    def __init__(self, layer):
        self.layer = layer
        self.channels = {}

    async def join(self):
        for number, group in enumerate(GROUPS):
            channel = f"asgispecific.{number:032x}"
            assert self.layer._core.new_channel(channel, 1000, True)
            await self.layer.group_add(group, channel)
            self.channels[group] = channel

    async def heard(self, group):
        """All that is there."""
        found = []
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                found.append(await asyncio.wait_for(self.layer.receive(self.channels[group]), 0.01))
        return found

    async def all_hear(self, sender):
        """Everybody gets what is sent to his group; the gaps that came before, by group."""
        missing, gaps = set(GROUPS), dict.fromkeys(GROUPS, 0)
        deadline = time.monotonic() + PATIENCE
        while missing:
            assert time.monotonic() < deadline, f"deaf: {sorted(missing)}"
            for group in sorted(missing):
                with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
                    await asyncio.wait_for(sender.group_send(group, {"type": "x"}), 2)
            await asyncio.sleep(0.2)
            for group in sorted(missing):
                for message in await self.heard(group):
                    if message["type"] == "channel.layer.gap":
                        assert message["groups"] == [group]
                        gaps[group] += 1
                    else:
                        missing.discard(group)
        return gaps


def setslot(nodes, at, group, to):
    assert at.command("CLUSTER", "SETSLOT", str(slot(nodes, group)), "NODE", identity(to)) == [b"+OK"]


async def away_and_back(nodes, moved):
    """Before anybody asks for the next map."""
    for group in moved:
        setslot(nodes, nodes[0], group, nodes[1])
        setslot(nodes, nodes[0], group, nodes[0])


async def deleted_and_added(nodes, moved):
    for group in moved:
        for command in ("DELSLOTS", "ADDSLOTS"):
            assert nodes[0].command("CLUSTER", command, str(slot(nodes, group))) == [b"+OK"]


@pytest.mark.parametrize("fault", [away_and_back, deleted_and_added])
def test_a_slot_that_goes_and_is_back_at_once(nodes, fault):
    """Redis ends the subscription without being asked."""

    async def main():
        members, sender = Members(layer_at(nodes[0])), layer_at(nodes[0], buffer_time=PATIENCE)
        await members.join()
        moved = owned(nodes, nodes[0])
        assert 0 < len(moved) < COUNT
        await members.all_hear(sender)
        await fault(nodes, moved)
        gaps = await members.all_hear(sender)
        assert all(gaps[group] >= 1 for group in moved)
        assert not any(gaps[group] for group in set(GROUPS) - set(moved))

    run(main())


def test_a_reshard_is_told_to_those_who_move(nodes):
    """And to them once for each move, however many slots move one after the other."""

    async def main():
        members, sender = Members(layer_at(nodes[0])), layer_at(nodes[0], buffer_time=PATIENCE)
        await members.join()
        moved = owned(nodes, nodes[0])
        await members.all_hear(sender)
        try:
            for group in moved:
                for node in (nodes[1], nodes[0], nodes[2]):
                    setslot(nodes, node, group, nodes[1])
                await asyncio.sleep(0.3)
            gaps = await members.all_hear(sender)
            assert not any(gaps[group] for group in set(GROUPS) - set(moved))
            assert all(1 <= gaps[group] <= 2 for group in moved), gaps
        finally:
            for group in moved:
                for node in (nodes[0], nodes[1], nodes[2]):
                    setslot(nodes, node, group, nodes[0])

    run(main())


def test_the_only_seed_dies_and_a_replica_takes_its_place():
    """The map comes from the nodes that are known. Who missed something is told once; who did not is not."""
    with cluster(replicas=1) as fleet:

        async def main():
            members, sender = Members(layer_at(fleet[0])), layer_at(fleet[0], buffer_time=PATIENCE)
            await members.join()
            moved = owned(fleet, fleet[0])
            await members.all_hear(sender)
            fleet[0].kill()
            gaps = await members.all_hear(sender)
            deadline = time.monotonic() + PATIENCE
            while not all(gaps[group] == 1 for group in moved):
                assert time.monotonic() < deadline, gaps
                await asyncio.sleep(0.1)
                for group in moved:
                    gaps[group] += sum(message["type"] == "channel.layer.gap" for message in await members.heard(group))
            assert gaps == {group: int(group in moved) for group in GROUPS}

        run(main())


async def promote(replica):
    """CLUSTER FAILOVER, as often as it takes: one that times out after 5 s says nothing."""

    def says(text):
        return text in replica.command("INFO", "replication")

    deadline = time.monotonic() + PATIENCE
    while not says(b"role:master"):
        assert time.monotonic() < deadline
        replica.command("CLUSTER", "FAILOVER")
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(until(lambda: says(b"role:master")), 6)


def test_a_fail_over_and_back():
    with cluster(replicas=1) as fleet:

        async def main():
            members, sender = Members(layer_at(fleet[0])), layer_at(fleet[0], buffer_time=PATIENCE)
            await members.join()
            await members.all_hear(sender)
            replica = cluster_replica(fleet, fleet[0])
            for _ in range(2):
                for promoted in (replica, fleet[0]):
                    await promote(promoted)
            await members.all_hear(sender)

        run(main())
