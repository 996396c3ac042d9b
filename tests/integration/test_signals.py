"""SIGTERM and SIGINT: 1012 and 1001, drain, cancel, and a second one that stops at once; on asyncio and uvloop."""

import asyncio
import os
import signal
import threading
import time

import anyio
import anyio.lowlevel
import pytest
from peneus import Server

from tests.integration.programs import PATIENCE, ROOT, connect, hello, peneus, until
from tests.leaks.client import Client

LOOPS = ["asyncio", "uvloop"]
HERE = "tests.integration.test_signals"


def say(*words):
    print(*words, flush=True)


async def application(scope, receive, send):
    """Ends as its path says."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("lifespan ends")
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    try:
        if scope["path"] == "/blocks":
            await receive()
            say("blocking")
            time.sleep(3)  # noqa: ASYNC251 - the fault that is tested
            say("free")
        if scope["path"] == "/blocks-for-ever":
            say("blocking")
            time.sleep(3600)  # noqa: ASYNC251 - the fault that is tested
        if scope["path"] == "/thread":
            say("in a thread")
            await asyncio.to_thread(time.sleep, 3600)
        if scope["path"] == "/slow":
            say("working")
            await asyncio.sleep(1)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"done"})
            return
        if scope["path"] == "/endless":
            say("working")
            await asyncio.sleep(3600)
        while scope["type"] == "websocket":
            event = await receive()
            if event["type"] == "websocket.disconnect":
                if scope["path"] == "/slow-goodbye":
                    await asyncio.sleep(1)
                say("disconnect", event["code"])
                return
    except asyncio.CancelledError:
        say("cancelled")
        raise


async def with_own_handlers(scope, receive, send):
    """The application, which handles the server's signals itself; SIGINT no longer once it has started."""
    loop = asyncio.get_running_loop()
    if scope["type"] == "lifespan":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            loop.add_signal_handler(number, say, "own handler of", number.name)
        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGTERM, with_own_handlers)
        say("removed:", loop.remove_signal_handler(signal.SIGINT), loop.remove_signal_handler(signal.SIGINT))
    await application(scope, receive, send)


async def with_anyio(scope, receive, send):
    """The application, which waits for SIGTERM with anyio, and no longer once it has come."""
    if scope["type"] != "lifespan":
        return await application(scope, receive, send)

    async def wait():
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            say("waiting")
            async for number in signals:
                say("own handler of", number.name)
                break
        say("waits no longer")

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        await application(scope, receive, send)
        group.cancel_scope.cancel()


def serving(loop, *options):
    return peneus("--loop", loop, "-p", "0", *options, f"{HERE}:application")


def is_refused(port):
    try:
        connect(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def frames_until_close(client):
    while True:
        opcode, payload = client.frame()
        if opcode == 8:
            return int.from_bytes(payload[:2], "big")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1012), (signal.SIGINT, 1001)])
def test_websockets_are_closed_with_a_code(loop, number, code):
    with serving(loop) as server:
        clients = [Client(server.port(), "/").open() for _ in range(3)]
        server.process.send_signal(number)
        assert [frames_until_close(client) for client in clients] == [code] * 3
        for client in clients:
            client.close()
        assert server.wait() == 0
        assert server.output.count(f"disconnect {code}") == 3
        assert "cancelled" not in server.output


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1012), (signal.SIGINT, 1001)])
def test_handlers_of_the_application_do_not_replace_the_servers(loop, number, code):
    with peneus("--loop", loop, "-p", "0", f"{HERE}:with_own_handlers") as server:
        client = Client(server.port(), "/").open()
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("own handler of SIGUSR2")
        server.process.send_signal(number)
        assert frames_until_close(client) == code
        client.close()
        assert server.wait() == 0
        assert "removed: True False" in server.output and "lifespan ends" in server.output
        assert ("own handler of SIGTERM" in server.output) == (number == signal.SIGTERM)
        assert "own handler of SIGINT" not in server.output


@pytest.mark.parametrize("loop", LOOPS)
def test_an_application_that_has_waited_for_a_signal_still_stops_at_the_next(loop):
    with peneus("--loop", loop, "-p", "0", "--graceful-timeout", "1000", f"{HERE}:with_anyio") as server:
        with connect(("127.0.0.1", server.port())) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("working")
            server.process.terminate()
            server.wait_for("own handler of SIGTERM\nwaits no longer")
            server.process.terminate()
            assert server.wait() == 0
        assert "lifespan ends" in server.output


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_may_end_and_new_ones_are_refused(loop):
    with serving(loop) as server:
        port = server.port()
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("working")
            server.process.terminate()
            server.wait_for("Stopping")
            until(lambda: is_refused(port), "new ones are refused")
            response = b"".join(iter(lambda: client.recv(65536), b""))
        assert response.endswith(b"done") and b" 200 OK" in response
        assert server.wait() == 0
        assert "cancelled" not in server.output


