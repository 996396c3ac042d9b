"""Tasks that nobody refers to. The event loop has weak references to its tasks only, so what a task waits for must keep it. And
what waits is collected together with what it waits for."""

import asyncio
import ctypes
import gc
import threading
import weakref

import pytest
from peneus import _core

from tests.integration.core_harness import PATIENCE, CoreServer, eventually, new_loop
from tests.integration.raw_http2 import Attacker, request

CAPACITY = 100


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


def new_layer():
    return _core.Layer(expiry=60.0, group_expiry=86400.0, message_limit=0, mailbox_bytes=1 << 20)


def decode(view):
    return bytes(view).decode()


class Waiting:
    """An ASGI application. wait(self, receive, send, result) runs in a task that nobody refers to; result.append() is called with
    what it got. `collect` makes the loop's thread collect garbage."""

    def __init__(self, wait):
        self.wait = wait
        self.layer = new_layer()
        self.results = []
        self.begun = threading.Event()
        self.end = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        asyncio.get_running_loop().create_task(self.run(receive, send))
        # receive and send are this frame's: they know the connection only.
        await asyncio.sleep(0)
        gc.collect()
        self.begun.set()
        await self.end.wait()

    async def run(self, receive, send):
        self.results.append(await self.wait(self, receive, send))

    def collect(self, server):
        for _ in range(3):
            server.call(gc.collect)


async def wait_for_event(waiting, receive, send):
    return (await receive())["text"]


async def wait_for_message(waiting, receive, send):
    return await waiting.layer.receive("channel", CAPACITY, decode)


async def wait_for_either(waiting, receive, send):
    inbox = _core.Inbox(waiting.layer, _core.current_connection.get(), "channel", CAPACITY, decode)
    return [named(await inbox), named(await inbox)]


def named(event):
    return event if isinstance(event, str) else event["text"]


def test_receive(loop):
    waiting = Waiting(wait_for_event)
    with CoreServer(waiting, loop) as server, server.websocket().open() as client:
        assert waiting.begun.wait(PATIENCE)
        waiting.collect(server)
        client.text("event")
        assert eventually(lambda: waiting.results) == ["event"]
        server.call(waiting.end.set)


def test_receive_of_a_layer(loop):
    waiting = Waiting(wait_for_message)
    with CoreServer(waiting, loop) as server, server.websocket().open():
        assert waiting.begun.wait(PATIENCE)
        waiting.collect(server)
        assert waiting.layer.stats()["waiters"] == 1
        waiting.layer.send("channel", CAPACITY, b"message")
        assert eventually(lambda: waiting.results) == ["message"]
        server.call(waiting.end.set)


def test_an_inbox(loop):
    waiting = Waiting(wait_for_either)
    with CoreServer(waiting, loop) as server, server.websocket().open() as client:
        assert waiting.begun.wait(PATIENCE)
        waiting.collect(server)
        client.text("event")
        eventually(lambda: server.stats()["messages_in_total"] == 1)
        waiting.collect(server)
        waiting.layer.send("channel", CAPACITY, b"message")
        assert eventually(lambda: waiting.results) == [["event", "message"]]
        server.call(waiting.end.set)


async def send_much(waiting, receive, send):
    sent = 0
    while sent < 16 << 20:
        await send({"type": "websocket.send", "bytes": b"x" * 65536})
        sent += 65536
    return sent


def test_send_above_the_window(loop):
    waiting = Waiting(send_much)
    with CoreServer(waiting, loop) as server, server.websocket().open() as client:
        assert waiting.begun.wait(PATIENCE)
        waiting.collect(server)
        assert waiting.results == []
        got = 0
        while got < 16 << 20:
            got += len(client.socket.recv(1 << 20))
        assert eventually(lambda: waiting.results) == [16 << 20]
        server.call(waiting.end.set)


def test_a_request_whose_client_leaves(loop):
    async def wait(waiting, receive, send):
        await receive()
        return (await receive())["type"]

    waiting = Waiting(wait)
    with CoreServer(waiting, loop) as server:
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert waiting.begun.wait(PATIENCE)
            waiting.collect(server)
        assert eventually(lambda: waiting.results) == ["http.disconnect"]
        server.call(waiting.end.set)


def test_many_at_once(loop):
    """Each gets one, whoever is collected meanwhile."""
    layer = new_layer()
    got = []

    async def wait(number):
        got.append(await layer.receive(f"channel-{number % 10}", CAPACITY, decode))

    async def main():
        for number in range(200):
            asyncio.get_running_loop().create_task(wait(number))
        await asyncio.sleep(0)
        gc.collect()
        for number in range(200):
            layer.send(f"channel-{number % 10}", CAPACITY, str(number).encode())
            if number % 20 == 0:
                await asyncio.sleep(0)
                gc.collect()
        while len(got) < 200:
            await asyncio.sleep(0.001)
            gc.collect()

    running = new_loop(loop)
    try:
        running.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        running.close()
    assert sorted(map(int, got)) == list(range(200))
    assert layer.stats()["waiters"] == 0


