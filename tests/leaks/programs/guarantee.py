"""Plain ASGI applications, each one way in which a connection or its application can end; the path says which.

Each joins the group "prices", and notes for the observer what it sees.
"""

import asyncio
import time

from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer

from tests.leaks.programs import frame, observer
from tests.leaks.programs.measuring import of_peneus
from tests.leaks.programs.observer import note


async def join(receive, send) -> str:
    """Accepts, and tells the client the name of its channel, which is in the group."""
    channel = await get_channel_layer().new_channel()
    await get_channel_layer().group_add("prices", channel)
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": channel})
    return channel


async def until_disconnect(receive) -> dict:
    while (event := await receive())["type"] != "websocket.disconnect":
        pass
    note("disconnect", event.get("code"), of_peneus()["memberships"], time.monotonic())
    return event


async def quiet(scope, receive, send) -> None:
    await join(receive, send)
    await until_disconnect(receive)


async def raises(scope, receive, send) -> None:
    await join(receive, send)
    await receive()
    raise RuntimeError("the application was told to raise")


async def cancelled(scope, receive, send) -> None:
    await join(receive, send)
    await receive()
    asyncio.current_task().cancel()
    await asyncio.sleep(3600)


async def swallows(scope, receive, send) -> None:
    """Goes on after its cancellation, and tries to get a subscription again."""
    channel = await join(receive, send)
    await until_disconnect(receive)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            note("cancelled", time.monotonic())
            layer = get_channel_layer()
            await layer.group_add("prices", channel)
            await layer.group_add("prices", await layer.new_channel())
            note("went on")


def sleeping_in_a_worker_thread() -> None:
    note("thread sleeps")
    time.sleep(4)
    note("thread ends")


async def thread(scope, receive, send) -> None:
    await join(receive, send)
    await until_disconnect(receive)
    await sync_to_async(sleeping_in_a_worker_thread)()


async def loop(scope, receive, send) -> None:
    """Blocks the event loop itself; its client leaves meanwhile."""
    await join(receive, send)
    await receive()
    note("loop blocked")
    time.sleep(4)  # noqa: ASYNC251 - the fault that is tested
    note("loop free")
    await until_disconnect(receive)


async def never_ends(scope, receive, send) -> None:
    """Awaits, in a function whose name must stand in the report, what never comes."""
    channel = await join(receive, send)
    await get_channel_layer().group_add("trades", channel)
    await until_disconnect(receive)

    async def waiting_for_what_never_comes() -> None:
        await asyncio.get_running_loop().create_future()

    try:
        await waiting_for_what_never_comes()
    except asyncio.CancelledError:
        note("cancelled", time.monotonic())
        raise


async def late(scope, receive, send) -> None:
    """After the disconnect: joining, leaving, a pending receive(), and a direct send."""
    channel = await join(receive, send)
    layer = get_channel_layer()
    pending = asyncio.ensure_future(layer.receive(channel))
    await until_disconnect(receive)
    await layer.group_add("prices", channel)
    note("members after group_add", of_peneus()["memberships"])
    await layer.group_discard("prices", channel)
    note("group_discard succeeded")
    second = await layer.new_channel()
    await layer.group_add("prices", second)
    note("members after a new channel's group_add", of_peneus()["memberships"])
    await layer.group_send("prices", {"type": "notification", "number": 1})
    await asyncio.sleep(0.5)
    note("receive() is pending", not pending.done())
    await layer.send(channel, {"type": "direct", "number": 2})
    note("direct", (await asyncio.wait_for(pending, 10))["number"])


async def loses_race(scope, receive, send) -> None:
    """A task that joins and leaves without pause, also across the disconnect."""
    channel = await join(receive, send)
    layer = get_channel_layer()
    ended = asyncio.Event()

    async def toggle() -> None:
        while not ended.is_set():
            await layer.group_discard("prices", channel)
            await layer.group_add("prices", channel)
            await asyncio.sleep(0)

    toggling = asyncio.ensure_future(toggle())
    await until_disconnect(receive)
    ended.set()
    await toggling
    note("joined last", of_peneus()["memberships"])
    await asyncio.sleep(2)


async def two(scope, receive, send) -> None:
    layer = get_channel_layer()
    for group in ("prices", "trades"):
        await layer.group_add(group, await layer.new_channel())
    await quiet(scope, receive, send)


async def made_elsewhere(scope, receive, send) -> None:
    """Channels made in a child task, in a worker thread, and by async_to_sync, with the server's loop and with its own."""
    layer = get_channel_layer()

    async def make() -> None:
        await layer.group_add("prices", await layer.new_channel())

    def in_a_thread() -> None:
        async_to_sync(make)()

    def on_another_loop() -> None:
        asyncio.run(make())

    await asyncio.create_task(make())
    await sync_to_async(in_a_thread)()
    await sync_to_async(in_a_thread, thread_sensitive=False)()
    await asyncio.to_thread(on_another_loop)
    await quiet(scope, receive, send)


async def handshake(scope, receive, send) -> None:
    """Joins, and takes its time before it accepts: its client leaves meanwhile."""
    layer = get_channel_layer()
    await layer.group_add("prices", await layer.new_channel())
    await receive()
    note("joined before accepting")
    await until_disconnect(receive)


async def ends_early(scope, receive, send) -> None:
    """Returns while its client is there, with messages unread."""
    channel = await join(receive, send)
    await get_channel_layer().send(channel, {"type": "unread"})
    await receive()


async def closes(scope, receive, send) -> None:
    """Closes its client, and goes on until it has seen the disconnect."""
    await join(receive, send)
    await receive()
    await send({"type": "websocket.close", "code": 4001})
    await until_disconnect(receive)


async def unread(scope, receive, send) -> None:
    """Never reads its channel, and stays for a while after its client has left."""
    await quiet(scope, receive, send)
    await asyncio.sleep(4)


async def floods(scope, receive, send) -> None:
    """Sends as fast as it may, whether its client reads or not."""
    await join(receive, send)
    try:
        while True:
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            frame.counts["flooded"] += 1
    except OSError:
        note("send() raised OSError")


APPLICATIONS = {
    f"/{application.__name__}": application
    for application in (
        quiet, raises, cancelled, swallows, thread, loop, never_ends, late, loses_race, two, made_elsewhere, handshake,
        ends_early, closes, unread, floods,
    )
}  # fmt: skip

observer.start()
application = frame.application(lambda scope, receive, send: APPLICATIONS[scope["path"]](scope, receive, send))