@pytest.mark.parametrize("loop", LOOPS)
def test_what_does_not_end_is_cancelled_after_the_graceful_timeout(loop):
    with serving(loop, "--graceful-timeout", "1") as server:
        with connect(("127.0.0.1", server.port())) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("working")
            began = time.monotonic()
            server.process.terminate()
            assert server.wait() == 0
            assert time.monotonic() - began >= 1
        assert "cancelled\n" in server.output
        assert "Cancelled 1 application that had not ended" in server.output
        assert server.output.index("cancelled\n") < server.output.index("lifespan ends"), "what it needs was taken away first"


@pytest.mark.parametrize("loop", LOOPS)
def test_an_application_may_clean_up_after_its_socket_is_gone(loop):
    with serving(loop) as server:
        client = Client(server.port(), "/slow-goodbye").open()
        server.process.terminate()
        assert frames_until_close(client) == 1012
        client.close()
        assert server.wait() == 0
        assert "disconnect 1012" in server.output
        assert "cancelled" not in server.output


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_signal_stops_at_once(loop):
    with serving(loop, "--graceful-timeout", "1000") as server:
        with connect(("127.0.0.1", server.port())) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("working")
            server.process.terminate()
            server.wait_for("Stopping")
            time.sleep(0.2)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGINT)
            assert server.wait() == 0
        assert "cancelled\n" in server.output


@pytest.mark.parametrize("loop", LOOPS)
def test_closing_begins_while_the_event_loop_is_blocked(loop):
    with serving(loop) as server:
        other = Client(server.port(), "/").open()
        with connect(("127.0.0.1", server.port())) as blocker:
            blocker.sendall(b"GET /blocks HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("blocking")
            server.process.terminate()
            assert frames_until_close(other) == 1012
            assert "free" not in server.output, "the loop was no longer blocked: nothing was tested"
            other.close()
        assert server.wait() == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_signal_ends_a_process_whose_loop_is_blocked_for_ever(loop):
    with serving(loop) as server:
        with connect(("127.0.0.1", server.port())) as blocker:
            blocker.sendall(b"GET /blocks-for-ever HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("blocking")
            server.process.terminate()
            time.sleep(0.3)
            server.process.terminate()
            assert server.wait() == 1
        assert f"line {line_of('time.sleep(3600)')} in application" in server.output


def line_of(text):
    with open(__file__) as source:
        return next(number for number, line in enumerate(source, 1) if text in line)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_thread_that_is_stuck_does_not_keep_the_process(loop):
    with serving(loop, "--graceful-timeout", "0.5") as server:
        with connect(("127.0.0.1", server.port())) as client:
            client.sendall(b"GET /thread HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("in a thread")
            server.process.terminate()
            assert server.wait() == 1
        assert f"Leaving without waiting for {loop}_0" in server.output


def test_stop_from_a_thread():
    """A server that is embedded: no signals, stop() twice."""
    ready = threading.Event()
    server = Server(hello, port=0, signal_handlers=False, ready_callable=ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert ready.wait(PATIENCE)
    ((host, port),) = server.listening_addresses
    assert host == "127.0.0.1"
    with connect((host, port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        until(lambda: b"200 OK" in client.recv(65536), "an answer")
    server.stop()
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        connect((host, port))
    with pytest.raises(RuntimeError, match="runs once"):
        server.run()


def test_stop_before_run():
    server = Server(hello, port=0, signal_handlers=False, graceful_timeout=1000)
    server.stop()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_handlers_of_before_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = Server(hello, port=0, ready_callable=lambda: os.kill(os.getpid(), signal.SIGTERM))
    server.run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_what_ready_callable_raises_ends_the_server():
    def fail():
        raise LookupError("not ready")

    with pytest.raises(LookupError, match="not ready"):
        Server(hello, port=0, ready_callable=fail).run()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_signals_of_users_do_not_end_it(workers, number):
    with serving("auto", "--workers", workers) as server:
        port = server.port()
        server.process.send_signal(number)
        with connect(("127.0.0.1", port)) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 200 OK" in client.recv(65536)
        server.process.terminate()
        assert server.wait() == 0


def test_nor_while_the_application_is_imported(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        f"from {HERE} import application\n"
    )
    with peneus("-p", "0", "slow:application", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}") as server:
        server.port()


HANDLERS = ["signal.signal(signal.SIGUSR1, lambda *why: print('mine', flush=True))", "faulthandler.register(signal.SIGUSR1)"]


@pytest.mark.parametrize("handler", HANDLERS)
def test_sigusr1_stays_the_applications(tmp_path, handler):
    (tmp_path / "mine.py").write_text(f"import faulthandler, signal\n{handler}\nfrom {HERE} import application\n")
    with peneus("-p", "0", "mine:application", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}") as server:
        server.port()
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for("mine|most recent call first")
