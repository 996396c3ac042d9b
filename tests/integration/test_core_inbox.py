"""`_core.Inbox`: events of a connection and messages of a channel, in the order in which they came, and none of them lost."""

import asyncio
import gc
import threading
import time
import tracemalloc
import weakref
from itertools import pairwise

import pytest
from peneus import _core

from tests.integration.core_harness import PATIENCE, CoreServer, eventually

CAPACITY = 100
CHANNEL = "channel"


def decode(view):
    return bytes(view).decode()


def named(event):
    """A message as it is, an event by its text or its type."""
    return event if isinstance(event, str) else event.get("text", event["type"])


class Consumer:
    """An ASGI application that awaits an inbox; `each` is called with it, its first event taken and a WebSocket accepted."""

    def __init__(self, each, accepts):
        self.layer = _core.Layer(expiry=60.0, group_expiry=86400.0, message_limit=0, mailbox_bytes=1 << 20)
        self.each = each
        self.accepts = accepts
        self.taken = []
        self.ready = threading.Event()
        self.released = asyncio.Event()
        self.refused = threading.Event()

    async def __call__(self, scope, receive, send):
        connection = _core.current_connection.get()
        self.layer.new_channel(CHANNEL, CAPACITY)
        inbox = _core.Inbox(self.layer, connection, CHANNEL, CAPACITY, decode)
        if scope["type"] == "websocket":
            assert (await inbox)["type"] == "websocket.connect"
            if self.accepts:
                await send({"type": "websocket.accept"})
        self.ready.set()
        await self.each(self, inbox, send)

    async def take(self, inbox):
        event = await inbox
        self.taken.append(named(event))
        return event

    def send(self, text):
        assert self.layer.send(CHANNEL, CAPACITY, text.encode()) == "ok"

    def release(self, server):
        server.call(self.released.set)


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request):
    """A running server of a Consumer, and the Consumer."""
    servers = []

    def serve(each, accepts=True, **settings):
        consumer = Consumer(each, accepts)
        server = CoreServer(consumer, request.param, settings)
        servers.append(server.__enter__())
        return server, consumer

    yield serve
    for server in servers:
        server.__exit__(None)
        assert not server.errors, server.errors


async def take_all(consumer, inbox, send):
    await consumer.released.wait()
    while await consumer.take(inbox) != "last":
        pass


def test_the_order_of_arrival(serve):
    server, consumer = serve(take_all)
    with server.websocket().open() as client:
        assert consumer.ready.wait(PATIENCE)
        for number in range(20):
            client.text(f"event {number}")
            eventually(lambda number=number: server.stats()["messages_in_total"] == number + 1)
            consumer.send(f"message {number}")
        consumer.send("last")
        consumer.release(server)
        eventually(lambda: consumer.taken[-1:] == ["last"])
    assert consumer.taken == [f"{kind} {number}" for number in range(20) for kind in ("event", "message")] + ["last"]


async def answer(consumer, inbox, send):
    while (event := await consumer.take(inbox)) != "last" and consumer.taken[-1] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": named(event)})


def test_it_is_told_by_either(serve):
    server, consumer = serve(answer)
    with server.websocket().open() as client:
        for number in range(200):
            if number % 3:
                consumer.send(f"message {number}")
            else:
                client.text(f"event {number}")
            assert client.receive()[1].decode().endswith(f" {number}")
        consumer.send("last")
        server.idle()
    assert consumer.layer.stats()["waiters"] == 0


