"""The native layer as Python sees it: waiting, cancellation, loops and threads."""

import asyncio
import gc
import os
import threading
import time
import weakref

import pytest
from peneus import _core

from tests.integration.core_harness import PATIENCE, eventually, new_loop

CAPACITY = 100


def new_layer(**arguments):
    return _core.Layer(**{"expiry": 60.0, "group_expiry": 86400.0, "message_limit": 0, "mailbox_bytes": 1 << 20, **arguments})


def receive(layer, channel):
    return layer.receive(channel, CAPACITY, bytes)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine on a loop of the kind."""

    def run(main):
        loop = new_loop(request.param)
        try:
            return loop.run_until_complete(asyncio.wait_for(main, PATIENCE))
        finally:
            loop.close()

    return run


def test_message_that_is_there(run):
    layer = new_layer()

    async def main():
        assert layer.send("c", CAPACITY, b"one") == "ok"
        assert layer.send("c", CAPACITY, b"two") == "ok"
        return [await receive(layer, "c"), await receive(layer, "c")]

    assert run(main()) == [b"one", b"two"]
    assert layer.stats()["messages_queued"] == 0


def test_decode_gets_a_view_that_may_be_kept(run):
    layer = new_layer()

    async def main():
        layer.send("c", CAPACITY, b"payload")
        return await layer.receive("c", CAPACITY, lambda view: view)

    view = run(main())
    assert isinstance(view, memoryview) and view.readonly
    layer.flush()
    assert bytes(view) == b"payload"


def test_error_of_decode_comes_out_of_receive(run):
    layer = new_layer()

    async def main():
        layer.send("c", CAPACITY, b"\xff")
        with pytest.raises(UnicodeDecodeError):
            await layer.receive("c", CAPACITY, lambda view: str(view, "utf-8"))

    run(main())


def test_message_that_comes_later_from_a_thread(run):
    layer = new_layer()

    async def main():
        thread = threading.Thread(target=lambda: (time.sleep(0.05), layer.send("c", CAPACITY, b"late")))
        thread.start()
        message = await receive(layer, "c")
        thread.join()
        return message

    assert run(main()) == b"late"
    assert layer.stats()["waiters"] == 0


def test_many_threads_and_many_receivers(run):
    layer = new_layer()

    def produce(number):
        for i in range(200):
            while layer.send(f"c{number}", CAPACITY, b"%d" % i) == "full":
                time.sleep(0.001)

    async def consume(number):
        return [int(await receive(layer, f"c{number}")) for _ in range(200)]

    async def main():
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        return await asyncio.gather(*(consume(n) for n in range(8)))

    assert run(main()) == [list(range(200))] * 8


def test_create_task_and_wait_for(run):
    layer = new_layer()

    async def main():
        task = asyncio.create_task(receive(layer, "c"))
        await asyncio.sleep(0)
        assert layer.stats()["waiters"] == 1
        layer.send("c", CAPACITY, b"x")
        assert await task == b"x"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(receive(layer, "c"), 0.01)
        assert layer.stats()["waiters"] == 0
        layer.send("c", CAPACITY, b"y")
        return await asyncio.wait_for(asyncio.ensure_future(receive(layer, "c")), PATIENCE)

    assert run(main()) == b"y"


@pytest.mark.parametrize("told_first", [False, True])
def test_cancelled_receiver_loses_no_message(run, told_first):
    """Two wait; the first is cancelled, before or after it was told: the second gets the message."""
    layer = new_layer()

    async def main():
        first = asyncio.create_task(receive(layer, "c"))
        second = asyncio.create_task(receive(layer, "c"))
        await asyncio.sleep(0)
        if told_first:
            layer.send("c", CAPACITY, b"x")
            # The loop has not run since: the first was told, and is cancelled before it can take the message.
            first.cancel()
        else:
            first.cancel()
            await asyncio.sleep(0)
            layer.send("c", CAPACITY, b"x")
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert run(main()) == b"x"


def test_receiver_cancelled_after_it_was_woken(run):
    """Its future is done, and it is cancelled before its task runs: the next one that waits gets the message."""
    layer = new_layer()

    async def main():
        first = receive(layer, "c")
        future = first.send(None)  # as a task steps it
        second = asyncio.create_task(receive(layer, "c"))
        await asyncio.sleep(0)
        layer.send("c", CAPACITY, b"x")
        woken = asyncio.Event()
        future.add_done_callback(lambda future: woken.set())
        await woken.wait()
        with pytest.raises(asyncio.CancelledError):
            first.throw(asyncio.CancelledError())
        return await second

    assert run(main()) == b"x"


def test_awaited_twice(run):
    layer = new_layer()

    async def main():
        layer.send("c", CAPACITY, b"x")
        awaitable = receive(layer, "c")
        assert await awaitable == b"x"
        with pytest.raises(RuntimeError, match="awaited already"):
            await awaitable

    run(main())


def test_never_awaited_and_closed(run):
    layer = new_layer()
    layer.send("c", CAPACITY, b"x")
    receive(layer, "c")
    receive(layer, "c").close()

    async def main():
        return await receive(layer, "c")

    assert run(main()) == b"x"


def test_outside_of_a_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        receive(new_layer(), "c").send(None)


def test_short_lived_loops_leave_nothing(run):
    """A loop for each call, as async_to_sync makes them: no descriptor and no waiter stays behind."""
    layer = new_layer()

    async def abandon():
        asyncio.get_running_loop().create_task(receive(layer, "c"))
        await asyncio.sleep(0)

    def one():
        loop = asyncio.new_event_loop()
        layer.send("d", CAPACITY, b"x")
        assert loop.run_until_complete(receive(layer, "d")) == b"x"
        loop.run_until_complete(abandon())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    one()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        one()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert layer.stats()["waiters"] == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_loop_that_dies_with_a_receiver(kind):
    """The message that it was told of goes to the next one who waits."""
    layer = new_layer()
    loop = new_loop(kind)

    async def wait():
        asyncio.get_running_loop().create_task(receive(layer, "c")).set_name("doomed")
        await asyncio.sleep(0)

    loop.run_until_complete(wait())
    assert layer.stats()["waiters"] == 1
    gone = weakref.ref(loop)
    loop.set_exception_handler(lambda loop, context: None)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None, "the layer keeps a loop that is closed"
    assert layer.stats()["waiters"] == 0
    layer.send("c", CAPACITY, b"x")
    assert asyncio.run(asyncio.wait_for(receive(layer, "c"), PATIENCE)) == b"x"


def test_two_loops_in_two_threads():
    layer = new_layer()
    got = []

    def worker(number):
        async def main():
            for _ in range(100):
                got.append((number, await receive(layer, f"c{number}")))
                layer.send(f"c{1 - number}", CAPACITY, b"ball")

        asyncio.run(main())

    threads = [threading.Thread(target=worker, args=(n,), daemon=True) for n in range(2)]
    for thread in threads:
        thread.start()
    layer.send("c0", CAPACITY, b"ball")
    for thread in threads:
        thread.join(PATIENCE)
    assert len(got) == 200


def test_results_by_name():
    layer = new_layer(message_limit=10)
    assert layer.send("c", 1, b"x") == "ok"
    assert layer.send("c", 1, b"x") == "full"
    assert layer.send("c", 1, b"x" * 11) == "too-large"
    assert layer.send("specific!gone", 1, b"x") == "unknown"
    assert layer.group_add("g", "specific!gone", 1, "drop-oldest") == "unknown"
    assert layer.group_send("g", b"x" * 11, None) == "too-large"
    assert layer.group_send("nobody", b"x", None) == "ok"
    with pytest.raises(ValueError, match="'drop-oldest', 'drop-newest', 'latest' or 'close'"):
        layer.group_add("g", "c", 1, "sometimes")
    with pytest.raises(ValueError, match="capacity"):
        layer.send("c", 0, b"x")
    with pytest.raises(TypeError):
        layer.send("c", 1, "text")


def test_groups_and_stats(run):
    layer = new_layer()

    async def main():
        for channel in ("a", "b"):
            assert layer.group_add("g", channel, 2, "drop-oldest") == "ok"
        for i in range(3):
            assert layer.group_send("g", b"%d" % i, None) == "ok"
        groups = layer.groups()
        assert groups["g"].pop("queued_bytes") > 0
        assert groups == {"g": {"members": 2, "messages": 3, "dropped": 2, "queued": 4}}
        stats = layer.stats()
        assert (stats["groups"], stats["group_members"], stats["dropped_oldest"]) == (1, 2, 2)
        assert [await receive(layer, "a") for _ in range(2)] == [b"1", b"2"]
        layer.group_discard("g", "a")
        layer.group_discard("g", "a")
        assert layer.stats()["group_members"] == 1
        layer.flush()
        assert layer.stats()["messages_queued"] == 0 and layer.groups() == {}
        layer.sweep()

    run(main())


def test_latest_keeps_one_of_each_key(run):
    layer = new_layer()

    async def main():
        layer.group_add("prices", "c", 3, "latest")
        for i in range(50):
            layer.group_send("prices", b"btc %d" % i, b"btc")
            layer.group_send("prices", b"eth %d" % i, b"eth")
            layer.group_send("prices", b"sol %d" % i, b"sol")
        return [await receive(layer, "c") for _ in range(3)]

    assert run(main()) == [b"btc 49", b"eth 49", b"sol 49"]


def test_channel_without_connection():
    layer = new_layer()
    assert layer.new_channel("specific!a", 10) is True
    assert layer.send("specific!a", 10, b"x") == "ok"
    assert layer.stats()["orphaned_channels"] == 0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="expiry"):
        new_layer(expiry=-1.0)
    with pytest.raises(ValueError, match="expiry"):
        new_layer(group_expiry=float("nan"))
    with pytest.raises(ValueError, match="mailbox_bytes"):
        new_layer(mailbox_bytes=0)


def test_receivers_leave_no_objects(run):
    layer = new_layer()

    async def main():
        async def turn(count):
            for _ in range(count):
                task = asyncio.ensure_future(receive(layer, "c"))
                await asyncio.sleep(0)
                layer.send("c", CAPACITY, b"x")
                await task
                task = asyncio.ensure_future(receive(layer, "c"))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await turn(20)
        gc.collect()
        before = len(gc.get_objects())
        await turn(500)
        gc.collect()
        return len(gc.get_objects()) - before

    assert run(main()) < 50
    assert layer.stats()["waiters"] == 0


def test_group_message_wakes_many(run):
    layer = new_layer()

    async def main():
        tasks = [asyncio.create_task(receive(layer, f"c{i}")) for i in range(500)]
        await asyncio.sleep(0)
        for i in range(500):
            layer.group_add("g", f"c{i}", CAPACITY, "drop-oldest")
        threading.Thread(target=layer.group_send, args=("g", b"all", None)).start()
        return await asyncio.gather(*tasks)

    assert run(main()) == [b"all"] * 500
    eventually(lambda: layer.stats()["waiters"] == 0)
