"""Channel layers of processes that fork, and of those that end."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import peneus
import pytest
import redis as redis_client

from tests.support.ports import free_port
from tests.support.redis import Redis, redis_server

PATIENCE = 20
REMOTE = ["redis", "redis-core"]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with redis_server() as server:
        yield server


def run(script: str, *arguments: str) -> str:
    """What a Python process prints that runs script; it must end by itself, and well."""
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


FORKS = """
import asyncio, os, sys, peneus
from asgiref.sync import async_to_sync
layer = peneus.ChannelLayer(bus=sys.argv[1], hosts=[sys.argv[2]])
mine = async_to_sync(layer.new_channel)()
async_to_sync(layer.group_add)("group", mine)
read, write = os.pipe()
child = os.fork()
if child == 0:
    assert layer.channels == {} and layer.groups == {}
    name = async_to_sync(layer.new_channel)()
    assert name.partition("!")[0] != mine.partition("!")[0], "two processes would share a key"
    async_to_sync(layer.group_add)("group", name)
    async_to_sync(layer.group_send)("group", {"from": "child"})
    async_to_sync(layer.send)(mine, {"from": "child, direct"})
    assert async_to_sync(layer.receive)(name) == {"from": "child"}
    os.write(write, b"done")
    os._exit(0)
assert os.read(read, 4) == b"done"
_, status = os.waitpid(child, 0)
assert status == 0
got = [async_to_sync(layer.receive)(mine)["from"] for _ in range(2)]
assert sorted(got) == ["child", "child, direct"], got
async_to_sync(layer.group_send)("group", {"from": "parent"})
assert async_to_sync(layer.receive)(mine) == {"from": "parent"}
print(peneus.stats()["channels"])
"""


@pytest.mark.parametrize("bus", REMOTE)
def test_fork(redis, bus):
    assert run(FORKS, bus, redis.url).split() == ["1"]


LOCAL_FORK = """
import os, peneus
from asgiref.sync import async_to_sync
layer = peneus.ChannelLayer()
mine = async_to_sync(layer.new_channel)()
child = os.fork()
if child == 0:
    name = async_to_sync(layer.new_channel)()
    async_to_sync(layer.send)(name, {"type": "t"})
    assert async_to_sync(layer.receive)(name) == {"type": "t"}
    assert peneus.stats()["channels"] == 1
    raise SystemExit(0)  # by way of atexit and the interpreter's end
assert os.waitpid(child, 0)[1] == 0
async_to_sync(layer.send)(mine, {"type": "t"})
assert peneus.stats()["channels"] == 1
"""


def test_fork_on_the_local_bus():
    run(LOCAL_FORK)


# As a connection's application does it: nothing is awaited to the end.
ENDS = """
import sys, msgpack, peneus
layer = peneus.ChannelLayer(bus=sys.argv[1], hosts=[sys.argv[2]], prefix=sys.argv[3])
for number in range(int(sys.argv[4])):
    layer._accepted(layer._core.group_send("group", msgpack.packb({"number": number}), None), b"")
"""


async def received(layer, channel):
    return await asyncio.wait_for(layer.receive(channel), PATIENCE)


@pytest.mark.asyncio
@pytest.mark.parametrize("bus", REMOTE)
async def test_what_was_published_last_arrives(redis, bus):
    layer = peneus.ChannelLayer(bus=bus, hosts=[redis.url], prefix="ends", capacity=1000)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await asyncio.to_thread(run, ENDS, bus, redis.url, "ends", "200")
    assert [(await received(layer, channel))["number"] for _ in range(200)] == list(range(200))


@pytest.mark.parametrize("bus", REMOTE)
def test_an_end_without_redis_takes_no_long_time(bus):
    before = time.monotonic()
    run(ENDS, bus, f"redis://127.0.0.1:{free_port()}", "ends", "1")
    assert time.monotonic() - before < 15


MEMBERS = """
import sys, peneus
from asgiref.sync import async_to_sync
layer = peneus.ChannelLayer(bus="redis-core", hosts=[sys.argv[1]], prefix="members")
for number in range(5):
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("group", channel)
if sys.argv[2] == "drop":
    del layer
"""


@pytest.mark.parametrize("how", ["drop", "keep"])
def test_core_memberships_end_with_the_process(redis, how):
    run(MEMBERS, redis.url, how)
    with redis_client.Redis(port=redis.port) as client:
        deadline = time.monotonic() + PATIENCE
        while client.zcard("members:group:group") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.zrange("members:group:group", 0, -1) == []


MULTIPROCESSING = """
import multiprocessing, os, sys, msgpack, peneus
layer = peneus.ChannelLayer(bus=sys.argv[1], hosts=[sys.argv[2]], prefix=sys.argv[3])

def publish():
    layer._accepted(layer._core.group_send("group", msgpack.packb({"pid": os.getpid()}), None), b"")

if __name__ == "__main__":
    processes = [multiprocessing.get_context("fork").Process(target=publish) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("bus", REMOTE)
async def test_processes_of_multiprocessing(redis, bus):
    layer = peneus.ChannelLayer(bus=bus, hosts=[redis.url], prefix="many")
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await asyncio.to_thread(run, MULTIPROCESSING, bus, redis.url, "many")
    pids = {(await received(layer, channel))["pid"] for _ in range(3)}
    assert len(pids) == 3 and os.getpid() not in pids