def test_a_channel_fed_by_other_threads(serve):
    server, consumer = serve(answer)
    with server.websocket().open() as client:

        def feed(name):
            for number in range(50):
                consumer.send(f"{name} {number}")
                time.sleep(0.0005)

        threads = [threading.Thread(target=feed, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for number in range(50):
            client.text(f"client {number}")
        got = [client.receive()[1].decode() for _ in range(150)]
        for thread in threads:
            thread.join()
        consumer.send("last")
        server.idle()
    for name in ("a", "b", "client"):
        assert [text for text in got if text.startswith(name + " ")] == [f"{name} {number}" for number in range(50)]


async def take_some(consumer, inbox, send):
    await consumer.released.wait()
    for _ in range(5):
        await consumer.take(inbox)


def test_the_disconnect_comes_after_what_came_before_it(serve):
    server, consumer = serve(take_some)
    with server.websocket().open() as client:
        assert consumer.ready.wait(PATIENCE)
        client.text("event")
        eventually(lambda: server.stats()["messages_in_total"] == 1)
        consumer.send("before")
        client.reset()
    eventually(lambda: [connection.state for connection in server.call(server.core.connections)] == ["gone"])
    consumer.send("after")
    consumer.release(server)
    server.idle()
    # And it is given again, as receive() does, to a consumer that does not end by it; then messages come first.
    assert consumer.taken == ["event", "before", "websocket.disconnect", "after", "websocket.disconnect"]


async def refuse(consumer, inbox, send):
    await send({"type": "websocket.close"})
    await consumer.take(inbox)


def test_a_refusal_is_followed_by_the_disconnect(serve):
    server, consumer = serve(refuse, accepts=False)
    with server.websocket() as client:
        assert client.head()[0] == 403
    server.idle()
    assert consumer.taken == ["websocket.disconnect"]


async def be_cancelled(consumer, inbox, send):
    """Cancels each wait just when something has come for it, before its task has run; and some when nothing has."""
    for number in range(1000):
        waiting = asyncio.ensure_future(consumer.take(inbox))
        await asyncio.sleep(0)
        if number % 2:
            consumer.send(str(number))
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            if number % 2:
                await consumer.take(inbox)
        assert consumer.layer.stats()["waiters"] == 0


def test_a_cancelled_wait_loses_nothing(serve):
    server, consumer = serve(be_cancelled)
    with server.websocket().open():
        server.idle()
    assert consumer.taken == [str(number) for number in range(1, 1000, 2)]
    assert consumer.layer.stats()["waiters"] == 0


async def pass_on(consumer, inbox, send):
    """Two wait for one channel; the one that is told is cancelled: the other gets the message."""
    loop = asyncio.get_running_loop()
    first = asyncio.ensure_future(consumer.take(inbox))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(consumer.layer.receive(CHANNEL, CAPACITY, decode))
    await asyncio.sleep(0)
    told = asyncio.Event()

    def send_and_cancel():
        consumer.send("message")
        first.cancel()
        told.set()

    loop.call_soon(send_and_cancel)
    await told.wait()
    consumer.taken.append(await asyncio.wait_for(second, PATIENCE))
    assert first.cancelled()


def test_what_a_cancelled_wait_was_told_of_goes_to_the_next(serve):
    server, consumer = serve(pass_on)
    with server.websocket().open():
        server.idle()
    assert consumer.taken == ["message"]


async def pass_on_late(consumer, inbox, send):
    """It is told, but its task has been cancelled just before, by another that was told in the same go of the loop."""
    layer = consumer.layer

    async def cancel_first():
        await layer.receive("other", CAPACITY, decode)
        first.cancel()

    canceller = asyncio.ensure_future(cancel_first())
    first = asyncio.ensure_future(consumer.take(inbox))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(layer.receive(CHANNEL, CAPACITY, decode))
    await asyncio.sleep(0)
    layer.send("other", CAPACITY, b"")
    consumer.send("message")
    consumer.taken.append(await asyncio.wait_for(second, PATIENCE))
    await canceller
    assert first.cancelled()


def test_what_a_wait_cancelled_meanwhile_was_told_of_goes_to_the_next(serve):
    server, consumer = serve(pass_on_late)
    with server.websocket().open():
        server.idle()
    assert consumer.taken == ["message"]


async def refuse_while_waiting(consumer, inbox, send):
    """It is told of a message, and gives the disconnect, which is older: the message is another's."""
    first = asyncio.ensure_future(consumer.take(inbox))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(consumer.layer.receive(CHANNEL, CAPACITY, decode))
    await asyncio.sleep(0)
    await send({"type": "websocket.close"})
    await asyncio.sleep(0)  # the I/O thread gets it
    assert consumer.refused.wait(PATIENCE)  # the loop stands still: what is queued for it meanwhile, it takes at once
    consumer.send("message")
    await first
    consumer.taken.append(await asyncio.wait_for(second, PATIENCE))


def test_a_message_that_it_was_told_of_and_does_not_take_goes_to_the_next(serve):
    server, consumer = serve(refuse_while_waiting, accepts=False)
    with server.websocket() as client, server.connect() as other:
        assert client.head()[0] == 403
        # The I/O thread queues the disconnect when it has sent the refusal, and before it reads from its sockets again.
        other.send(b"GET\r\n\r\n")
        assert other.head()[0] == 400
        consumer.refused.set()
        server.idle()
    assert consumer.taken == ["websocket.disconnect", "message"]


async def ask_on(consumer, inbox, send):
    while True:
        await inbox


def test_one_that_asks_on_after_the_disconnect_is_killed_and_holds_nobody_up(serve):
    server, consumer = serve(ask_on, application_close_timeout_ms=300)
    with server.websocket().open() as client:
        client.reset()
    eventually(lambda: server.kills, "it is killed")
    server.idle()


async def wait_twice(consumer, inbox, send):
    first = asyncio.ensure_future(consumer.take(inbox))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="awaited by another task"):
        await inbox
    consumer.send("message")
    assert await first == "message"
    consumer.send("and on")
    assert await asyncio.wait_for(inbox, PATIENCE) == "and on"
    with pytest.raises(UnicodeDecodeError):
        consumer.layer.send(CHANNEL, CAPACITY, b"\xff")
        await inbox
    consumer.send("last")
    await consumer.take(inbox)


def test_one_task_at_a_time_and_again_after_an_error(serve):
    server, consumer = serve(wait_twice)
    with server.websocket().open():
        server.idle()
    assert consumer.taken == ["message", "last"]


async def feed_itself(consumer, inbox, send):
    consumer.send("on")
    while await inbox != "last":
        if not consumer.released.is_set():
            consumer.send("on")


def test_one_that_never_has_to_wait_leaves_the_loop_its_turn(serve):
    server, consumer = serve(feed_itself)
    with server.websocket().open():
        assert consumer.ready.wait(PATIENCE)
        consumer.release(server)  # on the loop
        consumer.send("last")
        server.idle()


async def take_request(consumer, inbox, send):
    body = b""
    while isinstance(event := await inbox, str) or event["type"] == "http.request":
        if isinstance(event, str):
            consumer.taken.append(event)
            continue
        body += event["body"]
        if not event["more_body"]:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
            await send({"type": "http.response.body", "body": body})
    consumer.taken.append(event["type"])


def test_a_request(serve):
    server, consumer = serve(take_request)
    assert server.get().body == b""
    server.idle()
    with server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert client.head()[0] == 100  # it is asked for while the inbox waits for both
        consumer.send("message")
        eventually(lambda: "message" in consumer.taken)
        client.send(b"0123456789")
        assert client.response().body == b"0123456789"
    server.idle()
    assert consumer.taken == ["http.disconnect", "message", "http.disconnect"]


async def keep_itself(consumer, inbox, send):
    """Waits without a task, and refers to the inbox from what it decodes with: the connection keeps it, as long as it lives."""

    class Held:
        pass

    held = Held()
    held.inbox = _core.Inbox(consumer.layer, _core.current_connection.get(), CHANNEL, CAPACITY, lambda view, held=held: held)
    iterator = held.inbox.__await__()
    iterator.send(None)
    consumer.waiters = consumer.layer.stats()["waiters"]
    consumer.held = weakref.ref(held)
    del held, iterator
    gc.collect()


def test_one_that_waits_in_a_cycle_is_collected(serve):
    server, consumer = serve(keep_itself)
    with server.websocket().open():
        server.idle()
    gc.collect()
    assert consumer.waiters == 1
    assert consumer.held() is None
    assert consumer.layer.stats()["waiters"] == 0


async def be_measured(consumer, inbox, send):
    async def round_of(count):
        for number in range(count):
            if number % 2:
                consumer.send("message")
            waiting = asyncio.ensure_future(inbox_of())
            await asyncio.sleep(0)
            if number % 3 == 0:
                waiting.cancel()
            elif number % 2 == 0:
                consumer.send("message")
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                waiting.result()

    async def inbox_of():
        return await inbox

    consumer.objects, consumer.sizes = [], []
    for _ in range(4):
        await round_of(3_000)
        gc.collect()
        consumer.objects.append(len(gc.get_objects()))
        consumer.sizes.append(tracemalloc.get_traced_memory()[0])


def test_ten_thousand_waits_leave_nothing_behind(serve):
    tracemalloc.start()
    try:
        server, consumer = serve(be_measured)
        with server.websocket().open():
            server.idle()
    finally:
        tracemalloc.stop()
    # What a wait leaves behind grows in every round; free lists and imports, in some.
    assert min(after - before for before, after in pairwise(consumer.objects)) < 300, consumer.objects
    assert min(after - before for before, after in pairwise(consumer.sizes)) < 50_000, consumer.sizes
    stats = consumer.layer.stats()
    assert stats["waiters"] == 0 and stats["channels"] == 0


def test_what_it_is_made_of(serve):
    async def nothing(consumer, inbox, send):
        connection = _core.current_connection.get()
        with pytest.raises(TypeError):
            _core.Inbox(connection, consumer.layer, CHANNEL, CAPACITY, decode)
        with pytest.raises(ValueError, match="capacity"):
            _core.Inbox(consumer.layer, connection, CHANNEL, 0, decode)
        consumer.taken.append("done")

    server, consumer = serve(nothing)
    with server.websocket().open():
        server.idle()
    assert consumer.taken == ["done"]
