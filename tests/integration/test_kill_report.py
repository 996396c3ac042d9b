"""What is logged when an application is killed: Daphne's line, then where it is stuck and what it holds."""

import asyncio
import sys
import time

import pytest
from asgiref.sync import sync_to_async
from django.utils.functional import SimpleLazyObject
from peneus import frames
from peneus.testing import LiveServer

from tests.integration.programs import until
from tests.leaks.client import Client

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def in_a_worker_thread():
    time.sleep(3)


class Lazy:
    """Whatever is asked of it loads it, as django.utils.functional.SimpleLazyObject; only its repr() does not."""

    def __getattribute__(self, name):
        print(f"loaded for {name}", flush=True)
        return object.__getattribute__(self, name)

    def __repr__(self):
        return "<Lazy>"


class LazyAwaitable(Lazy):
    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return None


def with_a_lazy_object():
    user = Lazy()
    users = [user, SimpleLazyObject(lambda: print("loaded", flush=True))]
    first, second = users
    time.sleep(3)
    return first, second


async def innermost():
    await asyncio.get_running_loop().create_future()


async def numbers():
    yield 1
    await innermost()


async def through_a_generator():
    async for _ in numbers():
        pass


class Awaitable:
    def __await__(self):
        yield from innermost().__await__()


async def through_an_awaitable():
    await Awaitable()


async def through_a_task():
    await asyncio.create_task(innermost(), name="child")


async def through_a_thread():
    await asyncio.to_thread(in_a_worker_thread)


async def through_asgiref():
    await sync_to_async(in_a_worker_thread)()


async def through_asgirefs_pool():
    await sync_to_async(in_a_worker_thread, thread_sensitive=False)()


async def through_a_lazy_object():
    own = Lazy()
    await sync_to_async(with_a_lazy_object)()
    return own


async def through_a_lazy_awaitable():
    await LazyAwaitable()


async def through_a_gather():
    await asyncio.gather(innermost(), innermost())


WAYS = {
    name: globals()[name]
    for name in (
        "innermost",
        "through_a_generator",
        "through_an_awaitable",
        "through_a_task",
        "through_a_thread",
        "through_asgiref",
        "through_asgirefs_pool",
        "through_a_gather",
        "through_a_lazy_object",
        "through_a_lazy_awaitable",
    )
}


async def application(scope, receive, send):
    """Joins a group, and after the disconnect gets stuck in the way that the path says."""
    if scope["type"] != "websocket":
        raise ValueError("WebSockets only")
    import peneus

    layer = peneus.ChannelLayer(capacity=2)
    channel = await layer.new_channel()
    await layer.group_add("prices", channel)
    for _ in range(5):
        await layer.group_send("prices", {"type": "t"})
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    await WAYS[scope["path"].strip("/")]()


def report_of(way, **settings):
    """The log of a server whose application gets stuck in way and is killed."""
    with LiveServer(application, application_close_timeout=0.5, **settings) as server:
        Client(server.port, f"/{way}").open().close()
        until(lambda: "was killed." in server.stderr and "It is stuck at" in server.stderr, "the report")
        time.sleep(0.3)
        return server.stderr[server.stderr.index("WARNING") :]


@pytest.mark.parametrize("way", ["through_a_lazy_object", "through_a_lazy_awaitable"])
def test_nothing_is_loaded_for_it(way):
    with LiveServer(application, application_close_timeout=0.5) as server:
        Client(server.port, f"/{way}").open().close()
        until(lambda: "was killed." in server.stderr and "It is stuck at" in server.stderr, "the report")
        stack = server.stderr[server.stderr.index("It is stuck at") :]
        assert f"in {way}\n" in stack and ("object" not in way or "in with_a_lazy_object\n" in stack)
        time.sleep(0.3)
        # Its coroutine throws the cancellation into what it awaits.
        assert [line for line in server.stdout.splitlines() if line.startswith("loaded") and line != "loaded for throw"] == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", [way for way in WAYS if "lazy" not in way])
def test_the_report(way, loop):
    report = report_of(way, loop=loop)
    lines = report.splitlines()
    assert lines[0].startswith("WARNING peneus.server: Application instance <Task pending")
    assert f"for connection <websocket /{way} from 127.0.0.1:" in lines[0]
    assert lines[0].endswith(" took too long to shut down and was killed.")
    assert report.count("took too long to shut down") == 1
    assert "It held 1 channel and was in 1 group (prices); 2 messages" in lines[1]
    assert lines[1].endswith("are queued for it, 3 were dropped.")
    stack = report[report.index("It is stuck at") :]
    assert f'{__file__}", line ' in stack
    assert "in application\n    await WAYS[scope" in stack
    assert f"in {way}\n" in stack
    if "thread" in way or "asgiref" in way:
        thread = stack[stack.index("Thread ") :]
        assert "runs for it" in thread
        assert "in in_a_worker_thread\n    time.sleep(3)" in thread
    else:
        assert "Thread " not in stack
        assert "waiting for <" in stack
    if way == "through_a_gather" and sys.version_info >= (3, 12):
        assert stack.count("Its task Task-") == 2 and "in innermost" in stack
    if way == "through_a_generator":
        assert "async for _ in numbers()" in stack and "in numbers\n    await innermost()" in stack
    if "thread" not in way and "asgiref" not in way and "gather" not in way:
        assert "in innermost\n    await asyncio.get_running_loop().create_future()\n  waiting for <Future" in stack


def test_threads_of_others_are_not_named():
    """Two connections, each with a thread; one is killed while the other's client is still there."""
    with LiveServer(application, application_close_timeout=0.5) as server:
        stays = Client(server.port, "/innermost").open()
        Client(server.port, "/through_a_thread").open().close()
        until(lambda: "runs for it" in server.stderr, "the report")
        assert server.stderr.count("runs for it") == 1
        stays.close()
        until(lambda: server.stderr.count("It is stuck at") == 2, "the second report")
        second = server.stderr[server.stderr.rindex("It is stuck at") :]
        assert "in_a_worker_thread" not in second


def test_what_cannot_be_looked_into():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    async def waits():
        await innermost()

    assert list(frames.await_chain(Rude())) == ["  waiting for <Rude, whose repr() raised RuntimeError>"]
    coroutine = waits()
    (entry,) = frames.await_chain(coroutine)
    assert "in waits" in entry, "one that has not begun"
    coroutine.close()
    assert list(frames.await_chain(coroutine)), "one that has ended"
