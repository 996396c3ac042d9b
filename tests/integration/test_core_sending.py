"""send() works, and fails, when it is awaited; on whichever loop and by whichever thread."""

import asyncio
import gc
import threading
import warnings
import weakref

import pytest
from peneus import _core

from tests.integration.core_harness import PATIENCE, CoreServer, eventually

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def accept(receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


class Room:
    """A WebSocket application whose clients' sends are `sends`, in the order in which they came."""

    def __init__(self):
        self.sends = []
        self.end = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await accept(receive, send)
        self.sends.append(send)
        await self.end.wait()


def text(message):
    return {"type": "websocket.send", "text": message}


def test_one_that_has_gone_keeps_nothing_from_the_others(loop):
    room = Room()

    async def to_all():
        return await asyncio.gather(*[send(text("hello")) for send in room.sends], return_exceptions=True)

    with CoreServer(room, loop) as server:
        clients = []
        for number in range(3):
            clients.append(server.websocket().open())
            eventually(lambda number=number: len(room.sends) == number + 1)
        clients[0].reset()
        eventually(lambda: "gone" in [connection.state for connection in server.call(server.core.connections)])
        first, *others = server.call(to_all)
        assert isinstance(first, _core.ClientGone) and others == [None, None]
        assert [client.receive() for client in clients[1:]] == [(1, b"hello")] * 2
        server.call(room.end.set)


@pytest.mark.parametrize(
    ("message", "kind"),
    [(5, TypeError), ({}, ValueError), ({"type": "x"}, RuntimeError), ({**START, "status": 1}, ValueError), (BODY, RuntimeError)],
)
def test_what_is_wrong_is_said_to_who_awaits(message, kind):
    raised = []

    async def application(scope, receive, send):
        sending = send(message)
        with pytest.raises(kind) as caught:
            await sending
        raised.append(caught.type)
        await send(START)
        await send(BODY)

    with CoreServer(application) as server:
        assert server.get().body == b"ok"
        server.idle()
        assert server.errors == [] and raised == [kind]


def test_one_that_is_never_awaited_is_not_sent(loop):
    async def application(scope, receive, send):
        send(START)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            send({**START, "status": 500})
        assert [(warning.category, str(warning.message)) for warning in caught] == [
            (RuntimeWarning, "send() was never awaited: the event has not been sent")
        ]
        unused = send(START)
        unused.close()
        await send(START)
        await send(BODY)

    with warnings.catch_warnings(), CoreServer(application, loop) as server:
        warnings.simplefilter("ignore")
        assert (server.get().status, server.errors) == (200, [])


def test_it_waits_for_its_turn(loop):
    """What was called first and awaited last goes out last."""

    async def application(scope, receive, send):
        last = send(BODY)
        first = send(START)
        await first
        await last

    with CoreServer(application, loop) as server:
        assert server.get().body == b"ok"


def test_as_a_task(loop):
    async def application(scope, receive, send):
        await asyncio.ensure_future(send(START))
        cancelled = asyncio.get_running_loop().create_task(send({**BODY, "more_body": True}))
        cancelled.cancel()  # before its first step
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        sending = send(BODY)
        await asyncio.wait_for(sending, PATIENCE)
        with pytest.raises(RuntimeError, match="awaited already"):
            await sending

    with warnings.catch_warnings(), CoreServer(application, loop) as server:
        warnings.simplefilter("error")
        assert server.get().body == b"ok"
        server.idle()
        assert server.errors == []


@pytest.mark.parametrize("debug", [False, True])
def test_from_other_threads_it_works_on_its_loop(loop, debug, capfd):
    """As sync_to_async() code does, with a loop that is idle otherwise."""
    threads = []

    async def application(scope, receive, send):
        running = asyncio.get_running_loop()

        def work():
            for message in (START, BODY):
                asyncio.run_coroutine_threadsafe(send(message), running).result(PATIENCE)

        await running.run_in_executor(None, work)

    class Watched(CoreServer):
        def __enter__(self):
            self.access = Access()
            self.loop.set_debug(debug)
            return super().__enter__()

    class Access(list):
        def append(self, line):
            threads.append(threading.current_thread())

    with Watched(application, loop) as server:
        for _ in range(20):
            assert server.get().body == b"ok"
        server.idle()
        assert server.errors == [] and set(threads) == {server.thread}
    assert "Non-thread-safe" not in capfd.readouterr().err


def test_awaited_on_another_loop(loop, capfd):
    """As async_to_sync() in a thread of one's own does: it is sent at once, although the server's loop is idle."""
    got = []

    async def application(scope, receive, send):
        asyncio.get_running_loop().set_debug(True)
        await receive()
        waiting = asyncio.ensure_future(receive())
        thread = threading.Thread(target=work, args=(send,))
        await asyncio.sleep(0)
        thread.start()
        got.append((await waiting)["type"])
        thread.join(PATIENCE)

    def work(send):
        async def main():
            for message in (START, BODY):
                await asyncio.sleep(0.05)
                await send(message)

        asyncio.run(main())

    with CoreServer(application, loop) as server:
        assert server.get().body == b"ok"
        server.idle()
        assert got == ["http.disconnect"] and server.errors == []
    assert "Non-thread-safe" not in capfd.readouterr().err


def test_many_threads_beside_relayed_messages(loop):
    """Sends from threads with loops of their own, while the server's thread relays to a broad group without the GIL."""
    layer = _core.Layer(expiry=60.0, group_expiry=86400.0, message_limit=0, mailbox_bytes=1 << 20)
    room = Room()
    count = 40

    async def application(scope, receive, send):
        channel = f"channel!{len(room.sends)}"
        layer.new_channel(channel, 10_000)
        layer.group_add("group", channel, 10_000, "drop-oldest")
        await room(scope, receive, send)

    def work(number):
        async def main():
            for _ in range(count):
                for send in room.sends[number::4]:
                    await send(text("by a thread"))

        asyncio.run(main())

    async def relay(running):
        while any(thread.is_alive() for thread in running):
            # What relay_event.h reads: {"type": "websocket.send", "text": "relayed"}
            layer.group_send("group", b"\x82\xa4type\xaewebsocket.send\xa4text\xa7relayed", None)
            await asyncio.sleep(0.001)

    with CoreServer(application, loop, {"websocket_write_limit": 1 << 24}) as server:
        clients = []
        for number in range(12):
            clients.append(server.websocket().open())
            eventually(lambda number=number: len(room.sends) == number + 1)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        server.call(lambda: relay(threads))
        for client in clients:
            got = 0
            while got < count:
                got += client.receive()[1] == b"by a thread"
        server.call(room.end.set)


def test_nothing_is_left(loop):
    held = []

    class Message(dict):
        pass

    async def application(scope, receive, send):
        await accept(receive, send)
        for number in range(1000):
            message = Message(text("x"))
            if number % 100 == 0:
                held.append(weakref.ref(message))
            sending = send(message)
            message["sending"] = sending  # a ring
            if number % 3 == 0:
                await sending
            elif number % 3 == 1:
                sending.close()
            del message, sending
        gc.collect()
        held.append(len(gc.get_objects()))

    with warnings.catch_warnings(), CoreServer(application, loop) as server:
        warnings.simplefilter("ignore")
        for _ in range(3):
            with server.websocket().open() as client:
                while client.receive()[0] != 8:
                    pass
            server.idle()
        assert server.errors == []
    assert not [reference for reference in held if isinstance(reference, weakref.ref) and reference() is not None]
    sizes = [size for size in held if isinstance(size, int)]
    assert sizes[-1] - sizes[0] < 100, sizes