def test_cancelled_ones_are_let_go(loop):
    """Whoever is cancelled, woken or done is nobody's any more."""
    layer = new_layer()
    tasks = []

    async def wait():
        await layer.receive("channel", CAPACITY, decode)

    async def main():
        for _ in range(100):
            task = asyncio.get_running_loop().create_task(wait())
            tasks.append(weakref.ref(task))
            await asyncio.sleep(0)
            if len(tasks) % 2:
                task.cancel()
            else:
                layer.send("channel", CAPACITY, b"x")
            await asyncio.wait([task])
            del task

    running = new_loop(loop)
    try:
        running.run_until_complete(asyncio.wait_for(main(), PATIENCE))
        gc.collect()
        assert not [task for task in tasks if task() is not None]
    finally:
        running.close()
    assert layer.stats()["waiters"] == 0


class Held:
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("before", [True, False], ids=["waits before", "waits after"])
def test_one_that_waits_for_what_can_never_come(loop, before):
    """A listener that nobody refers to, on a channel of an application that has ended, is garbage."""
    layer = new_layer()
    held = []

    async def listen(begin):
        mine = Held()
        held.append(weakref.ref(mine))
        await begin.wait()
        await layer.receive("channel!1", CAPACITY, decode)

    async def application(scope, receive, send):
        assert layer.new_channel("channel!1", CAPACITY)
        begin = asyncio.Event()
        asyncio.get_running_loop().create_task(listen(begin))
        if before:
            begin.set()
        else:
            asyncio.get_running_loop().call_later(0.05, begin.set)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert held[0]() is not None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    with CoreServer(application, loop) as server:
        assert server.get().body == b"ok"
        server.idle()
        eventually(lambda: server.call(gc.collect) is None or held[0]() is None, "it is collected")
        eventually(lambda: server.loop_errors, "asyncio says that a task was destroyed")
        assert layer.stats()["waiters"] == 0
        server.loop_errors.clear()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_those_of_a_server_that_is_gone(loop):
    """Nobody stopped it: the server, its connection, the tasks that wait and what they refer to are garbage together."""
    held = []

    class Application:
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            for wait in (receive, self.receive_of_layer):
                asyncio.get_running_loop().create_task(self.wait(wait))
            await asyncio.sleep(0)
            await receive()

        layer = new_layer()

        def receive_of_layer(self):
            return self.layer.receive("channel", CAPACITY, decode)

        async def wait(self, wait):
            mine = Held()
            held.append(weakref.ref(mine))
            await wait()

    server = CoreServer(Application(), loop).__enter__()
    client = server.websocket().open()
    eventually(lambda: len(held) == 2)
    server.core.stop()
    assert server.stopped.wait(PATIENCE)
    server.loop.call_soon_threadsafe(server.loop.stop)
    server.thread.join(PATIENCE)
    server.loop.set_exception_handler(lambda loop, context: None)
    server.loop.close()
    client.socket.close()
    gone = weakref.ref(server.loop)
    del server
    gc.collect()
    assert gone() is None
    assert [reference() for reference in held] == [None, None]


class MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def allocated():
    """Bytes that malloc() has given to somebody."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallInfo
    return mallinfo2().uordblks


def leave(loop, count):
    """The client of a server whose loop ends although it serves count requests, and to which nobody refers any more."""

    async def application(scope, receive, send):
        await asyncio.Event().wait()

    settings = {"http2_max_concurrent_streams": count, "http2_max_applications": count, "http2_control_rate": 0}
    server = CoreServer(application, loop, settings).__enter__()
    client = Attacker(server.port)
    client.send(b"".join(request(2 * i + 1, "/") for i in range(count)))
    eventually(lambda: server.stats()["applications"] == count)
    server.loop.call_soon_threadsafe(server.loop.stop)
    server.thread.join(PATIENCE)
    for task in asyncio.all_tasks(server.loop):
        task._log_destroy_pending = False  # which it is
    server.loop.close()
    return client


def collect_while_exchanges_are_open(loop, count):
    with leave(loop, count) as client:
        for _ in range(3):
            gc.collect()
        client.wait(lambda: client.closed)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="malloc() does not say what it has given out")
def test_what_its_io_thread_holds_goes_with_a_server(loop):
    count, rounds = 1000, 10
    for _ in range(3):
        collect_while_exchanges_are_open(loop, count)
    before = allocated()
    for _ in range(rounds):
        collect_while_exchanges_are_open(loop, count)
    assert allocated() - before < rounds * count * 8, "at least one word for each exchange"
