"""Applications as tasks: their context, their end, their kill, and what they leave behind."""

import asyncio
import contextvars
import gc
import sys
import threading

import pytest
from peneus import _core

from tests.integration.core_harness import SETTINGS, Client, CoreServer, eventually, new_loop


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return request.param


async def respond(send, body=b"ok"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_task_is_a_real_one(loop):
    seen = []

    async def application(scope, receive, send):
        first = asyncio.current_task()
        assert type(first) is asyncio.Task and first in asyncio.all_tasks()
        assert _core.current_connection.get().task in (None, first)
        await asyncio.sleep(0)
        assert asyncio.current_task() is first is _core.current_connection.get().task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(0, "value"))
            assert task.result() == "value"
        seen.append(first)
        await respond(send)

    with CoreServer(application, loop) as server:
        assert server.get().status == 200
        server.idle()
        assert server.errors == []
        assert server.call(asyncio.current_task) is not seen[0]


def test_timeout_in_the_first_step(loop):
    """A timeout that begins before the application ever waited: its task must be the current one even then."""

    async def application(scope, receive, send):
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
        await respond(send)

    with CoreServer(application, loop) as server:
        assert server.get().status == 200
        assert server.errors == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Task has no context= before 3.11: its first step is the loop's")
def test_first_step_runs_before_the_task_is_known(loop):
    """Where Python allows it: an application that never waits costs no turn of the loop."""
    seen = []

    async def application(scope, receive, send):
        seen.append(_core.current_connection.get().task)
        await respond(send)

    with CoreServer(application, loop) as server:
        server.get()
    assert seen == [None]


def test_a_call_soon_that_is_patched_later_stays(loop):
    """A tracer that is installed while the server runs sees each call, and is not removed by the next request."""
    called = []

    async def application(scope, receive, send):
        await asyncio.sleep(0)
        await respond(send)

    with CoreServer(application, loop) as server:
        assert server.get().status == 200
        plain = server.loop.call_soon

        def call_soon(callback, *arguments, **keywords):
            called.append(callback)
            return plain(callback, *arguments, **keywords)

        def patch():
            try:
                server.loop.call_soon = call_soon
            except AttributeError:
                return False
            return True

        if not server.call(patch):
            pytest.skip("uvloop's loop has no attributes of its own")
        for _ in range(3):
            before = len(called)
            assert server.get().status == 200
            server.idle()
            assert server.loop.call_soon is call_soon and len(called) > before
        del server.loop.call_soon
        assert server.get().status == 200
        assert "call_soon" not in vars(server.loop)


def test_the_loop_lives_between_batches(loop):
    """200 requests at once do not keep the loop from what else is due."""
    turns = []
    served = []

    async def application(scope, receive, send):
        if not served:
            eventually(lambda: server.stats()["exchanges"] == 200)
        elif len(served) == 1:
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(served)))
        served.append(1)
        await respond(send)

    with CoreServer(application, loop) as server:
        clients = [server.connect() for _ in range(200)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        for client in clients:
            assert client.response().status == 200
            client.socket.close()
        assert len(served) == 200 and turns[0] < 150


def test_context_of_its_own(loop):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    async def application(scope, receive, send):
        seen.append(variable.get())
        variable.set(scope["path"])
        await asyncio.sleep(0.01)
        seen.append(variable.get())
        await respond(send)

    with CoreServer(application, loop) as server:
        server.get("/a")
        server.get("/b")
        assert server.call(variable.get) == "outside"
        assert server.call(lambda: _core.current_connection.get(None)) is None
    assert seen == ["outside", "/a", "outside", "/b"]


def test_current_connection_everywhere(loop):
    """In the first step, in child tasks and in threads: who makes a channel there makes it the connection's."""
    layer = _core.Layer(expiry=60, group_expiry=60, message_limit=0, mailbox_bytes=1 << 20)

    def make(name):
        assert layer.new_channel(name, 10) is True
        assert layer.group_add("g", name, 10, "drop-oldest") == "ok"

    async def child():
        make("specific!child")

    async def application(scope, receive, send):
        make("specific!first")
        await asyncio.create_task(child())
        await asyncio.to_thread(make, "specific!thread")
        report = _core.current_connection.get().report()
        assert report["channels"] == 3 and report["groups"] == 3
        await receive()
        await receive()
        # The client has left: no membership is left, whatever this application does now.
        assert layer.stats()["group_members"] == 0
        assert layer.group_add("g", "specific!first", 10, "drop-oldest") == "closed"
        assert layer.send("specific!first", 10, b"direct") == "ok"
        assert layer.new_channel("specific!late", 10) is True
        assert layer.group_add("g", "specific!late", 10, "drop-oldest") == "closed"
        layer.group_discard("g", "specific!first")

    with CoreServer(application, loop) as server:
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        eventually(lambda: layer.stats()["group_members"] == 3)
        client.reset()
        server.idle()
        assert server.errors == []
        assert layer.stats()["channels"] == 0 and layer.stats()["messages_queued"] == 0
        assert layer.stats()["orphaned_channels"] == 0


def test_subscriptions_end_while_the_loop_is_blocked(loop):
    """Python sleeps in the loop's thread; the client's socket dies; its memberships are gone all the same."""
    layer = _core.Layer(expiry=60, group_expiry=60, message_limit=0, mailbox_bytes=1 << 20)
    blocked, go = threading.Event(), threading.Event()

    async def application(scope, receive, send):
        layer.new_channel("specific!a", 10)
        layer.group_add("g", "specific!a", 10, "drop-oldest")
        blocked.set()
        go.wait(20)

    with CoreServer(application, loop) as server:
        client = server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert blocked.wait(20)
        assert layer.stats()["group_members"] == 1
        client.reset()
        eventually(lambda: layer.stats()["group_members"] == 0)
        go.set()
        server.idle()


class Awaitable:
    def __init__(self, inner):
        self.inner = inner

    def __await__(self):
        return self.inner.__await__()


def test_applications_of_other_shapes(loop):
    class Application:
        async def __call__(self, scope, receive, send):
            await respond(send, b"object")

    async def inner(scope, receive, send):
        await asyncio.sleep(0)
        await respond(send, b"awaitable")

    def synchronous(scope, receive, send):
        raise LookupError("synchronous")

    with CoreServer(Application(), loop) as server:
        assert server.get().body == b"object"
    with CoreServer(lambda *call: Awaitable(inner(*call)), loop) as server:
        assert server.get().body == b"awaitable"
    with CoreServer(synchronous, loop) as server:
        assert server.get().status == 500
        assert isinstance(eventually(lambda: server.errors)[0], LookupError)
    with CoreServer(lambda *call: None, loop) as server:
        assert server.get().status == 500
        assert "cannot be awaited" in str(eventually(lambda: server.errors)[0])


def test_kill(loop):
    """After application_close_timeout: on_kill first, then the cancellation; nothing of it counts any more."""
    layer = _core.Layer(expiry=60, group_expiry=60, message_limit=0, mailbox_bytes=1 << 20)
    ends = []
    go = asyncio.Event()

    async def application(scope, receive, send):
        layer.new_channel("specific!a", 10)
        layer.group_add("g", "specific!a", 10, "drop-oldest")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            if scope["path"] == "/swallow":
                await go.wait()
                ends.append(await receive())
                with pytest.raises(OSError):
                    await send({"type": "http.response.start", "status": 200})
                ends.append("ended")
                raise ValueError("late") from None
            raise

    with CoreServer(application, loop, {"application_close_timeout_ms": 100}) as server:
        for path in ("/obey", "/swallow"):
            client = server.connect()
            client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            eventually(lambda: server.stats()["applications"] == 1)
            client.reset()
            server.idle()
            protocol, done, report = server.kills.pop()
            assert (protocol, done) == ("http", False)
            assert report["channels"] == 1 and report["group_names"] == ["g"]
            assert layer.stats()["channels"] == 0
        eventually(lambda: ends == ["cancelled", "cancelled"])
        assert server.stats()["applications_killed_total"] == 2
        assert server.core.connections() == [] and server.errors == []
        eventually(lambda: server.stats()["exchanges"] == 0)
        server.loop.call_soon_threadsafe(go.set)
        eventually(lambda: ends[2:] == [{"type": "http.disconnect"}, "ended"])
        eventually(lambda: [str(error) for error in server.errors] == ["late"])


def test_kill_when_the_application_would_wait_for_ever_in_receive(loop):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            if (await receive())["type"] == "websocket.disconnect":
                await asyncio.Event().wait()

    with CoreServer(application, loop, {"application_close_timeout_ms": 50}) as server:
        server.websocket().open().reset()
        server.idle()
        assert server.stats()["applications_killed_total"] == 1 and server.errors == []


def test_cancel_applications(loop):
    async def application(scope, receive, send):
        await asyncio.sleep(60)

    with CoreServer(application, loop) as server:
        with server.connect() as client, server.connect() as other:
            for one in (client, other):
                one.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            eventually(lambda: len(server.core.connections()) == 2)
            connection = server.core.connections()[0]
            assert (connection.protocol, connection.state, connection.status) == ("http", "request", 0)
            assert "http, request" in repr(connection)
            assert server.call(server.core.cancel_applications) == 2
            assert client.response().status == 500
        server.idle()
        assert server.errors == [] and server.faults == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exit_out_of_an_application_ends_the_loop(loop, error, late):
    """As everywhere in asyncio; the server can still be stopped on the same loop."""
    seen = []
    stopped = asyncio.Event()

    async def application(scope, receive, send):
        if late:
            await asyncio.sleep(0.01)
        raise error("from the application")

    event_loop = new_loop(loop)
    event_loop.set_exception_handler(lambda loop, context: None)
    core = _core.Server(
        application,
        settings=SETTINGS,
        on_error=lambda connection, error: seen.append(error),
        on_fault=print,
        on_kill=print,
        on_drained=print,
        on_stopped=stopped.set,
    )
    core.listen_tcp("127.0.0.1", 0)

    core.start(event_loop)
    with Client(core.addresses[0][1]) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        with pytest.raises(error, match="from the application"):
            event_loop.run_forever()
    core.stop()
    event_loop.run_until_complete(asyncio.wait_for(stopped.wait(), 20))
    core.close()
    event_loop.close()
    assert type(seen[0]) is error and core.stats()["applications"] == 0


@pytest.mark.parametrize("protocol", ["http", "websocket"])
def test_nothing_is_left(loop, protocol):
    """Thousands of exchanges leave as many objects as a few."""

    async def application(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": "x"})
        elif scope["path"] == "/fail":
            raise RuntimeError
        else:
            await asyncio.sleep(0)
            await respond(send)

    with CoreServer(application, loop) as server:

        def turn(count):
            if protocol == "websocket":
                for _ in range(count // 10):
                    with server.websocket().open() as client:
                        client.text("a")
                        client.receive()
            else:
                with server.connect() as client:
                    for i in range(count):
                        if i % 10 == 9:
                            assert server.get("/fail").status == 500
                        else:
                            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                            client.response()
            server.idle()
            server.errors.clear()
            server.access.clear()
            gc.collect()
            return len(gc.get_objects())

        turn(50)
        before = turn(50)
        after = turn(3000)
        assert after - before < 100, (before, after)
        stats = server.stats()
        assert stats["exchanges"] == stats["applications"] == 0


def test_server_that_is_only_made():
    async def application(scope, receive, send):
        pass

    arguments = {name: print for name in ("on_error", "on_fault", "on_kill", "on_drained", "on_stopped")}
    core = _core.Server(application, settings=SETTINGS, **arguments)
    core.listen_tcp("127.0.0.1", 0)
    with pytest.raises(OSError, match=str(core.addresses[0][1])):
        _core.Server(application, settings=SETTINGS, **arguments).listen_tcp("127.0.0.1", core.addresses[0][1])
    core.close()
    core.close()
    assert core.addresses == []
    with pytest.raises(KeyError, match="backlog"):
        _core.Server(application, settings={k: v for k, v in SETTINGS.items() if k != "backlog"}, **arguments)
    with pytest.raises(ValueError, match="receive_window"):
        _core.Server(application, settings={**SETTINGS, "receive_window": 0}, **arguments)
    with pytest.raises(TypeError, match="on_error"):
        _core.Server(application, settings=SETTINGS)


def test_unix_socket(tmp_path, loop):
    seen = []

    async def application(scope, receive, send):
        seen.append((scope["client"], scope["server"]))
        await respond(send)

    path = str(tmp_path / "socket")
    stopped = asyncio.Event()
    server = CoreServer(application, loop)
    core = _core.Server(
        application,
        settings=server.settings,
        on_error=lambda *error: seen.append(error),
        on_fault=print,
        on_drained=print,
        on_stopped=stopped.set,
        on_kill=print,
    )
    core.listen_unix(path, 0o600)
    assert core.addresses == [path]

    async def main():
        core.start(asyncio.get_running_loop())
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        core.stop()
        await asyncio.wait_for(stopped.wait(), 20)
        core.close()
        writer.close()
        return answer

    assert server.loop.run_until_complete(main()).startswith(b"HTTP/1.1 200")
    server.loop.close()
    assert seen == [(None, (path, None))]
